package io.sjd2.kernel.ffm;

import java.lang.foreign.MemorySegment;

/// A stream of a native library: its thread pool, or its place in the device's order. One thread uses it at a time.
///
/// The backend that opened it closes it; afterwards every use fails with an {@link IllegalStateException} instead of
/// reaching the library.
public final class NativeStream implements AutoCloseable {
    private final NativeLibrary library;
    private final MemorySegment synchronizeSymbol;
    private final MemorySegment destroySymbol;
    private final int threads;
    private final Runnable beforeUse;
    private MemorySegment handle;
    private boolean closed;

    NativeStream(NativeLibrary library, MemorySegment handle, Runnable beforeUse) {
        this.library = library;
        this.beforeUse = beforeUse;
        this.handle = handle;
        this.synchronizeSymbol = library.symbol("sjd2_stream_synchronize");
        this.destroySymbol = library.symbol("sjd2_stream_destroy");
        this.threads = library.threads(handle);
    }

    public NativeLibrary library() {
        return library;
    }

    /// The `sjd2_stream` to pass to the library.
    ///
    /// @throws IllegalStateException if the stream is closed
    public MemorySegment handle() {
        if (closed) {
            throw new IllegalStateException("the backend on " + library.description() + " is closed; open another");
        }
        beforeUse.run();
        return handle;
    }

    /// Worker threads, the caller's own included.
    public int threads() {
        return threads;
    }

    /// Waits for everything enqueued.
    ///
    /// @throws KernelException for a failure since the last call
    public void synchronize() {
        library.callOnStream(synchronizeSymbol, handle(), "stream_synchronize");
    }

    /// One of the machine's limits, per second, measured on this stream's threads. Only the CPU library has it.
    ///
    /// @param peak  `sjd2_peak` of `include/sjd2/cpu.h`
    /// @throws KernelException if the library refuses
    public double measurePeak(int peak) {
        return library.measurePeak(handle(), peak);
    }

    /// Synchronises and gives the threads back; idempotent.
    @Override
    public void close() {
        if (closed) {
            return;
        }
        try {
            synchronize();
        } finally {
            closed = true;
            MemorySegment last = handle;
            handle = MemorySegment.NULL;
            library.callOnStream(destroySymbol, last, "stream_destroy");
        }
    }
}
