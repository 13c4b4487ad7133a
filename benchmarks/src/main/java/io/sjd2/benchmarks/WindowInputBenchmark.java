package io.sjd2.benchmarks;

import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// Drafts into the inputs of the next pass, without noise.
public class WindowInputBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor input = c.output(DType.F32, 1, c.rows(), s.hidden);
        DraftEmbeddings embeddings = new DraftEmbeddings(c.random(s.codes, s.hidden), null, null);
        WindowState window = WindowState.allocate(
                c.backend(), c.arena(), 1, c.rows(), s.grid * s.grid, s.codes, s.hidden, false, false);
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.windowInput(input, window, embeddings, state);
    }

    @Override
    public Cost cost() {
        return Cost.of((double) rows * shape().hidden * (4 + type().bytes()), 0, DType.F32, rows);
    }
}
