package io.sjd2.model;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/// Names of a checkpoint's tensors. `{layer}` stands for the block's index.
///
/// @param embedding      `[vocab_size, hidden_size]`
/// @param inputNorm      `[hidden_size]`, before (or behind, see the placement) attention
/// @param postNorm       `[hidden_size]`, of the MLP
/// @param qkv            matrices that make up the fused projection, in the order q, k, v; or the fused one
/// @param attentionOut   `[hidden_size, heads * head_dim]`
/// @param gateUp         matrices that make up gate and up, in this order
/// @param down           `[hidden_size, intermediate_size]`
/// @param finalNorm      `[hidden_size]`
/// @param head           `[rows, hidden_size]`: output head
/// @param qkNorm         q weight, q bias, k weight, k bias; empty without
/// @param targetGrid     row and column embeddings of the predicted position; empty without
/// @param image          tensors of a model whose codes are no tokens of the vocabulary, or null
public record WeightNames(
        String embedding,
        String inputNorm,
        String postNorm,
        List<String> qkv,
        String attentionOut,
        List<String> gateUp,
        String down,
        String finalNorm,
        String head,
        List<String> qkNorm,
        List<String> targetGrid,
        @Nullable ImagePath image) {

    /// A product with a bias: `prefix.weight` `[n_out, n_in]` and `prefix.bias` `[n_out]`.
    public record Affine(String prefix) {
        public String weight() {
            return prefix + ".weight";
        }

        public String bias() {
            return prefix + ".bias";
        }
    }

    /// Codes with an embedding and a head of their own.
    ///
    /// @param embedding   `[codes, embed_dim]`
    /// @param alignFirst  first of the layers from embed_dim to hidden_size, GELU between them
    /// @param alignNext   prefix of the others
    /// @param nextStart   number of the first of the others
    /// @param nextStep    from one number to the next
    /// @param headHidden  `[head_dim, hidden_size]`, GELU behind it
    /// @param head        `[codes, head_dim]`
    public record ImagePath(
            String embedding,
            Affine alignFirst,
            String alignNext,
            int nextStart,
            int nextStep,
            Affine headHidden,
            Affine head) {
        /// The aligner's layers that there are, in order.
        public List<Affine> aligner(Predicate<String> exists) {
            List<Affine> layers = new ArrayList<>(List.of(alignFirst));
            for (int n = nextStart; exists.test(new Affine(at(alignNext, n)).weight()); n += nextStep) {
                layers.add(new Affine(at(alignNext, n)));
            }
            return layers;
        }
    }

    /// The usual names of Hugging Face's llama-like models.
    ///
    /// @param prefix  what stands before `embed_tokens` and `layers`, for instance `model.`
    /// @param head    the output head's name
    public static WeightNames llama(String prefix, String head, boolean qkNorm, boolean targetGrid) {
        String layer = prefix + "layers.{layer}.";
        return new WeightNames(
                prefix + "embed_tokens.weight",
                layer + "input_layernorm.weight",
                layer + "post_attention_layernorm.weight",
                List.of(
                        layer + "self_attn.q_proj.weight",
                        layer + "self_attn.k_proj.weight",
                        layer + "self_attn.v_proj.weight"),
                layer + "self_attn.o_proj.weight",
                List.of(layer + "mlp.gate_proj.weight", layer + "mlp.up_proj.weight"),
                layer + "mlp.down_proj.weight",
                prefix + "norm.weight",
                head,
                qkNorm
                        ? List.of(
                                layer + "self_attn.q_norm.weight",
                                layer + "self_attn.q_norm.bias",
                                layer + "self_attn.k_norm.weight",
                                layer + "self_attn.k_norm.bias")
                        : List.of(),
                targetGrid
                        ? List.of(prefix + "target_row_embedding.weight", prefix + "target_column_embedding.weight")
                        : List.of(),
                null);
    }

    /// The names of LlamaGen's transformer.
    static WeightNames llamaGen() {
        String layer = "layers.{layer}.";
        return new WeightNames(
                "tok_embeddings.weight",
                layer + "attention_norm.weight",
                layer + "ffn_norm.weight",
                List.of(layer + "attention.wqkv.weight"),
                layer + "attention.wo.weight",
                List.of(layer + "feed_forward.w1.weight", layer + "feed_forward.w3.weight"),
                layer + "feed_forward.w2.weight",
                "norm.weight",
                "output.weight",
                List.of(),
                List.of(),
                null);
    }

    WeightNames withImage(ImagePath path) {
        return new WeightNames(
                embedding,
                inputNorm,
                postNorm,
                qkv,
                attentionOut,
                gateUp,
                down,
                finalNorm,
                head,
                qkNorm,
                targetGrid,
                path);
    }

    WeightNames withHead(String name) {
        return new WeightNames(
                embedding,
                inputNorm,
                postNorm,
                qkv,
                attentionOut,
                gateUp,
                down,
                finalNorm,
                name,
                qkNorm,
                targetGrid,
                image);
    }

    /// The name of the bias beside a matrix.
    public static String bias(String weight) {
        return weight.replaceFirst("\\.weight$", ".bias");
    }

    static String at(String name, int layer) {
        return name.replace("{layer}", Integer.toString(layer));
    }
}
