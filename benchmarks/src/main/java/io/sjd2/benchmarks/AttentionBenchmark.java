package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// Attention of the window over the cache.
public class AttentionBenchmark extends OperationBenchmark {
    /// Cached positions: a third of a small picture, and a large one.
    @Param({"400", "2400"})
    public int kvLen = 400;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor out = c.output(c.dtype(), 1, c.rows(), s.heads, s.headDim);
        Tensor q = c.random(1, c.rows(), s.heads, s.headDim);
        Tensor keys = c.random(1, kvLen + c.rows(), s.heads, s.headDim);
        Tensor values = c.random(1, kvLen + c.rows(), s.heads, s.headDim);
        StateBlock state = c.state(kvLen);
        float scale = (float) (1 / Math.sqrt(s.headDim));
        Kernels kernels = c.backend().kernels();
        return () -> kernels.attention(out, q, keys, values, state, scale);
    }

    @Override
    public Cost cost() {
        double width = (double) shape().heads * shape().headDim;
        double bytes = 2 * (kvLen + rows) * width * type().bytes();
        return Cost.of(bytes, 4 * rows * width * (kvLen + (rows + 1) / 2.0), type(), rows);
    }
}
