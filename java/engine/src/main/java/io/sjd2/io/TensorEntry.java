package io.sjd2.io;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/// One tensor of a safetensors file: what the header says of it, and its bytes where they lie.
///
/// @param name  the key in the header
/// @param dtype the header's word, one of [Safetensors#dtypes()]: `F32`, `BF16`, `I64` ...
/// @param shape extents, row-major, each at least 0; empty for a scalar. Not copied: do not write to it
/// @param data  little endian, dense, of any alignment; belongs to the file it came from, and dies with it
public record TensorEntry(String name, String dtype, long[] shape, MemorySegment data) {

    /// The number of elements, 1 for a scalar.
    public long elementCount() {
        return data.byteSize() / Safetensors.bytesPerElement(dtype);
    }

    /// Copies the elements as f32: exactly from F32, F16 and BF16, rounded to nearest from F64.
    ///
    /// @throws UnsupportedOperationException if the dtype is not one of these four, or there are over 2^31 - 9
    ///         elements
    public float[] toFloats() {
        float[] floats = new float[javaLength()];
        copyToF32(MemorySegment.ofArray(floats));
        return floats;
    }

    /// Copies the elements as f32 into a segment.
    ///
    /// @param dst `[elementCount()]` f32; overlaps no input
    /// @throws UnsupportedOperationException if the dtype is not F64, F32, F16 or BF16
    /// @throws IndexOutOfBoundsException if `dst` is too short
    public void copyToF32(MemorySegment dst) {
        long count = elementCount();
        switch (dtype) {
            case "F32" -> MemorySegment.copy(data, 0, dst, 0, 4 * count);
            case "BF16" -> FloatConversions.bf16ToF32(dst, data, count);
            case "F16" -> FloatConversions.f16ToF32(dst, data, count);
            case "F64" -> {
                for (long i = 0; i < count; i++) {
                    dst.set(FloatConversions.LE_FLOAT, i << 2, (float) data.get(FloatConversions.LE_DOUBLE, i << 3));
                }
            }
            default -> throw unsupported("f32", "F64, F32, F16, BF16");
        }
    }

    /// Copies the elements as f64, exactly.
    ///
    /// @throws UnsupportedOperationException if the dtype is not F64, F32, F16 or BF16
    public double[] toDoubles() {
        double[] doubles = new double[javaLength()];
        if (dtype.equals("F64")) {
            for (int i = 0; i < doubles.length; i++) {
                doubles[i] = data.get(FloatConversions.LE_DOUBLE, (long) i << 3);
            }
        } else {
            float[] floats = toFloats();
            for (int i = 0; i < doubles.length; i++) {
                doubles[i] = floats[i];
            }
        }
        return doubles;
    }

    /// Copies the elements as 64-bit integers; U8 and BOOL count from 0.
    ///
    /// @throws UnsupportedOperationException if the dtype is not I64, I32, I16, I8, U8 or BOOL
    public long[] toLongs() {
        long[] longs = new long[javaLength()];
        for (int i = 0; i < longs.length; i++) {
            longs[i] = switch (dtype) {
                case "I64" -> data.get(FloatConversions.LE_LONG, (long) i << 3);
                case "I32" -> data.get(FloatConversions.LE_INT, (long) i << 2);
                case "I16" -> data.get(FloatConversions.LE_SHORT, (long) i << 1);
                case "I8" -> data.get(ValueLayout.JAVA_BYTE, i);
                case "U8", "BOOL" -> data.get(ValueLayout.JAVA_BYTE, i) & 0xff;
                default -> throw unsupported("integers", "I64, I32, I16, I8, U8, BOOL");
            };
        }
        return longs;
    }

    /// Copies the elements as 32-bit integers.
    ///
    /// @throws UnsupportedOperationException as [#toLongs()]
    /// @throws ArithmeticException if an element does not fit
    public int[] toInts() {
        return Arrays.stream(toLongs()).mapToInt(Math::toIntExact).toArray();
    }

    /// The index of the first element that is infinite or not a number, or -1. Integers are always finite.
    public long firstNonFinite() {
        return switch (dtype) {
            case "F64" -> firstWithExponent64();
            case "F32" -> firstWithExponent32();
            case "BF16" -> firstWithExponent16(0x7f80);
            case "F16" -> firstWithExponent16(0x7c00);
            default -> -1;
        };
    }

    private long firstWithExponent64() {
        for (long offset = 0; offset < data.byteSize(); offset += 8) {
            if (!Double.isFinite(data.get(FloatConversions.LE_DOUBLE, offset))) {
                return offset >> 3;
            }
        }
        return -1;
    }

    private long firstWithExponent32() {
        for (long offset = 0; offset < data.byteSize(); offset += 4) {
            if ((data.get(FloatConversions.LE_INT, offset) & 0x7f800000) == 0x7f800000) {
                return offset >> 2;
            }
        }
        return -1;
    }

    private long firstWithExponent16(int mask) {
        for (long offset = 0; offset < data.byteSize(); offset += 2) {
            if ((data.get(FloatConversions.LE_SHORT, offset) & mask) == mask) {
                return offset >> 1;
            }
        }
        return -1;
    }

    /// `name BF16 [2, 3]`, for messages.
    @Override
    public String toString() {
        return name + " " + dtype + " " + Arrays.toString(shape);
    }

    private int javaLength() {
        long count = elementCount();
        if (count > Integer.MAX_VALUE - 8) {
            throw new UnsupportedOperationException(
                    this + ": too large for a Java array; read it in place or in slices through data()");
        }
        return (int) count;
    }

    private UnsupportedOperationException unsupported(String wanted, String built) {
        return new UnsupportedOperationException(this + ": cannot be read as " + wanted + "; built for " + built);
    }
}
