package io.sjd2.model;

import java.util.List;

/// Names of a checkpoint's tensors. `{layer}` stands for the block's index.
///
/// @param embedding      `[vocab_size, hidden_size]`
/// @param inputNorm      `[hidden_size]`, before (or behind, see the placement) attention
/// @param postNorm       `[hidden_size]`, of the MLP
/// @param qkv            matrices that make up the fused projection, in the order q, k, v
/// @param attentionOut   `[hidden_size, heads * head_dim]`
/// @param gateUp         matrices that make up gate and up, in this order
/// @param down           `[hidden_size, intermediate_size]`
/// @param finalNorm      `[hidden_size]`
/// @param head           `[rows, hidden_size]`: output head
/// @param qkNorm         q weight, q bias, k weight, k bias; empty without
/// @param targetGrid     row and column embeddings of the predicted position; empty without
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
        List<String> targetGrid) {

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
                        : List.of());
    }

    static String at(String name, int layer) {
        return name.replace("{layer}", Integer.toString(layer));
    }
}
