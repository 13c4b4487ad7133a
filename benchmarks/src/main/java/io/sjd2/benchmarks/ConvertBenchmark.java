package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// f32 to T without a state block: rows of the residual stream.
public class ConvertBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Tensor out = c.output(DType.BF16, c.rows(), c.shape().hidden);
        Tensor x = c.random(DType.F32, 1, c.rows(), c.shape().hidden);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.convert(out, x);
    }

    @Override
    public Cost cost() {
        return Cost.of(6.0 * rows * shape().hidden, 0, DType.F32, rows);
    }
}
