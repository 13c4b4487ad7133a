package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// The norm in front of a branch, from the residual stream to T.
public class RmsNormBenchmark extends OperationBenchmark {
    private static final float EPS = 1e-5f;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor out = c.output(c.dtype(), 1, c.rows(), s.hidden);
        Tensor x = c.random(DType.F32, 1, 1, c.rows(), s.hidden);
        Tensor weight = c.random(DType.F32, 1, s.hidden);
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.rmsNorm(out, x, weight, state, EPS);
    }

    @Override
    public Cost cost() {
        double elements = (double) rows * shape().hidden;
        return Cost.of(elements * (4 + type().bytes()) + 4.0 * shape().hidden, 4 * elements, DType.F32, rows);
    }
}
