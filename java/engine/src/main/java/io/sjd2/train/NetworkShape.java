package io.sjd2.train;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The transformer that is trained: a decoder with RMSNorm, rotary positions and SwiGLU.
///
/// @param vocabSize        rows of the embedding table
/// @param hiddenSize       width of the residual stream
/// @param intermediateSize width of the SwiGLU
/// @param layers           number of blocks
/// @param heads            query heads
/// @param kvHeads          key and value heads; divides `heads`
/// @param headDim          size of a head, even
/// @param rmsNormEps       epsilon of every RMSNorm
/// @param ropeTheta        base of the rotary frequencies
/// @param maxPositions     longest sequence
/// @param qNormRows        rows of the LayerNorm of queries, which divide `heads`; 0 for none
/// @param kNormRows        rows of the LayerNorm of keys, which divide `kvHeads`; 0 for none
/// @param headName         name of the output head's tensor; empty if the head is rows of the embedding table
/// @param headRows         rows of the output head
/// @param gridHeight       rows of the learned embedding of the target position; 0 for none
/// @param gridWidth        columns of it
/// @param levelInputs      size of the sinusoid of a noise level; 0 for a network without noise levels
/// @param levelHidden      width of the small network behind it
/// @param levelPrefix      what stands before `fc1` and `fc2` in the names of its tensors
/// @param normsBranches    `x += norm(f(x))` instead of `x += f(norm(x))`
/// @param biases           which products of a block have a bias
/// @param plane            where rotary positions lie in a plane, or null
/// @param codes            embedding and head of codes that are no tokens, or null
public record NetworkShape(
        int vocabSize,
        int hiddenSize,
        int intermediateSize,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        float rmsNormEps,
        double ropeTheta,
        int maxPositions,
        int qNormRows,
        int kNormRows,
        String headName,
        int headRows,
        int gridHeight,
        int gridWidth,
        int levelInputs,
        int levelHidden,
        String levelPrefix,
        boolean normsBranches,
        Biases biases,
        @Nullable Plane plane,
        @Nullable Codes codes) {

    /// Codes that are no tokens.
    ///
    /// @param width         of their embedding
    /// @param alignerLayers layers from there to `hidden_size`, GELU between them
    /// @param headHidden    width inside their output head
    public record Codes(int width, int alignerLayers, int headHidden) {
        public Codes {
            if (width < 1 || alignerLayers < 1 || headHidden < 1) {
                throw new IllegalArgumentException("network: codes of " + width + " elements, " + alignerLayers
                        + " layers behind them and a head of " + headHidden + ": each must be positive");
            }
        }
    }

    /// Which products of a block have a bias.
    ///
    /// @param attention of queries, keys, values and what attention gives
    /// @param mlp       all three
    public record Biases(boolean attention, boolean mlp) {
        public static final Biases NONE = new Biases(false, false);
    }

    /// Rotary positions in a plane: `conditionRows` positions whose queries and keys become zero, then the cells of the
    /// plane row by row. A cell's row turns the first half of the pairs, its column the second.
    public record Plane(int conditionRows, int height, int width) {
        int positions() {
            return conditionRows + height * width;
        }
    }

    /// The period of the slowest sinusoid of a noise level.
    static final double LEVEL_MAX_PERIOD = 10000;

    /// Epsilon of the LayerNorm of queries and keys, fixed by the family that has one.
    static final float QK_NORM_EPS = 1e-5f;

    public NetworkShape {
        if (hiddenSize < 1 || intermediateSize < 1 || layers < 1 || heads < 1 || headDim < 2 || headDim % 2 != 0) {
            throw new IllegalArgumentException("network: hidden_size " + hiddenSize + ", intermediate_size "
                    + intermediateSize + ", layers " + layers + ", heads " + heads + " of " + headDim
                    + ": each must be positive, head_dim even");
        }
        if (kvHeads < 1 || heads % kvHeads != 0) {
            throw new IllegalArgumentException("network: kv_heads " + kvHeads + " must divide heads " + heads);
        }
        if (plane != null && (headDim % 4 != 0 || plane.positions() != maxPositions)) {
            throw new IllegalArgumentException(
                    "network: " + plane + " does not fit heads of " + headDim + " and " + maxPositions + " positions");
        }
        if (qNormRows < 0
                || (qNormRows == 0) != (kNormRows == 0)
                || qNormRows > 0 && (heads % qNormRows != 0 || kNormRows < 0 || kvHeads % kNormRows != 0)) {
            throw new IllegalArgumentException("network: norms of " + qNormRows + " rows for " + heads
                    + " heads and of " + kNormRows + " rows for " + kvHeads + " key heads: each must divide its heads");
        }
        if (vocabSize < 1 || headRows < 1 || maxPositions < 1) {
            throw new IllegalArgumentException("network: vocabulary " + vocabSize + ", output head " + headRows
                    + " and positions " + maxPositions + " must be positive");
        }
    }

    /// A network without biases that normalises before its branches, with positions on a line.
    public NetworkShape(
            int vocabSize,
            int hiddenSize,
            int intermediateSize,
            int layers,
            int heads,
            int kvHeads,
            int headDim,
            float rmsNormEps,
            double ropeTheta,
            int maxPositions,
            int qkNormRows,
            String headName,
            int headRows,
            int gridHeight,
            int gridWidth,
            int levelInputs,
            int levelHidden,
            String levelPrefix) {
        this(
                vocabSize,
                hiddenSize,
                intermediateSize,
                layers,
                heads,
                kvHeads,
                headDim,
                rmsNormEps,
                ropeTheta,
                maxPositions,
                qkNormRows,
                qkNormRows,
                headName,
                headRows,
                gridHeight,
                gridWidth,
                levelInputs,
                levelHidden,
                levelPrefix,
                false,
                Biases.NONE,
                null,
                null);
    }

    /// The demo family: `model_type: sjd2`, output head over image codes, learned target positions.
    public static NetworkShape demo(
            int vocabSize,
            int codes,
            int grid,
            int hiddenSize,
            int intermediateSize,
            int layers,
            int heads,
            int maxPositions) {
        return new NetworkShape(
                vocabSize,
                hiddenSize,
                intermediateSize,
                layers,
                heads,
                heads,
                hiddenSize / heads,
                1e-5f,
                10000,
                maxPositions,
                0,
                "image_head.weight",
                codes,
                grid,
                grid,
                64,
                hiddenSize,
                "sjd2.time_embed.");
    }

    /// Whether queries and keys pass a LayerNorm.
    boolean normsHeads() {
        return qNormRows > 0;
    }

    /// Rows of the weights and biases of that LayerNorm together.
    int headNormRows() {
        return 2 * (qNormRows + kNormRows);
    }

    boolean tiedHead() {
        return headName.isEmpty();
    }

    /// Name of the bias of a head that has one.
    String headBias() {
        return headName.replaceFirst("weight$", "bias");
    }

    int qkvColumns() {
        return (heads + 2 * kvHeads) * headDim;
    }

    int attentionColumns() {
        return heads * headDim;
    }

    /// How a tensor is treated by the optimiser and where it is saved.
    enum Kind {
        MATRIX,
        EMBEDDING,
        VECTOR,
        LEVEL
    }

    /// A named tensor.
    record Entry(String name, long[] shape, Kind kind) {
        long elements() {
            long n = 1;
            for (long extent : shape) {
                n *= extent;
            }
            return n;
        }
    }

    /// All tensors in the order in which they lie in memory: those that are multiplied together lie side by side.
    List<Entry> entries() {
        List<Entry> list = new ArrayList<>();
        for (int l = 0; l < layers; l++) {
            String p = "model.layers." + l + ".";
            matrix(list, p + "self_attn.q_proj.weight", heads * headDim, hiddenSize);
            matrix(list, p + "self_attn.k_proj.weight", kvHeads * headDim, hiddenSize);
            matrix(list, p + "self_attn.v_proj.weight", kvHeads * headDim, hiddenSize);
            matrix(list, p + "self_attn.o_proj.weight", hiddenSize, heads * headDim);
            matrix(list, p + "mlp.gate_proj.weight", intermediateSize, hiddenSize);
            matrix(list, p + "mlp.up_proj.weight", intermediateSize, hiddenSize);
            matrix(list, p + "mlp.down_proj.weight", hiddenSize, intermediateSize);
        }
        list.add(new Entry("model.embed_tokens.weight", new long[] {vocabSize, hiddenSize}, Kind.EMBEDDING));
        if (codes != null) {
            list.add(new Entry("image.embedding.weight", new long[] {headRows, codes.width()}, Kind.EMBEDDING));
            for (int l = 0; l < codes.alignerLayers(); l++) {
                matrix(list, "image.aligner." + l + ".weight", hiddenSize, l == 0 ? codes.width() : hiddenSize);
                vector(list, "image.aligner." + l + ".bias", hiddenSize);
            }
            matrix(list, "image.head_hidden.weight", codes.headHidden(), hiddenSize);
            vector(list, "image.head_hidden.bias", codes.headHidden());
            list.add(new Entry(headName, new long[] {headRows, codes.headHidden()}, Kind.EMBEDDING));
            vector(list, headBias(), headRows);
        } else if (!tiedHead()) {
            list.add(new Entry(headName, new long[] {headRows, hiddenSize}, Kind.EMBEDDING));
        }
        if (gridHeight > 0) {
            list.add(new Entry(
                    "model.target_row_embedding.weight", new long[] {gridHeight, hiddenSize}, Kind.EMBEDDING));
            list.add(new Entry(
                    "model.target_column_embedding.weight", new long[] {gridWidth, hiddenSize}, Kind.EMBEDDING));
        }
        for (int l = 0; l < layers; l++) {
            String p = "model.layers." + l + ".";
            vector(list, p + "input_layernorm.weight", hiddenSize);
            vector(list, p + "post_attention_layernorm.weight", hiddenSize);
            if (normsHeads()) {
                for (String name : new String[] {"q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias"}) {
                    long rows = name.startsWith("q") ? qNormRows : kNormRows;
                    list.add(new Entry(p + "self_attn." + name, new long[] {rows, headDim}, Kind.VECTOR));
                }
            }
            if (biases.attention()) {
                vector(list, p + "self_attn.q_proj.bias", (long) heads * headDim);
                vector(list, p + "self_attn.k_proj.bias", (long) kvHeads * headDim);
                vector(list, p + "self_attn.v_proj.bias", (long) kvHeads * headDim);
                vector(list, p + "self_attn.o_proj.bias", hiddenSize);
            }
            if (biases.mlp()) {
                vector(list, p + "mlp.gate_proj.bias", intermediateSize);
                vector(list, p + "mlp.up_proj.bias", intermediateSize);
                vector(list, p + "mlp.down_proj.bias", hiddenSize);
            }
        }
        vector(list, "model.norm.weight", hiddenSize);
        if (levelInputs > 0) {
            level(list, "fc1.weight", levelHidden, levelInputs);
            level(list, "fc1.bias", levelHidden);
            level(list, "fc2.weight", hiddenSize, levelHidden);
            level(list, "fc2.bias", hiddenSize);
        }
        return list;
    }

    private static void matrix(List<Entry> list, String name, long rows, long cols) {
        list.add(new Entry(name, new long[] {rows, cols}, Kind.MATRIX));
    }

    private static void vector(List<Entry> list, String name, long n) {
        list.add(new Entry(name, new long[] {n}, Kind.VECTOR));
    }

    private void level(List<Entry> list, String name, long... shape) {
        list.add(new Entry(levelPrefix + name, shape, Kind.LEVEL));
    }
}
