package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;

/// The fused projection split, rotated and appended to the cache.
public class RopeAppendBenchmark extends OperationBenchmark {
    private static final int CACHED = 400;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor q = c.output(c.dtype(), 1, c.rows(), s.heads, s.headDim);
        Tensor keys = c.output(c.dtype(), 1, CACHED + c.rows(), s.heads, s.headDim);
        Tensor values = c.output(c.dtype(), 1, CACHED + c.rows(), s.heads, s.headDim);
        Tensor qkv = c.random(DType.F32, 1, 1, c.rows(), s.qkvSize());
        Tensor rope = c.random(DType.F32, 1, CACHED + c.rows(), s.headDim / 2, 2);
        StateBlock state = c.state(CACHED);
        Kernels kernels = c.backend().kernels();
        return () -> kernels.ropeAppend(q, keys, values, qkv, null, rope, state, Kernels.RopePairs.HALF_SPLIT);
    }

    @Override
    public Cost cost() {
        double elements = (double) rows * shape().qkvSize();
        return Cost.of(elements * (4 + type().bytes()), 2 * elements, DType.F32, rows);
    }
}
