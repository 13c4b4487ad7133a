package io.sjd2.kernel.ffm;

import io.sjd2.kernel.KernelException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/// NVIDIA's cuBLAS as far as products need it, whatever its major version: for those that JCublas cannot bind.
///
/// Symbols keep their names from CUDA 12 to 13. Immutable; safe to share between threads.
public final class CublasLibrary {
    private static final MethodHandle POINTER = Downcalls.status("P");
    private static final MethodHandle TWO_POINTERS = Downcalls.status("PP");
    private static final MethodHandle WORKSPACE = Downcalls.status("PPJ");
    private static final MethodHandle GEMM = Downcalls.status("PIIIIIPPIIPIIPPIIII");

    private final String fileName;
    private final MemorySegment create;
    private final MemorySegment destroy;
    private final MemorySegment version;
    private final MemorySegment setStream;
    private final MemorySegment setWorkspace;
    private final MemorySegment gemm;

    private CublasLibrary(String fileName, SymbolLookup lookup) {
        this.fileName = fileName;
        this.create = lookup.findOrThrow("cublasCreate_v2");
        this.destroy = lookup.findOrThrow("cublasDestroy_v2");
        this.version = lookup.findOrThrow("cublasGetVersion_v2");
        this.setStream = lookup.findOrThrow("cublasSetStream_v2");
        this.setWorkspace = lookup.findOrThrow("cublasSetWorkspace_v2");
        this.gemm = lookup.findOrThrow("cublasGemmEx");
    }

    /// Opens a library by its name, `libcublas.so.13`; empty if the system has none.
    public static Optional<CublasLibrary> find(String fileName) {
        SymbolLookup lookup;
        try {
            lookup = SymbolLookup.libraryLookup(fileName, Arena.global());
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
        return Optional.of(new CublasLibrary(fileName, lookup));
    }

    /// A handle: to be set up, used by one thread at a time, and destroyed.
    ///
    /// @throws KernelException if the library refuses
    public MemorySegment create() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            require(call(POINTER, create, out), "cublasCreate");
            return out.get(ValueLayout.ADDRESS, 0);
        }
    }

    public void destroy(MemorySegment handle) {
        require(call(POINTER, destroy, handle), "cublasDestroy");
    }

    /// `13.0.1` as 130001.
    public int version(MemorySegment handle) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_INT);
            require(call(TWO_POINTERS, version, handle, out), "cublasGetVersion");
            return out.get(ValueLayout.JAVA_INT, 0);
        }
    }

    /// Binds a handle to a stream, then to a workspace: the first forgets the second.
    public void use(MemorySegment handle, MemorySegment stream, MemorySegment workspace) {
        require(call(TWO_POINTERS, setStream, handle, stream), "cublasSetStream");
        int status;
        try {
            status = (int) WORKSPACE.invokeExact(setWorkspace, handle, workspace, workspace.byteSize());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, "cublasSetWorkspace");
    }

    /// `cublasGemmEx`, column-major, in its own order of arguments.
    public void gemm(
            MemorySegment handle,
            int transposeA,
            int transposeB,
            int m,
            int n,
            int k,
            MemorySegment alpha,
            MemorySegment a,
            int typeA,
            int lda,
            MemorySegment b,
            int typeB,
            int ldb,
            MemorySegment beta,
            MemorySegment c,
            int typeC,
            int ldc,
            int compute,
            int algorithm) {
        int status;
        try {
            status = (int) GEMM.invokeExact(
                    gemm,
                    handle,
                    transposeA,
                    transposeB,
                    m,
                    n,
                    k,
                    alpha,
                    a,
                    typeA,
                    lda,
                    b,
                    typeB,
                    ldb,
                    beta,
                    c,
                    typeC,
                    ldc,
                    compute,
                    algorithm);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, "cublasGemmEx of m=" + m + " n=" + n + " k=" + k);
    }

    private static int call(MethodHandle handle, MemorySegment symbol, MemorySegment argument) {
        try {
            return (int) handle.invokeExact(symbol, argument);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
    }

    private static int call(MethodHandle handle, MemorySegment symbol, MemorySegment first, MemorySegment second) {
        try {
            return (int) handle.invokeExact(symbol, first, second);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
    }

    private void require(int status, String operation) {
        if (status != 0) {
            throw failure(status, operation + " on " + fileName);
        }
    }

    /// A status of the library that is not success, as an exception with the status that the kernels' library would
    /// give.
    ///
    /// @param operation  with its shapes
    public static KernelException failure(int status, String operation) {
        return switch (status) { // cublasStatus_t
            // The library answers so, too, when there was no memory for its handle.
            case 1 -> failure(operation, status, "not initialized", NativeLibrary.LAUNCH_FAILED);
            case 3 -> failure(operation, status, "no memory for what it needs inside", NativeLibrary.OUT_OF_MEMORY);
            case 7 -> failure(operation, status, "an argument that it does not take", NativeLibrary.BAD_ARGUMENT);
            case 8 -> failure(operation, status, "it has no code for this device", NativeLibrary.UNSUPPORTED);
            case 11 -> failure(operation, status, "memory that it cannot reach", NativeLibrary.LAUNCH_FAILED);
            case 13 -> failure(operation, status, "the device did not execute it", NativeLibrary.LAUNCH_FAILED);
            case 14 -> failure(operation, status, "an error inside of the library", NativeLibrary.LAUNCH_FAILED);
            case 15 -> failure(operation, status, "not supported", NativeLibrary.UNSUPPORTED);
            case 16 -> failure(operation, status, "no license", NativeLibrary.UNSUPPORTED);
            default -> failure(operation, status, "unknown", NativeLibrary.LAUNCH_FAILED);
        };
    }

    private static KernelException failure(String operation, int status, String text, int code) {
        return new KernelException(operation + " failed: cuBLAS status " + status + ": " + text, code);
    }
}
