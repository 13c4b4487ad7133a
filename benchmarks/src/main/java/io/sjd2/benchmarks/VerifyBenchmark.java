package io.sjd2.benchmarks;

import io.sjd2.kernel.DecoderKind;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// The test of the drafts and the redraw of the rest, over one fixed set of distributions.
///
/// Every call starts at the same place of the picture; which drafts it meets, the call before left.
public class VerifyBenchmark extends OperationBenchmark {
    @Param({"INDEPENDENT", "MAXIMAL", "EXACT"})
    public DecoderKind decoder = DecoderKind.MAXIMAL;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        WindowState window = WindowState.allocate(
                c.backend(), c.arena(), 1, c.rows(), s.grid * s.grid, s.codes, s.hidden, false, false);
        Tensor input = c.zeros(DType.F32, 1, c.rows(), s.hidden);
        DraftEmbeddings embeddings = new DraftEmbeddings(c.random(s.codes, s.hidden), null, null);
        Tensor logits = c.random(DType.F32, 8, 1, c.rows(), s.codes);
        StateBlock state = c.state(0);
        state.set(0, ImageField.DECODER, decoder.ordinal());
        state.push();
        c.compared(window.tokens());
        Kernels kernels = c.backend().kernels();
        kernels.windowInput(input, window, embeddings, state);
        // Both halves, so that whichever serves as the drafts' rows holds distributions.
        for (int iteration = 0; iteration < 2; iteration++) {
            state.set(0, ImageField.ITERATION, iteration);
            state.push();
            kernels.targetProbs(window, logits, state);
        }
        return () -> {
            restart(state);
            kernels.verify(window, state);
        };
    }

    private void restart(StateBlock state) {
        state.set(0, ImageField.COMMITTED, 0);
        state.set(0, ImageField.ITERATION, 1);
        state.set(0, SequenceField.KV_LEN, 0);
        state.set(0, SequenceField.POSITION, 0);
        state.set(0, SequenceField.ROWS, Math.min(rows, shape().grid * shape().grid));
        state.push();
    }

    @Override
    int checkedRows() {
        return rows;
    }

    @Override
    public Cost cost() {
        // At the least, which is what is met here: drafts that pass cost a number of each row, and their slots.
        return Cost.of(52.0 * rows, 4.0 * rows, DType.F32, rows);
    }
}
