package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.LayerProductsBenchmark;
import io.sjd2.benchmarks.Numbers;
import io.sjd2.benchmarks.Shape;
import io.sjd2.benchmarks.Shape.Product;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// The numbers of {@link LayerProductsBenchmark}: what is multiplied, the weights of as many layers, and results to
/// hold a peer against, computed one by one in f64.
final class PeerProducts implements AutoCloseable {
    /// Results of each product that are looked at: a prime apart, so that every part of a row comes up.
    private static final int CHECKED = 997;

    private static final long STRIDE = 7919;

    /// Of the norm: sums in f32 in whatever order; in bf16 the result is rounded, too.
    private static final double F32_ERROR = 1e-5;

    private static final double BF16_ERROR = 6e-3;

    private final Arena arena = Arena.ofShared();
    private final Shape shape;
    private final DType dtype;
    private final int rows;
    private final List<Product> products = LayerProductsBenchmark.PRODUCTS;
    private final List<MemorySegment> inputs = new ArrayList<>();
    private final List<List<MemorySegment>> layers = new ArrayList<>();

    PeerProducts(Shape shape, DType dtype, int rows) {
        this.shape = shape;
        this.dtype = dtype;
        this.rows = rows;
        List<MemorySegment> first = new ArrayList<>();
        for (int i = 0; i < products.size(); i++) {
            Product product = products.get(i);
            inputs.add(filled(1 + i, 1, rows * product.nIn(shape)));
            first.add(filled(
                    1 + products.size() + i,
                    LayerProductsBenchmark.weightScale(shape, product),
                    product.nOut(shape) * product.nIn(shape)));
        }
        layers.add(first);
        while (layers.size() < LayerProductsBenchmark.ring(shape, dtype)) {
            layers.add(first.stream()
                    .map(weights -> arena.allocate(weights.byteSize(), 64).copyFrom(weights))
                    .toList());
        }
    }

    private MemorySegment filled(int tensor, double scale, long elements) {
        MemorySegment segment = arena.allocate(elements * dtype.bytes(), 64);
        Numbers.fill(segment, dtype, tensor, scale, elements);
        return segment;
    }

    List<Product> products() {
        return products;
    }

    /// `[rows, n_in]` of product `i`.
    MemorySegment input(int i) {
        return inputs.get(i);
    }

    /// Layers that take turns.
    int ring() {
        return layers.size();
    }

    /// `[n_out, n_in]` of product `i` of a layer.
    MemorySegment weights(int layer, int i) {
        return layers.get(layer).get(i);
    }

    /// Holds a peer's result of product `i` against sums in f64.
    ///
    /// @param got  `[rows, n_out]`
    /// @throws IllegalStateException if they differ by more than rounding
    void check(String peer, int i, float[] got) {
        Product product = products.get(i);
        long nOut = product.nOut(shape);
        long nIn = product.nIn(shape);
        if (got.length != rows * nOut) {
            throw new IllegalStateException(
                    peer + ", " + product + ": " + got.length + " results, expected " + rows + " x " + nOut);
        }
        Tensor x = Tensor.of(input(i), dtype, rows * nIn);
        Tensor w = Tensor.of(weights(0, i), dtype, nOut * nIn);
        double error = 0;
        double norm = 0;
        for (long n = 0; n < CHECKED; n++) {
            long at = n * STRIDE % got.length;
            double want = 0;
            for (long k = 0; k < nIn; k++) {
                want += (double) x.getFloat(at / nOut * nIn + k) * w.getFloat(at % nOut * nIn + k);
            }
            error += (got[(int) at] - want) * (got[(int) at] - want);
            norm += want * want;
        }
        double allowed = dtype == DType.F32 ? F32_ERROR : BF16_ERROR;
        // Written so that NaN fails.
        if (!(Math.sqrt(error) <= allowed * Math.sqrt(norm)) || norm == 0) {
            throw new IllegalStateException(peer + ", " + product + ", " + shape + ", " + dtype + ", " + rows
                    + " rows: differs from sums in f64 by " + Math.sqrt(error / norm) + " of their norm, expected at"
                    + " most " + allowed + "; a wrong result is not worth timing");
        }
    }

    @Override
    public void close() {
        arena.close();
    }
}
