package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// The norm behind a branch, added to the residual stream. The sum grows from call to call, which costs nothing.
public class RmsNormAddBenchmark extends OperationBenchmark {
    private static final float EPS = 1e-5f;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor x = c.compared(c.random(DType.F32, 1, 1, c.rows(), s.hidden));
        Tensor delta = c.random(DType.F32, 1, 1, c.rows(), s.hidden);
        Tensor weight = c.random(DType.F32, 1, s.hidden);
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.rmsNormAdd(x, delta, weight, state, EPS);
    }

    @Override
    public Cost cost() {
        double elements = (double) rows * shape().hidden;
        return Cost.of(12 * elements + 4.0 * shape().hidden, 5 * elements, DType.F32, rows);
    }
}
