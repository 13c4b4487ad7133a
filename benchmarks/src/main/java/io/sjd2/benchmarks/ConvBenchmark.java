package io.sjd2.benchmarks;

import io.sjd2.kernel.Convolution;
import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// A three by three convolution of a picture of `rows` lines, 64 pixels each, normalised and activated.
public class ConvBenchmark extends OperationBenchmark {
    private static final int WIDTH = 64;

    @Param({"128", "256"})
    public int channels = 128;

    @Override
    Runnable prepare(Case c) {
        Tensor out = c.output(DType.F32, 1, 1, c.rows(), WIDTH, channels);
        Tensor x = c.random(DType.F32, 1, 1, 1, c.rows(), WIDTH, channels);
        Kernels kernels = c.backend().kernels();
        Tensor packed = c.zeros(c.dtype(), kernels.packedConvElements(channels, channels, 9, c.dtype()));
        kernels.packConv(
                packed, c.random(c.dtype(), 1 / Math.sqrt(9.0 * channels), channels, channels, 9), 0, channels);
        Tensor bias = c.random(DType.F32, 1, channels);
        Convolution convolution = Convolution.same(3).activated();
        return () -> kernels.conv(out, null, x, null, null, packed, bias, convolution);
    }

    /// The last line sees what lies below it.
    @Override
    int checkedRows() {
        return rows;
    }

    @Override
    public Cost cost() {
        double pixels = (double) rows * WIDTH;
        double bytes = 8 * pixels * channels + 9.0 * channels * channels * type().bytes();
        return Cost.of(bytes, 2 * 9 * pixels * channels * channels, type(), rows);
    }
}
