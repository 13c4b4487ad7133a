package io.sjd2.kernel.cuda;

import io.sjd2.kernel.KernelArguments;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.ffm.NativeKernels;
import io.sjd2.kernel.ffm.NativeStream;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// The library's operations, with some products of many rows left to cuBLAS: those of long prompts, or all of them.
///
/// cuBLAS picks its algorithm by the row count, so a row's result depends on what is computed beside it. A prompt's
/// rows are handed over sequence by sequence, so that nothing but the sequence's own prompt decides; where all
/// products go there, neighbours and dead rows show. `docs/adr/0010`.
final class CudaKernels extends NativeKernels {
    /// Up to so many rows the engine's own product streams the weights as fast as memory gives them.
    private static final long OWN_ROWS = 128;

    private final Supplier<CudaProducts> products;
    private final CudaDevice device;
    private final boolean all;

    /// @param products  asked for when the first product needs it
    /// @param all       whether windows' products go there, too
    CudaKernels(
            NativeStream stream,
            String backend,
            Arena owner,
            CudaDevice device,
            Supplier<CudaProducts> products,
            boolean all) {
        super(stream, backend, owner);
        this.device = device;
        this.products = products;
        this.all = all;
    }

    @Override
    public void matmul(
            Tensor out, Tensor x, Tensor w, @Nullable Tensor bias, @Nullable StateBlock state, boolean accumulate) {
        long nOut = out.dim(-1);
        long rows = nOut == 0 ? 0 : out.elements() / nOut;
        // A bias would have to be in place beforehand; the few products that have one are not worth a launch more.
        if (rows <= OWN_ROWS || bias != null) {
            super.matmul(out, x, w, bias, state, accumulate);
        } else if (all) {
            multiply(out, x, w, state, rows, accumulate);
        } else if (state != null && state.prompts() && anyLong(state)) {
            for (int sequence = 0; sequence < state.batch(); sequence++) {
                long live = state.get(sequence, SequenceField.ROWS);
                Tensor outRows = liveRows(out, sequence, live);
                Tensor xRows = liveRows(x, sequence, live);
                if (live > OWN_ROWS) {
                    multiply(outRows, xRows, w, null, live, accumulate);
                } else if (live > 0) {
                    super.matmul(outRows, xRows, w, null, null, accumulate);
                }
            }
        } else {
            super.matmul(out, x, w, null, state, accumulate);
        }
    }

    private static boolean anyLong(StateBlock state) {
        for (int sequence = 0; sequence < state.batch(); sequence++) {
            if (state.get(sequence, SequenceField.ROWS) > OWN_ROWS) {
                return true;
            }
        }
        return false;
    }

    /// `[1, live, width]` of `[batch, window, width]`.
    private static Tensor liveRows(Tensor t, int sequence, long live) {
        long width = t.dim(-1);
        return t.rows(sequence, 1).view(t.dim(1), width).rows(0, live).view(1, live, width);
    }

    private void multiply(Tensor out, Tensor x, Tensor w, @Nullable StateBlock state, long rows, boolean accumulate) {
        long nOut = out.dim(-1);
        long nIn = x.dim(-1);
        long packed = packedElements(nOut, nIn, w.dtype());
        KernelArguments.matmul(out, x, w, null, state, packed);
        device.enter();
        products.get()
                .multiply(
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
