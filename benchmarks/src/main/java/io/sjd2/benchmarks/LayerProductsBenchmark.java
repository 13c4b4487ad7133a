package io.sjd2.benchmarks;

import io.sjd2.benchmarks.Shape.Product;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.util.List;

/// The four matrix products of a layer one after another: queries, keys and values in one, the output, gate and up in
/// one, and down. Layers take turns, so that a large model's weights come from memory.
public class LayerProductsBenchmark extends OperationBenchmark {
    /// In the order of a layer. Tensor `1 + i` of {@link Numbers} is what product `i` multiplies, between -1 and 1,
    /// tensor `1 + PRODUCTS.size() + i` its weights, times {@link #weightScale}.
    public static final List<Product> PRODUCTS = List.of(Product.QKV, Product.OUT, Product.GATE_UP, Product.DOWN);

    /// Layers in turns: all, or so many bytes that no cache still holds the first when the last is done.
    private static final double RING_BYTES = 400e6;

    private int turn;

    /// Layers that take turns.
    public static int ring(Shape shape, DType dtype) {
        return Math.min(shape.layers, (int) (RING_BYTES / (shape.layerWeights() * dtype.bytes())) + 1);
    }

    /// Keeps results near 1.
    public static double weightScale(Shape shape, Product product) {
        return 1 / Math.sqrt(product.nIn(shape));
    }

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        Tensor[] in = new Tensor[PRODUCTS.size()];
        Tensor[] out = new Tensor[PRODUCTS.size()];
        Tensor[][] weights = new Tensor[ring(s, c.dtype())][PRODUCTS.size()];
        for (int i = 0; i < in.length; i++) {
            Product product = PRODUCTS.get(i);
            in[i] = c.random(1, c.rows(), product.nIn(s));
            out[i] = c.output(DType.F32, 1, c.rows(), product.nOut(s));
        }
        for (int i = 0; i < in.length; i++) {
            Product product = PRODUCTS.get(i);
            weights[0][i] = c.packed(product.nOut(s), product.nIn(s));
        }
        for (int layer = 1; layer < weights.length; layer++) {
            for (int i = 0; i < in.length; i++) {
                weights[layer][i] = c.copy(weights[0][i]);
            }
        }
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> {
            Tensor[] layer = weights[turn];
            for (int i = 0; i < layer.length; i++) {
                kernels.matmul(out[i], in[i], layer[i], null, state, false);
            }
            turn = (turn + 1) % weights.length;
        };
    }

    @Override
    public Cost cost() {
        Shape s = shape();
        double activations = 0;
        for (Product product : PRODUCTS) {
            activations += rows * (4.0 * product.nOut(s) + type().bytes() * (double) product.nIn(s));
        }
        double bytes = s.layerWeights() * (double) type().bytes();
        boolean cached = Cost.fitsCache(ring(s, type()) * bytes);
        return new Cost(bytes + activations, 2.0 * rows * s.layerWeights(), type(), cached, rows);
    }
}
