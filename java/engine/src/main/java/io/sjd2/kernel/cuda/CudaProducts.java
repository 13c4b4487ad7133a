package io.sjd2.kernel.cuda;

import static jcuda.jcublas.JCublas2.cublasCreate;
import static jcuda.jcublas.JCublas2.cublasDestroy;
import static jcuda.jcublas.JCublas2.cublasGemmEx_new;
import static jcuda.jcublas.JCublas2.cublasGetVersion;
import static jcuda.jcublas.JCublas2.cublasSetStream;
import static jcuda.jcublas.JCublas2.cublasSetWorkspace;

import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.cuda.CudaPointers.DevicePointer;
import io.sjd2.kernel.cuda.CudaPointers.Stream;
import io.sjd2.kernel.ffm.CublasLibrary;
import io.sjd2.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.util.Optional;
import jcuda.LogLevel;
import jcuda.Pointer;
import jcuda.cudaDataType;
import jcuda.jcublas.JCublas2;
import jcuda.jcublas.cublasComputeType;
import jcuda.jcublas.cublasGemmAlgo;
import jcuda.jcublas.cublasHandle;
import jcuda.jcublas.cublasOperation;
import jcuda.jcublas.cublasStatus;
import jcuda.runtime.cudaStream_t;

/// Matrix products by NVIDIA's library on one stream: through JCublas where CUDA 12's cuBLAS loads, through FFM where
/// CUDA 13's does, which JCuda has no release for.
///
/// One handle with a workspace of its own, set before anything is captured: the library would allocate one for every
/// captured product. Confined to the backend's thread.
abstract sealed class CudaProducts implements AutoCloseable {
    /// What NVIDIA recommends for Hopper; older devices ask for less.
    private static final long WORKSPACE_BYTES = 32L << 20;

    /// Why {@link #find} finds nothing.
    static final String MISSING = "neither libcublas.so.12, with JCublas, nor libcublas.so.13 can be loaded";

    private static final String CUDA_12 = "libcublas.so.12";
    private static final String CUDA_13 = "libcublas.so.13";

    private final Arena owner;

    /// @param owner  of the workspace; closed with the handle
    private CudaProducts(Arena owner) {
        this.owner = owner;
    }

    /// Which library there is, and so which way to it.
    enum Binding {
        JCUBLAS("CUDA 12's cuBLAS through JCublas"),
        FFM("CUDA 13's cuBLAS through FFM");

        private final String label;

        Binding(String label) {
            this.label = label;
        }

        String label() {
            return label;
        }
    }

    /// `out[r,n] = (accumulate ? out[r,n] : 0) + sum_k x[r,k] w[n,k]` in f32.
    ///
    /// @param w        rows of `wStride` elements, of which the first `nIn` count
    /// @param dtype    of `x` and `w`: f32 or bf16
    abstract void multiply(
            long out, long x, long w, int rows, int nOut, int nIn, int wStride, DType dtype, boolean accumulate);

    /// For the log: library, version, binding.
    abstract String description();

    abstract void destroy();

    @Override
    public final void close() {
        try {
            destroy();
        } finally {
            owner.close();
        }
    }

    /// The binding that fits the library that is here; loads the library and nothing of JCublas.
    static Optional<Binding> find() {
        if (hasJCublas() && loads(CUDA_12)) {
            return Optional.of(Binding.JCUBLAS);
        }
        return CublasLibrary.find(CUDA_13).map(library -> Binding.FFM);
    }

    /// An embedder may leave it out; CUDA 13's library does without.
    private static boolean hasJCublas() {
        return CudaProducts.class.getResource("/jcuda/jcublas/JCublas2.class") != null;
    }

    /// A handle for the stream, which outlives it.
    ///
    /// @throws KernelException if the library, or JCublas, refuses, or there is no memory; nothing is left then
    static CudaProducts open(Binding binding, CudaDevice device, Stream stream) {
        Arena owner = Arena.ofShared();
        try {
            return switch (binding) {
                case JCUBLAS -> new ThroughJCublas(device, stream, owner);
                case FFM ->
                    new ThroughFfm(
                            device,
                            stream,
                            owner,
                            CublasLibrary.find(CUDA_13).orElseThrow(() -> new KernelException(MISSING, 0)));
            };
        } catch (RuntimeException | Error e) {
            owner.close();
            throw e;
        }
    }

    private static boolean loads(String name) {
        try {
            SymbolLookup.libraryLookup(name, Arena.global());
            return true;
        } catch (IllegalArgumentException e) {
            return false;
        }
    }

    private static int typeOf(DType dtype) {
        return dtype == DType.F32 ? cudaDataType.CUDA_R_32F : cudaDataType.CUDA_R_16BF;
    }

