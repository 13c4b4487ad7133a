package io.sjd2.kernel.ffm;

import io.sjd2.kernel.KernelException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.List;
import java.util.Objects;

/// One opened library that exports `include/sjd2/kernels.h`. Immutable; safe to share between threads.
public final class NativeLibrary {
    /// The `SJD2_ABI_VERSION` that this class was written against.
    public static final int ABI_VERSION = 1;

    /// `SJD2_BAD_ARGUMENT`.
    public static final int BAD_ARGUMENT = -1;
    /// `SJD2_OUT_OF_MEMORY`.
    public static final int OUT_OF_MEMORY = -3;
    /// `SJD2_LAUNCH_FAILED`.
    public static final int LAUNCH_FAILED = -4;
    /// `SJD2_DEVICE_LOST`.
    public static final int DEVICE_LOST = -5;
    /// `SJD2_UNSUPPORTED`.
    public static final int UNSUPPORTED = -6;

    private static final MethodHandle NO_ARGUMENTS = Downcalls.status("");
    private static final MethodHandle TEXT = Downcalls.pointer();
    private static final MethodHandle STREAM_CREATE = Downcalls.status("PIP");
    private static final MethodHandle STREAM_AND_POINTER = Downcalls.status("PP");
    private static final MethodHandle ISA_AVAILABLE = Downcalls.status("PJ");
    private static final MethodHandle MEASURE_PEAK = Downcalls.status("PPI");
    private static final MethodHandle POINTER = Downcalls.status("P");
    private static final MethodHandle POINTER_AND_BYTES = Downcalls.status("PJ");
    private static final long LONGEST_TEXT = 4096;

    private final SymbolLookup lookup;
    private final String description;

    private NativeLibrary(SymbolLookup lookup, String description) {
        this.lookup = lookup;
        this.description = description;
    }

