package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// The window's input handed to its sequence, with the embedding of the predicted cell.
public class SequenceInputBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor x = c.output(DType.F32, 1, c.rows(), s.hidden);
        Tensor input = c.random(DType.F32, 1, 1, c.rows(), s.hidden);
        Tensor lastPrompt = c.random(DType.F32, 1, 1, s.hidden);
        Tensor rowEmbed = c.random(DType.F32, 1, s.grid, s.hidden);
        Tensor columnEmbed = c.random(DType.F32, 1, s.grid, s.hidden);
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.sequenceInput(x, input, lastPrompt, rowEmbed, columnEmbed, state);
    }

    @Override
    public Cost cost() {
        return Cost.of(4.0 * 4 * rows * shape().hidden, 2.0 * rows * shape().hidden, DType.F32, rows);
    }
}
