package io.sjd2.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Objects;

/// A row-major view of memory with a dense last axis: dtype, shape and a borrowed segment.
///
/// A tensor owns nothing. Its segment is host memory or an address on a device; only tensors in host memory may be read
/// through the accessors below, which exist for tests, the reference backend and setting up state.
public final class Tensor {
    private final DType dtype;
    private final long[] shape;
    private final long elements;
    private final MemorySegment data;

    private Tensor(DType dtype, long[] shape, long elements, MemorySegment data) {
        this.dtype = dtype;
        this.shape = shape;
        this.elements = elements;
        this.data = data;
    }

    /// A tensor over the first bytes of `data`.
    ///
    /// @param data  at least `product(shape) * dtype.bytes()` bytes
    /// @throws IllegalArgumentException if an extent is negative, the product overflows or the segment is too small
    public static Tensor of(MemorySegment data, DType dtype, long... shape) {
        Objects.requireNonNull(data, "data");
        Objects.requireNonNull(dtype, "dtype");
        long elements = elementsOf(shape);
        long bytes = Math.multiplyExact(elements, dtype.bytes());
        if (data.byteSize() < bytes) {
            throw new IllegalArgumentException("tensor " + dtype.label() + Arrays.toString(shape) + " needs " + bytes
                    + " bytes, the memory has " + data.byteSize());
        }
        return new Tensor(dtype, shape.clone(), elements, data.asSlice(0, bytes));
    }

    private static long elementsOf(long[] shape) {
        long n = 1;
        for (long extent : shape) {
            if (extent < 0) {
                throw new IllegalArgumentException("negative extent in shape " + Arrays.toString(shape));
            }
            n = Math.multiplyExact(n, extent);
        }
        return n;
    }

    public DType dtype() {
        return dtype;
    }

    public long[] shape() {
        return shape.clone();
    }

    public int rank() {
        return shape.length;
    }

    /// Extent of axis `axis`; a negative axis counts from the end.
    public long dim(int axis) {
        return shape[axis < 0 ? shape.length + axis : axis];
    }

    public long elements() {
        return elements;
    }

    public long bytes() {
        return data.byteSize();
    }

    /// The borrowed memory, exactly {@link #bytes()} long.
    public MemorySegment data() {
        return data;
    }

    /// The same memory with another shape of as many elements.
    public Tensor view(long... newShape) {
        if (elementsOf(newShape) != elements) {
            throw new IllegalArgumentException(
                    "cannot view " + this + " as " + Arrays.toString(newShape) + ": the element counts differ");
        }
        return new Tensor(dtype, newShape.clone(), elements, data);
    }

    /// Rows `[first, first + count)` of the outermost axis; shares memory.
    public Tensor rows(long first, long count) {
        if (shape.length == 0 || first < 0 || count < 0 || first + count > shape[0]) {
            throw new IllegalArgumentException("rows " + first + "+" + count + " are outside of " + this);
        }
        long rowBytes = shape[0] == 0 ? 0 : bytes() / shape[0];
        long[] s = shape.clone();
        s[0] = count;
        return new Tensor(dtype, s, elementsOf(s), data.asSlice(first * rowBytes, count * rowBytes));
    }

    /// Element `index` as float; F32, BF16 and F64 in host memory.
    public float getFloat(long index) {
        return switch (dtype) {
            case F32 -> data.get(ValueLayout.JAVA_FLOAT_UNALIGNED, index * 4);
            case BF16 -> BFloat16.toFloat(data.get(ValueLayout.JAVA_SHORT_UNALIGNED, index * 2));
            case F16 -> Float.float16ToFloat(data.get(ValueLayout.JAVA_SHORT_UNALIGNED, index * 2));
            case F64 -> (float) data.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, index * 8);
            default -> throw new IllegalArgumentException(this + " does not hold floating-point numbers");
        };
    }

    /// Stores `value` at `index`, rounded to nearest even where the dtype is narrower.
    public void setFloat(long index, float value) {
        switch (dtype) {
            case F32 -> data.set(ValueLayout.JAVA_FLOAT_UNALIGNED, index * 4, value);
            case BF16 -> data.set(ValueLayout.JAVA_SHORT_UNALIGNED, index * 2, BFloat16.fromFloat(value));
            case F16 -> data.set(ValueLayout.JAVA_SHORT_UNALIGNED, index * 2, Float.floatToFloat16(value));
            case F64 -> data.set(ValueLayout.JAVA_DOUBLE_UNALIGNED, index * 8, value);
            default -> throw new IllegalArgumentException(this + " does not hold floating-point numbers");
        }
    }

    /// Element `index` of an I32 tensor in host memory.
    public int getInt(long index) {
        requireInt();
        return data.get(ValueLayout.JAVA_INT_UNALIGNED, index * 4);
    }

    /// Stores `value` at `index` of an I32 tensor in host memory.
    public void setInt(long index, int value) {
        requireInt();
        data.set(ValueLayout.JAVA_INT_UNALIGNED, index * 4, value);
    }

    private void requireInt() {
        if (dtype != DType.I32) {
            throw new IllegalArgumentException(this + " does not hold i32");
        }
    }

    /// All elements as floats (host memory).
    public float[] toFloats() {
        float[] out = new float[Math.toIntExact(elements)];
        for (int i = 0; i < out.length; i++) {
            out[i] = getFloat(i);
        }
        return out;
    }

    /// Fills the tensor from floats, rounding to the dtype (host memory).
    public Tensor fill(float[] values) {
        if (values.length != elements) {
            throw new IllegalArgumentException(values.length + " values do not fill " + this);
        }
        for (int i = 0; i < values.length; i++) {
            setFloat(i, values[i]);
        }
        return this;
    }

    @Override
    public String toString() {
        return dtype.label() + Arrays.toString(shape);
    }
}
