package io.sjd2.model;

import io.sjd2.kernel.Kernels.RopePairs;
import org.jspecify.annotations.Nullable;

/// Shape and conventions of a decoder-only transformer.
///
/// @param hiddenSize        width of the residual stream
/// @param intermediateSize  width of the gated MLP
/// @param layers            decoder blocks
/// @param heads             query heads
/// @param kvHeads           key/value heads; divides `heads`
/// @param headDim           width of a head, even
/// @param normEps           epsilon of the RMS norms
/// @param placement         where a block normalises
/// @param qkNorm            LayerNorm of q and k, or null
/// @param rope              rotary positions
/// @param vocabSize         rows of the token table
/// @param maxPositions      most positions of a sequence, prompt included
/// @param biases            which products have a bias
/// @param targetGrid        grid whose learned row and column embeddings are added for the position predicted, or null
public record TransformerConfig(
        int hiddenSize,
        int intermediateSize,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        float normEps,
        NormPlacement placement,
        @Nullable QkNormShape qkNorm,
        Rope rope,
        int vocabSize,
        int maxPositions,
        Biases biases,
        @Nullable Grid targetGrid) {

    /// Where a block normalises.
    public enum NormPlacement {
        /// `x += attn(norm(x)); x += mlp(norm(x))`.
        PRE,
        /// `x += norm(attn(x)); x += norm(mlp(x))` (Chameleon's `swin_norm`).
        POST_BRANCH
    }

    /// Epsilon of the norms of q and k. How many rows their tables have is read from the weights; row
    /// `h / (heads / rows)` serves head `h`.
    public record QkNormShape(float eps) {}

    /// Rotary positions: frequency base, how elements pair up, and, for positions in a plane, the plane.
    ///
    /// @param theta          frequency base
    /// @param pairs          how elements pair up
    /// @param conditionRows  positions before the plane; they are not rotated but zeroed. 0 without a plane
    /// @param plane          grid whose row turns the first half of the pairs and whose column the second, or null
    public record Rope(
            double theta,
            RopePairs pairs,
            int conditionRows,
            @Nullable Grid plane) {
        public Rope(double theta, RopePairs pairs) {
            this(theta, pairs, 0, null);
        }
    }

    /// Which products have a bias.
    public record Biases(boolean attention, boolean mlp) {
        public static final Biases NONE = new Biases(false, false);
    }

    /// Height and width in tokens.
    public record Grid(int height, int width) {
        public int cells() {
            return Math.multiplyExact(height, width);
        }
    }

    TransformerConfig withTargetGrid(Grid grid) {
        return new TransformerConfig(
                hiddenSize,
                intermediateSize,
                layers,
                heads,
                kvHeads,
                headDim,
                normEps,
                placement,
                qkNorm,
                rope,
                vocabSize,
                maxPositions,
                biases,
                grid);
    }

    /// Width of the fused q, k, v projection.
    public int qkvSize() {
        return (heads + 2 * kvHeads) * headDim;
    }

    /// Width of the attention output before its projection.
    public int attentionSize() {
        return heads * headDim;
    }

    /// Weights of the blocks and the final norm, without tables, heads and the few of the norms of q and k.
    public long blockParameters() {
        long perLayer = (long) qkvSize() * hiddenSize
                + (long) hiddenSize * attentionSize()
                + 3L * intermediateSize * hiddenSize
                + 2L * hiddenSize;
        if (biases.attention()) {
            perLayer += qkvSize() + hiddenSize;
        }
        if (biases.mlp()) {
            perLayer += 2L * intermediateSize + hiddenSize;
        }
        return layers * perLayer + hiddenSize;
    }

    /// Bytes that one cached position of one sequence takes, for elements of `elementBytes`.
    public long kvBytesPerToken(int elementBytes) {
        return 2L * layers * kvHeads * headDim * elementBytes;
    }

    /// Floating-point operations of one row of the blocks, attention over `kvLen` entries included.
    public double blockFlopPerRow(long kvLen) {
        double products = 2.0
                * layers
                * ((double) qkvSize() * hiddenSize
                        + (double) hiddenSize * attentionSize()
                        + 3.0 * intermediateSize * hiddenSize);
        return products + 4.0 * layers * kvLen * attentionSize();
    }
}
