package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// The residual stream as T, where a branch begins without a norm.
public class RoundBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Tensor out = c.output(c.dtype(), 1, c.rows(), c.shape().hidden);
        Tensor x = c.random(DType.F32, 1, 1, c.rows(), c.shape().hidden);
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.round(out, x, state);
    }

    @Override
    public Cost cost() {
        return Cost.of((double) rows * shape().hidden * (4 + type().bytes()), 0, DType.F32, rows);
    }
}
