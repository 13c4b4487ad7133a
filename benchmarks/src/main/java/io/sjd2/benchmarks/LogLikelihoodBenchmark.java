package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// Log-probabilities of given codes.
public class LogLikelihoodBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Tensor out = c.output(DType.F32, c.rows());
        Tensor logits = c.random(DType.F32, 8, c.rows(), c.shape().codes);
        Tensor targets = c.ints(c.shape().codes, c.rows());
        Kernels kernels = c.backend().kernels();
        return () -> kernels.logLikelihood(out, logits, targets);
    }

    @Override
    public Cost cost() {
        double elements = (double) rows * shape().codes;
        return Cost.of(4 * elements, 3 * elements, DType.F32, rows);
    }
}
