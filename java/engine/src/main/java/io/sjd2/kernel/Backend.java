package io.sjd2.kernel;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.OptionalLong;
import java.util.function.BooleanSupplier;

/// One device, one stream, one allocator. Confined to one thread at a time.
///
/// What a backend allocates belongs to the arena that is passed; the backend itself owns its stream and thread pool and
/// gives them back in {@link #close()}.
public interface Backend extends AutoCloseable {
    /// For logs and file names: `reference`, `cpu-avx512-amx`, `cuda-sm90`.
    String name();

    /// What its kernels were built from, as a short text that changes with them: measurements kept under another one
    /// are of another program.
    default String build() {
        return name();
    }

    /// The operations of inference.
    Kernels kernels();

    /// The operations of training.
    ///
    /// @throws UnsupportedOperationException naming the backends that can train, if this one cannot
    TrainingKernels training();

    /// Zeroed memory of the device, 64-byte aligned, freed when `owner` closes. Where memory is the host's
    /// ({@link #hostMemory}), other threads may call this at any time.
    ///
    /// @throws KernelException if the device has not that much memory, saying how much was asked for
    Tensor allocate(Arena owner, DType dtype, long... shape);

    /// Who gives memory back before {@link #allocate} fails for want of it: called on its thread, again and again until
    /// there is enough or the answer is false. Backends whose memory is the host's never ask.
    ///
    /// @param giveBack  frees something that is kept for later and answers whether it did
    default void reserve(BooleanSupplier giveBack) {}

    /// Bytes of the device that nobody uses at the moment; empty where memory is the host's.
    default OptionalLong freeMemory() {
        return OptionalLong.empty();
    }

    /// Copies host bytes into `dst`, in order with kernels.
    void upload(Tensor dst, MemorySegment src);

    /// Copies `src` to the host; returns once the bytes are there.
    void download(MemorySegment dst, Tensor src);

    /// Waits for everything enqueued; reports every failure since the last call.
    void synchronize();

    /// Work that will be enqueued again and again with the same arguments, as an iteration of decoding is: a device may
    /// record it once and replay it. It must not allocate, copy from or to the host, or wait.
    ///
    /// What it enqueues may run after its memory's arena is asked to close: synchronise first.
    default Recurring recurring(Runnable work) {
        return work::run;
    }

    /// Whether {@link #recurring} records: then the recording, and the memory that it works on, are worth keeping from
    /// one use to the next.
    default boolean records() {
        return false;
    }

    /// Recurring work; each {@link #run} enqueues it once.
    @FunctionalInterface
    interface Recurring extends AutoCloseable {
        void run();

        /// Forgets the recording; idempotent.
        @Override
        default void close() {}
    }

    /// Whether tensors of this backend can be read and written by the host as they are.
    boolean hostMemory();

    /// Worker threads that operations are spread over (1 where that has no meaning).
    int threads();

    /// Synchronises first; idempotent.
    @Override
    void close();
}
