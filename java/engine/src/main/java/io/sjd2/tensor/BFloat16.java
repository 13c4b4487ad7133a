package io.sjd2.tensor;

/// The 16-bit format with f32's exponent: the upper half of a float.
public final class BFloat16 {
    private BFloat16() {}

    /// Widens; exact.
    public static float toFloat(short bits) {
        return Float.intBitsToFloat((bits & 0xffff) << 16);
    }

    /// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
    public static short fromFloat(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) ((bits >>> 16) | 0x40);
        }
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }
}
