package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// The matrix products of a pass. Weights come from memory, call after call, unless the model as a whole fits a
/// cache.
public class MatmulBenchmark extends OperationBenchmark {
    /// Weights in turns: so many bytes that no cache still holds the first when the last is done.
    private static final long RING_BYTES = 400_000_000;

    @Param({"qkv", "out", "gate_up", "down", "head"})
    public String product = "qkv";

    private int turn;

    @Override
    Runnable prepare(Case c) {
        Shape s = c.shape();
        long nOut = Shape.Product.of(product).nOut(s);
        long nIn = Shape.Product.of(product).nIn(s);
        Tensor out = c.output(DType.F32, 1, c.rows(), nOut);
        Tensor x = c.random(1, c.rows(), nIn);
        Tensor[] ring = new Tensor[fitsCache() ? 1 : (int) (RING_BYTES / weightBytes()) + 1];
        ring[0] = c.packed(nOut, nIn);
        for (int i = 1; i < ring.length; i++) {
            ring[i] = c.copy(ring[0]);
        }
        StateBlock state = c.state(0);
        Kernels kernels = c.backend().kernels();
        return () -> {
            kernels.matmul(out, x, ring[turn], null, state, false);
            turn = (turn + 1) % ring.length;
        };
    }

    private boolean fitsCache() {
        return shape().layers * shape().layerWeights() * type().bytes() < RING_BYTES / 10;
    }

    private long weightBytes() {
        Shape.Product p = Shape.Product.of(product);
        return p.nOut(shape()) * p.nIn(shape()) * type().bytes();
    }

    @Override
    public Cost cost() {
        Shape.Product p = Shape.Product.of(product);
        double activations = rows * (4.0 * p.nOut(shape()) + type().bytes() * (double) p.nIn(shape()));
        double flop = 2.0 * rows * p.nOut(shape()) * p.nIn(shape());
        return new Cost(weightBytes() + activations, flop, type(), fitsCache(), rows);
    }
}
