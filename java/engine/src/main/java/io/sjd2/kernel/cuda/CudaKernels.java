package io.sjd2.kernel.cuda;

import io.sjd2.kernel.KernelArguments;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.ffm.NativeKernels;
import io.sjd2.kernel.ffm.NativeStream;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import org.jspecify.annotations.Nullable;

/// The library's operations, with products of many rows left to cuBLAS.
///
/// For throughput where nobody compares bits: cuBLAS picks its algorithm by the row count, so a row's result depends on
/// what is computed beside it, and it computes dead rows too. `exact` decoding has no use for it.
final class CudaKernels extends NativeKernels {
    /// Up to so many rows the engine's own product streams the weights as fast as memory gives them.
    private static final long OWN_ROWS = 128;

    private final CudaProducts products;
    private final CudaDevice device;

    CudaKernels(NativeStream stream, String backend, Arena owner, CudaDevice device, CudaProducts products) {
        super(stream, backend, owner);
        this.device = device;
        this.products = products;
    }

    @Override
    public void matmul(
            Tensor out, Tensor x, Tensor w, @Nullable Tensor bias, @Nullable StateBlock state, boolean accumulate) {
        long nOut = out.dim(-1);
        long nIn = x.dim(-1);
        long rows = nOut == 0 ? 0 : out.elements() / nOut;
        // A bias would have to be in place beforehand; the few products that have one are not worth a launch more.
        if (rows <= OWN_ROWS || bias != null) {
            super.matmul(out, x, w, bias, state, accumulate);
            return;
        }
        long packed = packedElements(nOut, nIn, w.dtype());
        KernelArguments.matmul(out, x, w, null, state, packed);
        device.enter();
        products.multiply(
                out.data().address(),
                x.data().address(),
                w.data().address(),
                Math.toIntExact(rows),
                Math.toIntExact(nOut),
                Math.toIntExact(nIn),
                // Packed weights are row-major, each row filled up.
                Math.toIntExact(packed / nOut),
                w.dtype(),
                accumulate);
    }
}
