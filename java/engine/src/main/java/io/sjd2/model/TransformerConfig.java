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
        @Nullable Grid targetGrid) {

    /// Where a block normalises.
    public enum NormPlacement {
        /// `x += attn(norm(x)); x += mlp(norm(x))`.
        PRE,
        /// `x += norm(attn(x)); x += norm(mlp(x))` (Chameleon's `swin_norm`).
        POST_BRANCH
    }

    /// Rows of the q and k norm tables and the epsilon; row `h / (heads / rows)` serves head `h`.
    public record QkNormShape(int queryRows, int keyRows, float eps) {}

    /// Rotary positions: frequency base and how elements pair up.
    public record Rope(double theta, RopePairs pairs) {}

    /// Height and width in tokens.
    public record Grid(int height, int width) {
        public int cells() {
            return Math.multiplyExact(height, width);
        }
    }

    /// Width of the fused q, k, v projection.
    public int qkvSize() {
        return (heads + 2 * kvHeads) * headDim;
    }

    /// Width of the attention output before its projection.
    public int attentionSize() {
        return heads * headDim;
    }

    /// Weights of the blocks and the final norm, without tables and heads.
    public long blockParameters() {
        long perLayer = (long) qkvSize() * hiddenSize
                + (long) hiddenSize * attentionSize()
                + 3L * intermediateSize * hiddenSize
                + 2L * hiddenSize;
        if (qkNorm != null) {
            perLayer += 2L * (qkNorm.queryRows() + qkNorm.keyRows()) * headDim;
        }
        return layers * perLayer + hiddenSize;
    }

    /// Bytes that one cached position of one sequence takes, for elements of `elementBytes`.
    public long kvBytesPerToken(int elementBytes) {
        return 2L * layers * kvHeads * headDim * elementBytes;
    }

    /// Floating-point operations of one row of the blocks, attention over `kvLen` entries included.
    public double blockFlopPerRow(long kvLen) {
        double products = 2.0 * layers
                * ((double) qkvSize() * hiddenSize
                        + (double) hiddenSize * attentionSize()
                        + 3.0 * intermediateSize * hiddenSize);
        return products + 4.0 * layers * kvLen * attentionSize();
    }
}