    private static String versionText(int version) {
        return version / 10000 + "." + version / 100 % 100;
    }

    /// CUDA 12's.
    private static final class ThroughJCublas extends CudaProducts {
        private final cublasHandle handle = new cublasHandle();
        private final Pointer one = Pointer.to(new float[] {1});
        private final Pointer zero = Pointer.to(new float[] {0});
        private final int version;

        ThroughJCublas(CudaDevice device, Stream stream, Arena owner) {
            super(owner);
            CudaDriver.withPrivateFolder(() -> {
                JCublas2.setLogLevel(LogLevel.LOG_QUIET);
                JCublas2.setExceptionsEnabled(false);
            });
            MemorySegment workspace = device.allocate(owner, WORKSPACE_BYTES, "the workspace of cuBLAS");
            require(cublasCreate(handle), "cublasCreate");
            int[] out = new int[1];
            try {
                require(cublasSetStream(handle, new cudaStream_t(stream)), "cublasSetStream");
                require(
                        cublasSetWorkspace(handle, new DevicePointer(workspace.address()), WORKSPACE_BYTES),
                        "cublasSetWorkspace");
                require(cublasGetVersion(handle, out), "cublasGetVersion");
            } catch (KernelException e) {
                cublasDestroy(handle);
                throw e;
            }
            this.version = out[0];
        }

        @Override
        void multiply(
                long out, long x, long w, int rows, int nOut, int nIn, int wStride, DType dtype, boolean accumulate) {
            require(
                    cublasGemmEx_new(
                            handle,
                            cublasOperation.CUBLAS_OP_T,
                            cublasOperation.CUBLAS_OP_N,
                            nOut,
                            rows,
                            nIn,
                            one,
                            new DevicePointer(w),
                            typeOf(dtype),
                            wStride,
                            new DevicePointer(x),
                            typeOf(dtype),
                            nIn,
                            accumulate ? one : zero,
                            new DevicePointer(out),
                            cudaDataType.CUDA_R_32F,
                            nOut,
                            cublasComputeType.CUBLAS_COMPUTE_32F,
                            cublasGemmAlgo.CUBLAS_GEMM_DEFAULT),
                    "cublasGemmEx of " + rows + " rows, n_out=" + nOut + ", n_in=" + nIn);
        }

        @Override
        String description() {
            return "cuBLAS " + versionText(version) + " through JCublas";
        }

        private static void require(int status, String operation) {
            if (status != cublasStatus.CUBLAS_STATUS_SUCCESS) {
                throw CublasLibrary.failure(status, operation);
            }
        }

        @Override
        void destroy() {
            require(cublasDestroy(handle), "cublasDestroy");
        }
    }

    /// CUDA 13's.
    private static final class ThroughFfm extends CudaProducts {
        private final CublasLibrary library;
        private final MemorySegment handle;
        private final MemorySegment one;
        private final MemorySegment zero;

        ThroughFfm(CudaDevice device, Stream stream, Arena owner, CublasLibrary library) {
            super(owner);
            this.library = library;
            this.one = owner.allocateFrom(ValueLayout.JAVA_FLOAT, 1);
            this.zero = owner.allocateFrom(ValueLayout.JAVA_FLOAT, 0);
            MemorySegment workspace = device.allocate(owner, WORKSPACE_BYTES, "the workspace of cuBLAS");
            this.handle = library.create();
            try {
                library.use(handle, MemorySegment.ofAddress(stream.address()), workspace);
            } catch (KernelException e) {
                library.destroy(handle);
                throw e;
            }
        }

        @Override
        void multiply(
                long out, long x, long w, int rows, int nOut, int nIn, int wStride, DType dtype, boolean accumulate) {
            library.gemm(
                    handle,
                    cublasOperation.CUBLAS_OP_T,
                    cublasOperation.CUBLAS_OP_N,
                    nOut,
                    rows,
                    nIn,
                    one,
                    MemorySegment.ofAddress(w),
                    typeOf(dtype),
                    wStride,
                    MemorySegment.ofAddress(x),
                    typeOf(dtype),
                    nIn,
                    accumulate ? one : zero,
                    MemorySegment.ofAddress(out),
                    cudaDataType.CUDA_R_32F,
                    nOut,
                    cublasComputeType.CUBLAS_COMPUTE_32F,
                    cublasGemmAlgo.CUBLAS_GEMM_DEFAULT);
        }

        @Override
        String description() {
            return "cuBLAS " + versionText(library.version(handle)) + " through FFM";
        }

        @Override
        void destroy() {
            library.destroy(handle);
        }
    }
}
