package io.sjd2.benchmarks;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// The memory of one call of an operation on one backend, filled with numbers that depend on a tensor's number and
/// an element's index alone: a case of fewer rows holds the first rows of a case of more.
///
/// One sequence, so that rows come first in every tensor. Owns its backend and memory; confined to one thread.
final class Case implements AutoCloseable {
    private final Backend backend;
    private final Arena arena = Arena.ofShared();
    private final Shape shape;
    private final DType dtype;
    private final int rows;
    private final List<Tensor> outputs = new ArrayList<>();
    private int tensors;

    /// @param rows  rows of the sequence
    Case(String backend, int threads, Shape shape, DType dtype, int rows) {
        this.backend = Backends.open(backend, threads);
        this.shape = shape;
        this.dtype = dtype;
        this.rows = rows;
    }

    Backend backend() {
        return backend;
    }

    Shape shape() {
        return shape;
    }

    /// T: what weights are stored and multiplied as.
    DType dtype() {
        return dtype;
    }

    int rows() {
        return rows;
    }

    Arena arena() {
        return arena;
    }

    /// Numbers evenly spread over `[-scale, scale)`.
    Tensor random(DType type, double scale, long... extents) {
        Tensor tensor = backend.allocate(arena, type, extents);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(tensor.bytes(), 64);
            Numbers.fill(bytes, type, ++tensors, scale, tensor.elements());
            backend.upload(tensor, bytes);
        }
        return tensor;
    }

    /// As the other, in T and of a size usual for activations.
    Tensor random(long... extents) {
        return random(dtype, 1, extents);
    }

    /// Integers from 0 to below `bound`.
    Tensor ints(int bound, long count) {
        Tensor tensor = backend.allocate(arena, DType.I32, count);
        int number = ++tensors;
        int[] values = new int[Math.toIntExact(count)];
        for (int i = 0; i < values.length; i++) {
            values[i] = Numbers.below(bound, number, i);
        }
        backend.upload(tensor, MemorySegment.ofArray(values));
        return tensor;
    }

    /// Zeroed memory.
    Tensor zeros(DType type, long... extents) {
        return backend.allocate(arena, type, extents);
    }

    /// Zeroed memory whose first elements are compared with the reference.
    Tensor output(DType type, long... extents) {
        return compared(zeros(type, extents));
    }

    /// Marks a tensor as one that the operation writes.
    Tensor compared(Tensor tensor) {
        outputs.add(tensor);
        return tensor;
    }

    List<Tensor> outputs() {
        return outputs;
    }

    /// A packed weight matrix of numbers small enough for sums of `nIn` of them to stay near 1.
    Tensor packed(long nOut, long nIn) {
        Tensor packed = zeros(dtype, backend.kernels().packedElements(nOut, nIn, dtype));
        backend.kernels().packWeights(packed, random(dtype, 1 / Math.sqrt(nIn), nOut, nIn), 0, nOut);
        backend.synchronize();
        return packed;
    }

    /// Another tensor of the same bytes.
    Tensor copy(Tensor tensor) {
        Tensor copy = backend.allocate(arena, tensor.dtype(), tensor.shape());
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(tensor.bytes(), 64);
            backend.download(bytes, tensor);
            backend.upload(copy, bytes);
        }
        return copy;
    }

    /// One sequence of one image, all rows live behind `kvLen` cached entries.
    StateBlock state(int kvLen) {
        StateBlock state = new StateBlock(backend, arena, 1, 1, rows);
        place(state, kvLen);
        state.setFloat(0, ImageField.TEMPERATURE, 1);
        state.setFloat(0, ImageField.TOP_P, 1);
        state.setFloat(0, ImageField.GUIDANCE, 1);
        state.set(0, ImageField.WINDOW, rows);
        state.set(0, ImageField.LENGTH, shape.grid * shape.grid);
        state.set(0, ImageField.UNCOND, -1);
        state.push();
        return state;
    }

    private void place(StateBlock state, int kvLen) {
        state.set(0, SequenceField.KV_LEN, kvLen);
        state.set(0, SequenceField.POSITION, kvLen);
        state.set(0, SequenceField.ROWS, rows);
        state.set(0, SequenceField.IMAGE, 0);
    }

    /// The contents of a tensor as floats, integers included.
    double[] download(Tensor tensor) {
        double[] values = new double[Math.toIntExact(tensor.elements())];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(Math.max(1, tensor.bytes()), 64);
            backend.download(bytes.asSlice(0, tensor.bytes()), tensor);
            Tensor copy = Tensor.of(bytes, tensor.dtype(), tensor.shape());
            for (int i = 0; i < values.length; i++) {
                values[i] = tensor.dtype() == DType.I32 ? copy.getInt(i) : copy.getFloat(i);
            }
        }
        return values;
    }

    @Override
    public void close() {
        try {
            backend.close();
        } finally {
            arena.close();
        }
    }
}
