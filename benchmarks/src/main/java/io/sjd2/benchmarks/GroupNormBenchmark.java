package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// Factors and offsets of a group norm from the moments of channels: `rows` pictures.
public class GroupNormBenchmark extends OperationBenchmark {
    private static final int GROUPS = 32;

    @Param("512")
    public int channels = 512;

    @Override
    Runnable prepare(Case c) {
        Tensor norm = c.output(DType.F32, c.rows(), 3, channels);
        Tensor moments = c.random(DType.F32, 1e-3, c.rows(), 2, channels);
        Tensor weight = c.random(DType.F32, 1, channels);
        Tensor bias = c.random(DType.F32, 1, channels);
        Kernels kernels = c.backend().kernels();
        // An epsilon beyond the moments keeps made-up variances positive.
        return () -> kernels.groupNorm(norm, moments, weight, bias, GROUPS, 1e-2f);
    }

    @Override
    public Cost cost() {
        return Cost.of(4.0 * 5 * rows * channels, 6.0 * rows * channels, DType.F32, rows);
    }
}