    /// Takes over an opened library.
    ///
    /// @param description  for messages: the path that the library was loaded from
    /// @throws KernelException if it is not a library of this ABI version
    public static NativeLibrary open(SymbolLookup lookup, String description) {
        NativeLibrary library = new NativeLibrary(Objects.requireNonNull(lookup, "lookup"), description);
        int version;
        try {
            version = (int) NO_ARGUMENTS.invokeExact(library.symbol("sjd2_abi_version"));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (version != ABI_VERSION) {
            throw new KernelException(
                    description + " has ABI version " + version + ", expected " + ABI_VERSION
                            + "; rebuild it from the sources that this jar was built from",
                    0);
        }
        return library;
    }

    /// Where the library came from.
    public String description() {
        return description;
    }

    /// The address of an exported function.
    ///
    /// @throws KernelException if the library does not export it
    public MemorySegment symbol(String name) {
        return lookup.find(name)
                .orElseThrow(() -> new KernelException(
                        description + " does not export " + name
                                + "; rebuild it from the sources that this jar was built from",
                        0));
    }

    /// The instruction set or device family that the library runs on.
    public String isa() {
        return text("sjd2_isa");
    }

    /// The compiler that built the library; only the CPU library has it.
    public String compiler() {
        return text("sjd2_compiler");
    }

    /// The message of this thread's last failure.
    public String lastError() {
        return text("sjd2_last_error");
    }

    /// The instruction sets that the library holds and this machine runs, narrowest first.
    public List<String> availableIsas() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment buffer = arena.allocate(LONGEST_TEXT);
            int status;
            try {
                status = (int) ISA_AVAILABLE.invokeExact(symbol("sjd2_isa_available"), buffer, buffer.byteSize());
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, "isa_available");
            String names = buffer.getString(0);
            return names.isEmpty() ? List.of() : List.of(names.split(","));
        }
    }

    /// Uses one instruction set from now on; legal only while no stream exists. For tests and measurements.
    ///
    /// @param name  one of {@link #availableIsas}; empty for the environment's choice or the best
    /// @throws KernelException if the machine lacks it, it is unknown, or a stream exists
    public void selectIsa(String name) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment argument = name.isEmpty() ? MemorySegment.NULL : arena.allocateFrom(name);
            int status;
            try {
                status = (int) POINTER.invokeExact(symbol("sjd2_select_isa"), argument);
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, "select_isa");
        }
    }

    /// Opens a stream: a thread pool, or what the CUDA libraries make of `nativeStream`.
    ///
    /// @param threads       worker threads; 0 takes every core that the process may run on
    /// @param nativeStream  a `CUstream`, or {@link MemorySegment#NULL}
    /// @throws KernelException if the library refuses, with its message
    public NativeStream openStream(int threads, MemorySegment nativeStream) {
        return openStream(threads, nativeStream, () -> {});
    }

    /// As {@link #openStream(int, MemorySegment)}.
    ///
    /// @param beforeUse  runs before every call that takes the stream: for what a thread must have set up
    /// @throws KernelException if the library refuses, with its message
    public NativeStream openStream(int threads, MemorySegment nativeStream, Runnable beforeUse) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            int status;
            try {
                status = (int) STREAM_CREATE.invokeExact(symbol("sjd2_stream_create"), out, threads, nativeStream);
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, "stream_create");
            return new NativeStream(this, out.get(ValueLayout.ADDRESS, 0), beforeUse);
        }
    }

    int threads(MemorySegment stream) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_INT);
            int status;
            try {
                status = (int) STREAM_AND_POINTER.invokeExact(symbol("sjd2_stream_threads"), stream, out);
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, "stream_threads");
            return out.get(ValueLayout.JAVA_INT, 0);
        }
    }

    double measurePeak(MemorySegment stream, int peak) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_DOUBLE);
            int status;
            try {
                status = (int) MEASURE_PEAK.invokeExact(symbol("sjd2_measure_peak"), out, stream, peak);
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, "measure_peak");
            return out.get(ValueLayout.JAVA_DOUBLE, 0);
        }
    }

    /// Zeroed memory of the host with every page there already, for large tensors. Only the CPU library has it.
    ///
    /// @param owner  gives it back when it closes
    /// @throws KernelException if it cannot be had
    public MemorySegment allocateHost(Arena owner, long bytes) {
        MemorySegment free = symbol("sjd2_host_free");
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            int status;
            try {
                status = (int) POINTER_AND_BYTES.invokeExact(symbol("sjd2_host_allocate"), out, bytes);
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, "host_allocate");
            return out.get(ValueLayout.ADDRESS, 0).reinterpret(bytes, owner, memory -> freeHost(free, memory, bytes));
        }
    }

    private void freeHost(MemorySegment function, MemorySegment memory, long bytes) {
        int status;
        try {
            status = (int) POINTER_AND_BYTES.invokeExact(function, memory, bytes);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, "host_free");
    }

    /// Calls a function that takes the stream alone.
    void callOnStream(MemorySegment function, MemorySegment stream, String operation) {
        int status;
        try {
            status = (int) POINTER.invokeExact(function, stream);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, operation);
    }

    private void require(int status, String operation) {
        if (status != 0) {
            throw failure(status, operation, description, "");
        }
    }

    /// The exception for a negative status: operation, where, status by name, native message, and the arguments.
    KernelException failure(int status, String operation, String where, String arguments) {
        String message = lastError();
        return new KernelException(
                operation + " on " + where + " failed: " + statusName(status)
                        + (message.isEmpty() ? "" : ": " + message)
                        + (arguments.isEmpty() ? "" : "; arguments: " + arguments),
                status);
    }

    private static String statusName(int status) {
        return switch (status) {
            case BAD_ARGUMENT -> "SJD2_BAD_ARGUMENT";
            case -2 -> "SJD2_BAD_SHAPE";
            case OUT_OF_MEMORY -> "SJD2_OUT_OF_MEMORY";
            case LAUNCH_FAILED -> "SJD2_LAUNCH_FAILED";
            case DEVICE_LOST -> "SJD2_DEVICE_LOST";
            case UNSUPPORTED -> "SJD2_UNSUPPORTED";
            default -> "status " + status;
        };
    }

    private String text(String function) {
        MemorySegment address;
        try {
            address = (MemorySegment) TEXT.invokeExact(symbol(function));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        return address.equals(MemorySegment.NULL)
                ? ""
                : address.reinterpret(LONGEST_TEXT).getString(0);
    }
}
