package io.sjd2.benchmarks;

import io.sjd2.kernel.Convolution;
import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// A convolution kernel into the layout of products. Rows play no part.
public class PackConvBenchmark extends OperationBenchmark {
    @Param({"128", "512"})
    public int channels = 128;

    @Override
    Runnable prepare(Case c) {
        Kernels kernels = c.backend().kernels();
        Tensor packed = c.zeros(c.dtype(), kernels.packedConvElements(channels, channels, 9, c.dtype()));
        Tensor source = c.random(c.dtype(), 1 / Math.sqrt(9.0 * channels), channels, channels, 9);
        // The layout is each backend's own business: what it must give is the right convolution.
        Tensor out = c.output(DType.F32, 1, 1, 2, 2, channels);
        Tensor x = c.random(DType.F32, 1, 1, 1, 2, 2, channels);
        kernels.packConv(packed, source, 0, channels);
        kernels.conv(out, null, x, null, null, packed, null, Convolution.same(3));
        return () -> kernels.packConv(packed, source, 0, channels);
    }

    @Override
    public Cost cost() {
        return Cost.of(2 * 9.0 * channels * channels * type().bytes(), 0, type(), 1);
    }
}
