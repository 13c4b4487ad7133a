package io.sjd2.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.cuda.CudaPointers.Stream;
import io.sjd2.kernel.ffm.CublasLibrary;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.testing.GuardedTensor;
import io.sjd2.testing.Randoms;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// Products by the fake cuBLAS, through both bindings.
class CudaProductsTest {
    private static final int ROWS = 130;
    private static final int OUT = 5;
    private static final int IN = 67;
    private static final int STRIDE = 128;

    @ParameterizedTest
    @CsvSource({"12, F32, false", "12, BF16, true", "13, F32, true", "13, BF16, false"})
    void theyAreTheSumsOfProducts(int version, DType dtype, boolean accumulate) {
        try (Backend backend = EmulatedDriver.open();
                Arena arena = Arena.ofConfined()) {
            SplittableRandom random = Randoms.of("cublas " + version + dtype);
            float[] x = Randoms.normals(random, ROWS * IN, 1, dtype);
            float[] w = Randoms.normals(random, OUT * STRIDE, 1, dtype);
            float[] start = Randoms.normals(random, ROWS * OUT, 1, DType.F32);
            GuardedTensor dx = GuardedTensor.aligned("x", backend, arena, dtype, x, ROWS, IN);
            GuardedTensor dw = GuardedTensor.aligned("w", backend, arena, dtype, w, OUT, STRIDE);
            GuardedTensor out = GuardedTensor.aligned("out", backend, arena, DType.F32, start, ROWS, OUT);
            backend.synchronize();
            multiply(version, dtype, accumulate, ((CudaBackend) backend).device(), dx, dw, out);
            double[] actual = GuardedTensor.decode(DType.F32, out.content());
            for (int r = 0; r < ROWS; r++) {
                for (int n = 0; n < OUT; n++) {
                    double sum = accumulate ? start[r * OUT + n] : 0;
                    double size = Math.abs(sum);
                    for (int k = 0; k < IN; k++) {
                        double term = (double) x[r * IN + k] * w[n * STRIDE + k];
                        sum += term;
                        size += Math.abs(term);
                    }
                    // The bound of a sum in f32 in any order: one rounding per term and per addition.
                    assertThat(Math.abs(actual[r * OUT + n] - sum))
                            .as("row " + r + ", output " + n)
                            .isLessThanOrEqualTo((2 * IN + 2) * Math.ulp(1f) / 2 * size);
                }
            }
        }
    }

    private static void multiply(
            int version,
            DType dtype,
            boolean accumulate,
            CudaDevice device,
            GuardedTensor x,
            GuardedTensor w,
            GuardedTensor out) {
        Stream stream = new Stream();
        device.require(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "stream", "");
        CudaProducts.Binding binding = version == 12 ? CudaProducts.Binding.JCUBLAS : CudaProducts.Binding.FFM;
        try (CudaProducts products = CudaProducts.open(binding, device, stream)) {
            assertThat(products.description())
                    .isEqualTo("cuBLAS " + version + ".6 through " + (version == 12 ? "JCublas" : "FFM"));
            products.multiply(address(out), address(x), address(w), ROWS, OUT, IN, STRIDE, dtype, accumulate);
            device.require(JCudaDriver.cuStreamSynchronize(stream), "synchronize", "");
        }
        device.require(JCudaDriver.cuStreamDestroy(stream), "stream", "");
    }

    private static long address(GuardedTensor t) {
        Tensor tensor = t.tensor();
        return tensor.data().address();
    }

    /// Status, and what becomes of it: memory, a device or argument that does not fit, anything else.
    @ParameterizedTest
    @CsvSource({"3, -3", "8, -6", "15, -6", "16, -6", "7, -1", "1, -4", "11, -4", "13, -4", "14, -4", "99, -4"})
    void everyStatusIsTyped(int status, int code) {
        KernelException e = CublasLibrary.failure(status, "cublasGemmEx of 130 rows, n_out=5, n_in=67");
        assertThat(e.status()).isEqualTo(code);
        assertThat(e)
                .hasMessageStartingWith(
                        "cublasGemmEx of 130 rows, n_out=5, n_in=67 failed: cuBLAS status " + status + ": ");
    }

    /// Without room for the workspace nothing of the handle is left, and with room it opens.
    @ParameterizedTest
    @EnumSource(CudaProducts.Binding.class)
    void withoutMemoryNothingIsLeft(CudaProducts.Binding binding) {
        try (Backend backend = EmulatedDriver.open()) {
            EmulatedDriver.reset();
            CudaDevice device = ((CudaBackend) backend).device();
            Stream stream = new Stream();
            device.require(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "stream", "");
            long before = EmulatedDriver.liveAllocations();
            EmulatedDriver.setMemory(16L << 20);
            assertThatThrownBy(() -> CudaProducts.open(binding, device, stream))
                    .isInstanceOf(KernelException.class)
                    .hasMessageContaining("the workspace of cuBLAS needs 32.0 MiB")
                    .matches(e -> ((KernelException) e).outOfMemory());
            assertThat(EmulatedDriver.liveAllocations()).isEqualTo(before);
            EmulatedDriver.reset();
            CudaProducts.open(binding, device, stream).close();
            assertThat(EmulatedDriver.liveAllocations()).isEqualTo(before);
            device.require(JCudaDriver.cuStreamDestroy(stream), "stream", "");
        }
    }

    @Test
    void aLibraryThatIsNotThereIsNotFound() {
        assertThat(CublasLibrary.find("libcublas.so.1")).isEmpty();
    }
}
