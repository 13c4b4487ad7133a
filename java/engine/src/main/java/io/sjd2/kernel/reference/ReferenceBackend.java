package io.sjd2.kernel.reference;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.TrainingKernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Plain Java on the calling thread, host memory, no state of its own.
public final class ReferenceBackend implements Backend {
    private static final String NAME = "reference";
    private static final long ALIGNMENT = 64;

    private final Kernels kernels = new ReferenceKernels();

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public Kernels kernels() {
        return kernels;
    }

    @Override
    public TrainingKernels training() {
        throw new UnsupportedOperationException("the reference backend cannot train; use the cpu backend");
    }

    @Override
    public Tensor allocate(Arena owner, DType dtype, long... shape) {
        long bytes = dtype.bytes();
        for (long extent : shape) {
            bytes = Math.multiplyExact(bytes, extent);
        }
        try {
            return Tensor.of(owner.allocate(bytes, ALIGNMENT), dtype, shape);
        } catch (OutOfMemoryError e) {
            throw new KernelException(
                    "allocate on " + NAME + ": " + dtype.label() + Arrays.toString(shape) + " needs " + (bytes >> 20)
                            + " MiB, which the system refuses; use a smaller model, batch or window",
                    e);
        }
    }

    @Override
    public void upload(Tensor dst, MemorySegment src) {
        requireSize("upload", "src", src, dst);
        dst.data().copyFrom(src);
    }

    @Override
    public void download(MemorySegment dst, Tensor src) {
        requireSize("download", "dst", dst, src);
        dst.copyFrom(src.data());
    }

    private static void requireSize(String op, String argument, MemorySegment host, Tensor tensor) {
        if (host.byteSize() != tensor.bytes()) {
            throw new IllegalArgumentException(op + ": " + argument + " has " + host.byteSize()
                    + " bytes, expected the " + tensor.bytes() + " of " + tensor);
        }
    }

    /// Nothing is ever outstanding: operations run on the calling thread.
    @Override
    public void synchronize() {}

    @Override
    public boolean hostMemory() {
        return true;
    }

    @Override
    public int threads() {
        return 1;
    }

    /// Nothing to give back: memory belongs to the callers' arenas.
    @Override
    public void close() {}
}
