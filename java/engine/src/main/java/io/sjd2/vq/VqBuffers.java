package io.sjd2.vq;

import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Pictures' memory, used again by layer after layer and picture after picture: fresh memory costs the kernel a fault
/// per
/// page, which at 768 x 768 pixels is a good part of a decode.
final class VqBuffers implements AutoCloseable {
    /// @param owner of `memory` alone
    private record Buffer(Arena owner, Tensor memory) {}

    private final Backend backend;
    private final List<Buffer> free = new ArrayList<>();
    private final List<Buffer> taken = new ArrayList<>();

    VqBuffers(Backend backend) {
        this.backend = backend;
    }

    /// An f32 tensor with anything in it: of the smallest free memory that it fits in, else of new memory, in place of
    /// the
    /// largest free one.
    Tensor take(long... shape) {
        long elements = 1;
        for (long extent : shape) {
            elements = Math.multiplyExact(elements, extent);
        }
        Buffer best = null;
        Buffer largest = null;
        for (Buffer buffer : free) {
            if (buffer.memory.elements() >= elements
                    && (best == null || buffer.memory.elements() < best.memory.elements())) {
                best = buffer;
            }
            if (largest == null || buffer.memory.elements() > largest.memory.elements()) {
                largest = buffer;
            }
        }
        if (best == null) {
            if (largest != null) {
                backend.synchronize();
                free.remove(largest);
                largest.owner.close();
            }
            best = allocate(elements);
        } else {
            free.remove(best);
        }
        taken.add(best);
        return Tensor.of(best.memory.data(), DType.F32, shape);
    }

    private Buffer allocate(long elements) {
        Arena owner = Arena.ofShared();
        try {
            return new Buffer(owner, backend.allocate(owner, DType.F32, elements));
        } catch (RuntimeException | Error e) {
            owner.close();
            throw e;
        }
    }

    /// Gives back what {@link #take} handed out, by its memory; null gives back nothing.
    void give(@Nullable Tensor tensor) {
        if (tensor == null) {
            return;
        }
        for (Buffer buffer : taken) {
            if (buffer.memory.data().address() == tensor.data().address()) {
                taken.remove(buffer);
                free.add(buffer);
                return;
            }
        }
        throw new AssertionError("a buffer was given back that nobody took: " + tensor);
    }

    /// Gives back everything, behind a failure.
    void giveAll() {
        free.addAll(taken);
        taken.clear();
    }

    /// Bytes held, free or not.
    long bytes() {
        long bytes = 0;
        for (Buffer buffer : free) {
            bytes += buffer.memory.bytes();
        }
        for (Buffer buffer : taken) {
            bytes += buffer.memory.bytes();
        }
        return bytes;
    }

    @Override
    public void close() {
        giveAll();
        free.forEach(buffer -> buffer.owner.close());
        free.clear();
    }
}
