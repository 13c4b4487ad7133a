package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// Attention of the window over the cache. The cache comes from memory, call after call, as it does when a model's
/// layers take turns.
public class AttentionBenchmark extends OperationBenchmark {
    /// Cached positions: a third of a small picture, and a large one.
    @Param({"400", "2400"})
    public int kvLen = 400;

    /// Caches in turns: those of the layers, or so many that nothing still holds the first when the last is done.
    private static final double RING_BYTES = 400e6;

    private int turn;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor out = c.output(c.dtype(), 1, c.rows(), s.heads, s.headDim);
        Tensor q = c.random(1, c.rows(), s.heads, s.headDim);
        Tensor[] keys = new Tensor[ring()];
        Tensor[] values = new Tensor[keys.length];
        keys[0] = c.random(1, kvLen + c.rows(), s.heads, s.headDim);
        values[0] = c.random(1, kvLen + c.rows(), s.heads, s.headDim);
        for (int i = 1; i < keys.length; i++) {
            keys[i] = c.copy(keys[0]);
            values[i] = c.copy(values[0]);
        }
        StateBlock state = c.state(kvLen);
        float scale = (float) (1 / Math.sqrt(s.headDim));
        Kernels kernels = c.backend().kernels();
        return () -> {
            kernels.attention(out, q, keys[turn], values[turn], state, scale);
            turn = (turn + 1) % keys.length;
        };
    }

    private int ring() {
        return Math.min(shape().layers, (int) (RING_BYTES / cacheBytes()) + 1);
    }

    private double cacheBytes() {
        return 2.0 * (kvLen + rows) * shape().heads * shape().headDim * type().bytes();
    }

    @Override
    public Cost cost() {
        double width = (double) shape().heads * shape().headDim;
        double flop = 4 * rows * width * (kvLen + (rows + 1) / 2.0);
        boolean cached = Cost.fitsCache(ring() * cacheBytes());
        return new Cost(cacheBytes(), flop, type(), cached, rows);
    }
}
