package io.sjd2.kernel.cpu;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.TrainingKernels;
import io.sjd2.kernel.ffm.NativeKernels;
import io.sjd2.kernel.ffm.NativeLibrary;
import io.sjd2.kernel.ffm.NativeStream;
import io.sjd2.kernel.ffm.NativeTrainingKernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// The CPU through `libsjd2_cpu`: tensors are host memory, operations run on the calling thread and its pool.
///
/// Several may be open at a time; each owns a thread pool and is used by one thread at a time.
public final class CpuBackend implements Backend {
    private static final long ALIGNMENT = 64;
    /// From here on, memory that is there at once is worth pages of its own.
    private static final long LARGE = 2 << 20;

    private final Arena arena;
    private final NativeStream stream;
    private final String name;
    private final NativeKernels kernels;
    private final NativeTrainingKernels training;

    /// @param threads  worker threads; 0 takes every core that the process may run on
    /// @throws IllegalArgumentException if there cannot be so many threads, or `SJD2_CPU_ISA` asks for an
    ///     instruction set that the library or the machine lacks: a request is not answered with something else
    /// @throws KernelException if the library cannot be loaded or refuses
    public CpuBackend(int threads) {
        if (threads < 0) {
            throw new IllegalArgumentException(
                    "threads is " + threads + ", expected a number from 1, or 0 for every core");
        }
        NativeLibrary library = CpuLibrary.get();
        this.stream = openStream(library, threads);
        this.arena = Arena.ofShared();
        this.name = "cpu-" + library.isa();
        try {
            this.kernels = new NativeKernels(stream, name, arena);
            this.training = new NativeTrainingKernels(stream, name);
        } catch (RuntimeException | Error e) {
            stream.close();
            arena.close();
            throw e;
        }
    }

    private static NativeStream openStream(NativeLibrary library, int threads) {
        try {
            return library.openStream(threads, MemorySegment.NULL);
        } catch (KernelException e) {
            if (e.status() == NativeLibrary.BAD_ARGUMENT || e.status() == NativeLibrary.UNSUPPORTED) {
                throw new IllegalArgumentException(e.getMessage(), e);
            }
            throw e;
        }
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public String build() {
        return CpuLibrary.fingerprint();
    }

    @Override
    public Kernels kernels() {
        return kernels;
    }

    @Override
    public TrainingKernels training() {
        return training;
    }

    @Override
    public Tensor allocate(Arena owner, DType dtype, long... shape) {
        long bytes = dtype.bytes();
        for (long extent : shape) {
            bytes = Math.multiplyExact(bytes, extent);
        }
        try {
            MemorySegment memory = bytes < LARGE
                    ? owner.allocate(bytes, ALIGNMENT)
                    : stream.library().allocateHost(owner, bytes);
            return Tensor.of(memory, dtype, shape);
        } catch (OutOfMemoryError e) {
            throw refused(dtype, shape, bytes, e);
        } catch (KernelException e) {
            throw e.outOfMemory() ? refused(dtype, shape, bytes, e) : e;
        }
    }

    private KernelException refused(DType dtype, long[] shape, long bytes, Throwable cause) {
        return new KernelException(
                "allocate on " + name + ": " + dtype.label() + Arrays.toString(shape) + " needs " + (bytes >> 20)
                        + " MiB, which the system refuses; use a smaller model, batch or window",
                cause);
    }

    @Override
    public void upload(Tensor dst, MemorySegment src) {
        requireSize("upload", "src", src, dst);
        dst.data().copyFrom(src);
    }

    @Override
    public void download(MemorySegment dst, Tensor src) {
        requireSize("download", "dst", dst, src);
        stream.synchronize();
        dst.copyFrom(src.data());
    }

    private static void requireSize(String op, String argument, MemorySegment host, Tensor tensor) {
        if (host.byteSize() != tensor.bytes()) {
            throw new IllegalArgumentException(op + ": " + argument + " has " + host.byteSize()
                    + " bytes, expected the " + tensor.bytes() + " of " + tensor);
        }
    }

    @Override
    public void synchronize() {
        stream.synchronize();
    }

    @Override
    public boolean hostMemory() {
        return true;
    }

    @Override
    public int threads() {
        return stream.threads();
    }

    /// What this machine can do at best on this backend's threads; takes about a second.
    ///
    /// @throws KernelException if the memory that it takes cannot be had
    public double measurePeak(CpuPeak peak) {
        return stream.measurePeak(peak.ordinal());
    }

    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            try {
                stream.close();
            } finally {
                arena.close();
            }
        }
    }
}
