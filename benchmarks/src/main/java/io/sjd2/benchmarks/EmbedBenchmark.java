package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// Rows of the token table into the residual stream.
public class EmbedBenchmark extends OperationBenchmark {
    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor out = c.output(DType.F32, c.rows(), s.hidden);
        Tensor table = c.random(s.codes, s.hidden);
        Tensor ids = c.ints(s.codes, c.rows());
        Kernels kernels = c.backend().kernels();
        return () -> kernels.embed(out, table, ids);
    }

    @Override
    public Cost cost() {
        return Cost.of((double) rows * shape().hidden * (type().bytes() + 4), 0, type(), rows);
    }
}
