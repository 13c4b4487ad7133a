package io.sjd2.kernel;

import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.testing.GuardedTensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// One call of an operation in a test: its memory, laid out as a batch of slices of sequences.
///
/// Dead rows of inputs hold NaN, dead rows of outputs must keep what they held.
final class Bench implements AutoCloseable {
    /// Rows `[first, first + count)` of a sequence, as one entry of the batch.
    record Slice(int sequence, int first, int count) {}

    /// Values of a row of a sequence.
    interface RowValues {
        float[] of(int sequence, int row);
    }

    final Backend backend;
    final List<Slice> slices;
    final int window;
    private final boolean stateless;
    private final Arena arena = Arena.ofConfined();

    /// @param stateless  without a state block: tensors are `[rows, n]`, all slices are as long as the window
    Bench(Backend backend, List<Slice> slices, int window, boolean stateless) {
        this.backend = backend;
        this.slices = slices;
        this.window = window;
        this.stateless = stateless;
    }

    int batch() {
        return slices.size();
    }

    /// `[batch, window, n]`, or `[rows, n]` without state.
    private long[] shape(long... inner) {
        int lead = stateless ? 1 : 2;
        long[] shape = new long[lead + inner.length];
        shape[0] = stateless ? (long) batch() * window : batch();
        if (!stateless) {
            shape[1] = window;
        }
        System.arraycopy(inner, 0, shape, lead, inner.length);
        return shape;
    }

    /// A tensor with a row per window row; `values` fills the live ones, NaN the others.
    GuardedTensor rows(String name, DType dtype, RowValues values, long... inner) {
        int n = Math.toIntExact(Arrays.stream(inner).reduce(1, Math::multiplyExact));
        float[] content = new float[batch() * window * n];
        Arrays.fill(content, Float.NaN);
        for (int b = 0; b < batch(); b++) {
            Slice slice = slices.get(b);
            for (int w = 0; w < slice.count; w++) {
                float[] row = values.of(slice.sequence, slice.first + w);
                if (row.length != n) {
                    throw new AssertionError(name + ": a row has " + row.length + " values, expected " + n);
                }
                System.arraycopy(row, 0, content, (b * window + w) * n, n);
            }
        }
        return GuardedTensor.of(name, backend, arena, dtype, content, shape(inner));
    }

    /// An output whose rows hold NaN beforehand.
    GuardedTensor output(String name, DType dtype, long... inner) {
        int n = Math.toIntExact(Arrays.stream(inner).reduce(1, Math::multiplyExact));
        float[] content = new float[batch() * window * n];
        Arrays.fill(content, Float.NaN);
        return GuardedTensor.of(name, backend, arena, dtype, content, shape(inner));
    }

    GuardedTensor tensor(String name, DType dtype, float[] values, long... shape) {
        return GuardedTensor.of(name, backend, arena, dtype, values, shape);
    }

    GuardedTensor ints(String name, int[] values, long... shape) {
        return GuardedTensor.ofInts(name, backend, arena, values, shape);
    }

    /// Packed weights of `[nOut, nIn]`.
    GuardedTensor packed(String name, DType dtype, float[] values, int nOut, int nIn) {
        int elements = Math.toIntExact(backend.kernels().packedElements(nOut, nIn, dtype));
        GuardedTensor dst = GuardedTensor.aligned(name, backend, arena, dtype, new float[elements], elements);
        GuardedTensor src = tensor(name + " source", dtype, values, nOut, nIn);
        backend.kernels().packWeights(dst.tensor(), src.tensor(), 0, nOut);
        backend.synchronize();
        dst.content();
        return dst;
    }

    /// The live rows and cache lengths of the slices; null without state.
    ///
    /// @param kvBase  cached entries before row 0 of a sequence
    StateBlock state(int[] kvBase) {
        if (stateless) {
            return null;
        }
        StateBlock state = new StateBlock(backend, arena, batch(), 1, window);
        for (int b = 0; b < batch(); b++) {
            Slice slice = slices.get(b);
            int cached = kvBase.length == 0 ? 0 : kvBase[slice.sequence];
            state.set(b, SequenceField.KV_LEN, cached + slice.first);
            state.set(b, SequenceField.POSITION, cached + slice.first);
            state.set(b, SequenceField.ROWS, slice.count);
            state.set(b, SequenceField.IMAGE, -1);
        }
        state.push();
        return state;
    }

    Arena arena() {
        return arena;
    }

    /// Bytes of the live rows of a `[batch, window, ..]` output, in order of slices.
    ///
    /// @throws AssertionError if a dead row or a guard band was written to
    List<byte[]> liveRows(GuardedTensor out) {
        backend.synchronize();
        byte[] before = out.initial();
        byte[] after = out.content();
        int rowBytes = after.length / (batch() * window);
        List<byte[]> live = new ArrayList<>();
        for (int b = 0; b < batch(); b++) {
            for (int w = 0; w < window; w++) {
                int at = (b * window + w) * rowBytes;
                if (w < slices.get(b).count) {
                    live.add(Arrays.copyOfRange(after, at, at + rowBytes));
                } else if (!Arrays.equals(after, at, at + rowBytes, before, at, at + rowBytes)) {
                    throw new AssertionError("dead row " + w + " of sequence " + b + " was written to");
                }
            }
        }
        return live;
    }

    /// Bytes of the cache entries that the live rows append, in order of slices.
    ///
    /// @param capacity  entries of a sequence in `cache`
    /// @param kvBase    as in {@link #state}
    /// @throws AssertionError if any other entry or a guard band was written to
    List<byte[]> appendedEntries(GuardedTensor cache, int capacity, int[] kvBase) {
        backend.synchronize();
        byte[] before = cache.initial();
        byte[] after = cache.content();
        int entryBytes = after.length / (batch() * capacity);
        List<byte[]> appended = new ArrayList<>();
        for (int b = 0; b < batch(); b++) {
            Slice slice = slices.get(b);
            int from = kvBase[slice.sequence] + slice.first;
            for (int t = 0; t < capacity; t++) {
                int at = (b * capacity + t) * entryBytes;
                if (t >= from && t < from + slice.count) {
                    appended.add(Arrays.copyOfRange(after, at, at + entryBytes));
                } else if (!Arrays.equals(after, at, at + entryBytes, before, at, at + entryBytes)) {
                    throw new AssertionError("cache entry " + t + " of sequence " + b
                            + " was written to, rows append to " + from + " .. " + (from + slice.count - 1));
                }
            }
        }
        return appended;
    }

    @Override
    public void close() {
        arena.close();
    }

    static Tensor orNull(GuardedTensor t) {
        return t == null ? null : t.tensor();
    }
}
