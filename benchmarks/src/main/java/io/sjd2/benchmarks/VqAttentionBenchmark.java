package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// The one head of an image tokeniser over a square of 24 by 24 positions. Rows play no part.
public class VqAttentionBenchmark extends OperationBenchmark {
    private static final int POSITIONS = 24 * 24;

    @Param("512")
    public int channels = 512;

    @Override
    Runnable prepare(Case c) {
        Tensor out = c.output(DType.F32, 1, POSITIONS, channels);
        Tensor qkv = c.random(DType.F32, 1, 1, POSITIONS, 3L * channels);
        float scale = (float) (1 / Math.sqrt(channels));
        Kernels kernels = c.backend().kernels();
        return () -> kernels.vqAttention(out, qkv, c.dtype(), scale);
    }

    @Override
    public Cost cost() {
        return Cost.of(4.0 * 4 * POSITIONS * channels, 4.0 * POSITIONS * POSITIONS * channels, type(), POSITIONS);
    }
}
