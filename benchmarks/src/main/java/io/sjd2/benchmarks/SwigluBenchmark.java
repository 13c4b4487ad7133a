package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// The gate of the MLP.
public class SwigluBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Tensor out = c.output(c.dtype(), 1, c.rows(), c.shape().intermediate);
        Tensor gateUp = c.random(DType.F32, 4, 1, c.rows(), 2L * c.shape().intermediate);
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.swiglu(out, gateUp, state);
    }

    /// An exponential and a division count as one operation each.
    @Override
    public Cost cost() {
        double elements = (double) rows * shape().intermediate;
        return Cost.of(elements * (8 + type().bytes()), 5 * elements, DType.F32, rows);
    }
}
