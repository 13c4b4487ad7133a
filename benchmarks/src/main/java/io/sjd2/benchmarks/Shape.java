package io.sjd2.benchmarks;

import java.util.Arrays;
import java.util.stream.Collectors;

/// Shapes of the models that results are quoted for.
public enum Shape {
    DEMO("demo", 256, 768, 6, 4, 64, 512, 16),
    JANUS_PRO_1B("janus-pro-1b", 2048, 5632, 24, 16, 128, 16_384, 24),
    LUMINA_7B("lumina-7b", 4096, 11_008, 32, 32, 128, 8_192, 48),
    /// As many layers as janus-pro-1b with next to nothing in them: what a pass takes besides its arithmetic.
    HOLLOW("janus-pro-1b-hollow", 16, 16, 24, 1, 16, 32, 24),
    /// For tests of the benchmarks themselves.
    TINY("tiny", 64, 96, 2, 2, 32, 32, 8);

    private final String label;
    public final int hidden;
    public final int intermediate;
    public final int layers;
    public final int heads;
    public final int headDim;
    public final int codes;
    public final int grid;

    Shape(String label, int hidden, int intermediate, int layers, int heads, int headDim, int codes, int grid) {
        this.label = label;
        this.hidden = hidden;
        this.intermediate = intermediate;
        this.layers = layers;
        this.heads = heads;
        this.headDim = headDim;
        this.codes = codes;
        this.grid = grid;
    }

    /// The shape of a label such as `janus-pro-1b`.
    public static Shape of(String label) {
        return Arrays.stream(values())
                .filter(shape -> shape.label.equals(label))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException("model is " + label + ", expected one of "
                        + Arrays.stream(values()).map(Shape::toString).collect(Collectors.joining(", "))));
    }

    /// Numbers in the products of one layer.
    public long layerWeights() {
        return Arrays.stream(Product.values())
                .filter(product -> product != Product.HEAD)
                .mapToLong(product -> product.nOut(this) * product.nIn(this))
                .sum();
    }

    /// Width of queries, keys and values together.
    public int qkvSize() {
        return 3 * heads * headDim;
    }

    @Override
    public String toString() {
        return label;
    }

    /// The matrix products of a pass.
    public enum Product {
        QKV,
        OUT,
        GATE_UP,
        DOWN,
        HEAD;

        /// The product of a label such as `gate_up`.
        public static Product of(String label) {
            return valueOf(label.toUpperCase(java.util.Locale.ROOT));
        }

        /// Width of the result.
        public long nOut(Shape shape) {
            return switch (this) {
                case QKV -> shape.qkvSize();
                case OUT, DOWN -> shape.hidden;
                case GATE_UP -> 2L * shape.intermediate;
                case HEAD -> shape.codes;
            };
        }

        /// Width of what is multiplied.
        public long nIn(Shape shape) {
            return switch (this) {
                case QKV, GATE_UP, HEAD -> shape.hidden;
                case OUT -> (long) shape.heads * shape.headDim;
                case DOWN -> shape.intermediate;
            };
        }
    }
}
