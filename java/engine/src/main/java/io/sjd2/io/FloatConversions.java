package io.sjd2.io;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// Conversions between f32 and the two 16-bit formats, one value at a time and over whole segments.
///
/// Rounding is to nearest, ties to even, in both directions that round; a NaN stays a NaN. Segments are little
/// endian, dense and of any alignment; source and destination must not overlap.
public final class FloatConversions {
    static final ValueLayout.OfShort LE_SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfInt LE_INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfLong LE_LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfFloat LE_FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfDouble LE_DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private FloatConversions() {}

    /// The bf16 nearest to `value`, as its bits.
    public static short floatToBf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        if ((bits & 0x7fffffff) > 0x7f800000) {
            // Rounding could carry a NaN's mantissa into infinity; the quiet bit keeps it a NaN.
            return (short) (bits >>> 16 | 0x40);
        }
        return (short) (bits + 0x7fff + (bits >>> 16 & 1) >>> 16);
    }

    /// The f32 that equals the bf16 with these bits.
    public static float bf16ToFloat(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    /// The f16 nearest to `value`, as its bits; beyond 65,519 that is infinity.
    public static short floatToF16(float value) {
        return Float.floatToFloat16(value);
    }

    /// The f32 that equals the f16 with these bits.
    public static float f16ToFloat(short bits) {
        return Float.float16ToFloat(bits);
    }

    /// @param dst   `[count]` f32
    /// @param src   `[count]` bf16
    /// @param count elements, at least 0
    /// @throws IndexOutOfBoundsException if either segment is shorter than `count` elements
    public static void bf16ToF32(MemorySegment dst, MemorySegment src, long count) {
        for (long i = 0; i < count; i++) {
            dst.set(LE_INT, i << 2, src.get(LE_SHORT, i << 1) << 16);
        }
    }

    /// @param dst   `[count]` bf16
    /// @param src   `[count]` f32
    /// @param count elements, at least 0
    /// @throws IndexOutOfBoundsException if either segment is shorter than `count` elements
    public static void f32ToBf16(MemorySegment dst, MemorySegment src, long count) {
        for (long i = 0; i < count; i++) {
            dst.set(LE_SHORT, i << 1, floatToBf16(src.get(LE_FLOAT, i << 2)));
        }
    }

    /// @param dst   `[count]` f32
    /// @param src   `[count]` f16
    /// @param count elements, at least 0
    /// @throws IndexOutOfBoundsException if either segment is shorter than `count` elements
    public static void f16ToF32(MemorySegment dst, MemorySegment src, long count) {
        for (long i = 0; i < count; i++) {
            dst.set(LE_FLOAT, i << 2, f16ToFloat(src.get(LE_SHORT, i << 1)));
        }
    }

    /// @param dst   `[count]` f16
    /// @param src   `[count]` f32
    /// @param count elements, at least 0
    /// @throws IndexOutOfBoundsException if either segment is shorter than `count` elements
    public static void f32ToF16(MemorySegment dst, MemorySegment src, long count) {
        for (long i = 0; i < count; i++) {
            dst.set(LE_SHORT, i << 1, floatToF16(src.get(LE_FLOAT, i << 2)));
        }
    }
}
