package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// A matrix into the layout of products, which is what loading a model does. Rows play no part.
public class PackWeightsBenchmark extends OperationBenchmark {
    @Param({"out", "down"})
    public String product = "out";

    @Override
    Runnable prepare(Case c) {
        long nOut = Shape.Product.of(product).nOut(c.shape());
        long nIn = Shape.Product.of(product).nIn(c.shape());
        Kernels kernels = c.backend().kernels();
        Tensor packed = c.zeros(c.dtype(), kernels.packedElements(nOut, nIn, c.dtype()));
        Tensor source = c.random(nOut, nIn);
        // The layout is each backend's own business: what it must give is the right product.
        Tensor out = c.output(DType.F32, 1, 1, nOut);
        Tensor x = c.random(1, 1, nIn);
        kernels.packWeights(packed, source, 0, nOut);
        kernels.matmul(out, x, packed, null, null, false);
        return () -> kernels.packWeights(packed, source, 0, nOut);
    }

    @Override
    public Cost cost() {
        Shape.Product p = Shape.Product.of(product);
        return Cost.of(2.0 * p.nOut(shape()) * p.nIn(shape()) * type().bytes(), 0, type(), 1);
    }
}
