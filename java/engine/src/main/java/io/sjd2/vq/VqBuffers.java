package io.sjd2.vq;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Pictures' memory, used again by layer after layer and picture after picture: at 768 x 768 pixels, getting memory
/// from the system is a good part of a decode.
///
/// What a picture takes is found out beforehand by a run over a {@link #plan}, so that nothing grows on the way.
final class VqBuffers implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(VqBuffers.class.getName());
    private static final long CELL = Float.BYTES;

    /// @param owner of `memory` alone; null in a plan, whose memory is an address that nothing lies at
    private record Buffer(@Nullable Arena owner, Tensor memory) {
        long elements() {
            return memory.elements();
        }

        void close() {
            if (owner != null) {
                owner.close();
            }
        }
    }

    /// Null in a plan.
    private final @Nullable Backend backend;

    private final List<Buffer> free = new ArrayList<>();
    private final List<Buffer> taken = new ArrayList<>();
    private long nextAddress = CELL;
    /// Memory on its way, which {@link #arrived} waits for; null where none is.
    private @Nullable Thread fetching;

    /// Filled by that thread alone until it ends.
    private final List<Buffer> fetched = new ArrayList<>();

    VqBuffers(Backend backend) {
        this.backend = backend;
    }

    /// A plan without memory.
    VqBuffers() {
        this.backend = null;
    }

    /// Buffers of the same sizes without memory: a pass over them takes and gives as a real one would.
    VqBuffers plan() {
        arrived();
        VqBuffers plan = new VqBuffers();
        for (Buffer buffer : free) {
            plan.free.add(plan.allocate(buffer.elements()));
        }
        return plan;
    }

    /// Gets the buffers of a plan while the caller does something else: the system takes a second for the pages of
    /// 768 x 768 pixels. To be called before anything else is held, on a backend over the host's memory.
    void fetch(VqBuffers plan) {
        List<Long> sizes = plan.free.stream().map(Buffer::elements).toList();
        fetching = Thread.ofPlatform().daemon().name("sjd2-picture-memory").start(() -> {
            try {
                for (long elements : sizes) {
                    fetched.add(allocate(elements));
                }
            } catch (KernelException | OutOfMemoryError e) {
                // Whoever needs what is missing asks again, and is told then.
                LOG.log(System.Logger.Level.DEBUG, "memory for pictures could not be had beforehand", e);
            }
        });
    }

    /// Waits for what {@link #fetch} gets.
    private void arrived() {
        Thread thread = fetching;
        if (thread == null) {
            return;
        }
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        fetching = null;
        free.addAll(fetched);
        fetched.clear();
    }

    /// Makes these buffers the ones of a plan, of those that are free.
    void reserve(VqBuffers plan) {
        arrived();
        List<Buffer> kept = new ArrayList<>();
        List<Long> missing = new ArrayList<>();
        for (Buffer wanted : plan.free) {
            Buffer match = free.stream()
                    .filter(buffer -> buffer.elements() == wanted.elements())
                    .findFirst()
                    .orElse(null);
            if (match == null) {
                missing.add(wanted.elements());
            } else {
                free.remove(match);
                kept.add(match);
            }
        }
        if (backend != null && !free.isEmpty()) {
            backend.synchronize();
        }
        free.forEach(Buffer::close);
        free.clear();
        free.addAll(kept);
        for (long elements : missing) {
            free.add(allocate(elements));
        }
    }

    /// An f32 tensor with anything in it: of the smallest free memory that it fits in, else of new memory, in place of
    /// the largest free one.
    Tensor take(long... shape) {
        long elements = 1;
        for (long extent : shape) {
            elements = Math.multiplyExact(elements, extent);
        }
        Buffer best = null;
        Buffer largest = null;
        for (Buffer buffer : free) {
            if (buffer.elements() >= elements && (best == null || buffer.elements() < best.elements())) {
                best = buffer;
            }
            if (largest == null || buffer.elements() > largest.elements()) {
                largest = buffer;
            }
        }
        if (best == null) {
            if (largest != null) {
                if (backend != null) {
                    backend.synchronize();
                }
                free.remove(largest);
                largest.close();
            }
            best = allocate(elements);
        } else {
            free.remove(best);
        }
        taken.add(best);
        return Tensor.of(best.memory.data(), DType.F32, shape);
    }

    private Buffer allocate(long elements) {
        if (backend == null) {
            MemorySegment nowhere = MemorySegment.ofAddress(nextAddress).reinterpret(elements * CELL);
            nextAddress += (elements + 1) * CELL;
            return new Buffer(null, Tensor.of(nowhere, DType.F32, elements));
        }
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
        long elements = 0;
        for (Buffer buffer : free) {
            elements += buffer.elements();
        }
        for (Buffer buffer : taken) {
            elements += buffer.elements();
        }
        return elements * CELL;
    }

    @Override
    public void close() {
        arrived();
        giveAll();
        free.forEach(Buffer::close);
        free.clear();
    }
}
