package io.sjd2.testing;

import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/// A tensor between guard bands: a write outside of it is found, and a read outside of it meets NaN.
///
/// The bands hold 0xff, which is NaN in every floating-point dtype. The tensor starts one element behind a 64-byte
/// boundary, so that nothing may rely on more than its elements' alignment; {@link #aligned} starts on the boundary.
public final class GuardedTensor {
    private static final int BAND = 256;
    private static final byte GUARD = (byte) 0xff;

    private final String name;
    private final Backend backend;
    private final Tensor whole;
    private final Tensor tensor;
    private final int start;
    private final byte[] initial;

    private GuardedTensor(
            String name, Backend backend, Arena arena, int offset, DType dtype, byte[] content, long... shape) {
        this.name = name;
        this.backend = backend;
        this.start = BAND + offset;
        this.initial = content;
        byte[] bytes = new byte[start + content.length + BAND];
        Arrays.fill(bytes, GUARD);
        System.arraycopy(content, 0, bytes, start, content.length);
        this.whole = backend.allocate(arena, DType.U8, bytes.length);
        backend.upload(whole, MemorySegment.ofArray(bytes));
        this.tensor = Tensor.of(whole.data().asSlice(start, content.length), dtype, shape);
    }

    /// A tensor that holds `values`, rounded to `dtype`.
    public static GuardedTensor of(
            String name, Backend backend, Arena arena, DType dtype, float[] values, long... shape) {
        return new GuardedTensor(name, backend, arena, dtype.bytes(), dtype, bytes(dtype, values), shape);
    }

    /// A tensor of i32.
    public static GuardedTensor ofInts(String name, Backend backend, Arena arena, int[] values, long... shape) {
        byte[] content = new byte[4 * values.length];
        MemorySegment.ofArray(content).asSlice(0).copyFrom(MemorySegment.ofArray(values));
        return new GuardedTensor(name, backend, arena, 4, DType.I32, content, shape);
    }

    /// As {@link #of}, on a 64-byte boundary: for packed weights.
    public static GuardedTensor aligned(
            String name, Backend backend, Arena arena, DType dtype, float[] values, long... shape) {
        return new GuardedTensor(name, backend, arena, 0, dtype, bytes(dtype, values), shape);
    }

    public Tensor tensor() {
        return tensor;
    }

    /// What the tensor held at first.
    public byte[] initial() {
        return initial.clone();
    }

    /// What the tensor holds now.
    ///
    /// @throws AssertionError if a guard band was written to
    public byte[] content() {
        byte[] bytes = new byte[Math.toIntExact(whole.bytes())];
        backend.download(MemorySegment.ofArray(bytes), whole);
        for (int i = 0; i < bytes.length; i++) {
            if ((i < start || i >= start + initial.length) && bytes[i] != GUARD) {
                throw new AssertionError(name + " " + tensor + ": a byte "
                        + (i < start ? (start - i) + " before" : (i - start - initial.length + 1) + " behind")
                        + " the tensor was written to");
            }
        }
        return Arrays.copyOfRange(bytes, start, start + initial.length);
    }

    /// Floats as the bytes of a tensor of `dtype`.
    public static byte[] bytes(DType dtype, float[] values) {
        byte[] out = new byte[values.length * dtype.bytes()];
        Tensor.of(MemorySegment.ofArray(out), dtype, values.length).fill(values);
        return out;
    }

    /// The inverse of {@link #bytes}.
    public static double[] decode(DType dtype, byte[] bytes) {
        Tensor t = Tensor.of(MemorySegment.ofArray(bytes), dtype, bytes.length / dtype.bytes());
        double[] out = new double[(int) t.elements()];
        for (int i = 0; i < out.length; i++) {
            out[i] = dtype == DType.I32 ? t.getInt(i) : t.getFloat(i);
        }
        return out;
    }

    /// Native-endian ints of an i32 tensor's bytes.
    public static int[] decodeInts(byte[] bytes) {
        return MemorySegment.ofArray(bytes).toArray(ValueLayout.JAVA_INT_UNALIGNED);
    }
}
