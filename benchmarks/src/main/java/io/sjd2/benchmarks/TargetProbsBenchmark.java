package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// Logits to the distributions that drafts are tested against.
public class TargetProbsBenchmark extends OperationBenchmark {
    @Param({"0", "100"})
    public int topK;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        WindowState window = WindowState.allocate(
                c.backend(), c.arena(), 1, c.rows(), s.grid * s.grid, s.codes, s.hidden, false, false);
        c.compared(window.probs());
        Tensor logits = c.random(DType.F32, 8, 1, c.rows(), s.codes);
        StateBlock state = c.state(0);
        state.set(0, ImageField.TOP_K, topK);
        state.push();
        Kernels kernels = c.backend().kernels();
        return () -> kernels.targetProbs(window, logits, state);
    }

    /// Both halves of the probabilities lie behind all rows.
    @Override
    int checkedRows() {
        return rows;
    }

    @Override
    public Cost cost() {
        double elements = (double) rows * shape().codes;
        return Cost.of(8 * elements, 4 * elements, DType.F32, rows);
    }
}
