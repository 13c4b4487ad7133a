package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// The activation of an image head.
public class GeluBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Tensor out = c.output(c.dtype(), 1, c.rows(), c.shape().hidden);
        Tensor x = c.random(DType.F32, 4, 1, c.rows(), c.shape().hidden);
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.gelu(out, x, state, false);
    }

    /// An error function counts as one operation.
    @Override
    public Cost cost() {
        double elements = (double) rows * shape().hidden;
        return Cost.of(elements * (4 + type().bytes()), 4 * elements, DType.F32, rows);
    }
}
