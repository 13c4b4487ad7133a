package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.kernel.Kernels.RopePairs;
import io.sjd2.model.TransformerConfig.Biases;
import io.sjd2.model.TransformerConfig.NormPlacement;
import io.sjd2.model.TransformerConfig.QkNormShape;
import io.sjd2.model.TransformerConfig.Rope;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Checked values of a configuration file. A key that is absent or null takes the default of the published
/// implementation.
final class Config {
    private static final int MOST_WIDTH = 1 << 20;
    private static final int WIDEST_HEAD = 256;
    private static final double ROPE_THETA = 10_000;

    private Config() {}

    static int in(Json config, String key, int low, int high) throws ModelFormatException {
        Json value = config.get(key);
        int v = value.int32();
        if (v < low || v > high) {
            throw value.unexpected("an integer from " + low + " to " + high);
        }
        return v;
    }

    static int in(Json config, String key, int low, int high, int fallback) throws ModelFormatException {
        return config.has(key) ? in(config, key, low, high) : fallback;
    }

    static float epsilon(Json config, String key, double fallback) throws ModelFormatException {
        if (!config.has(key)) {
            return (float) fallback;
        }
        Json value = config.get(key);
        double v = value.number();
        if (!(v > 0 && v < 1)) {
            throw value.unexpected("a number between 0 and 1");
        }
        return (float) v;
    }

    static double positive(Json config, String key, double fallback) throws ModelFormatException {
        if (!config.has(key)) {
            return fallback;
        }
        Json value = config.get(key);
        double v = value.number();
        if (!(v > 0 && v < 1e12)) {
            throw value.unexpected("a positive number");
        }
        return v;
    }

    static boolean flag(Json config, String key, boolean fallback) throws ModelFormatException {
        return config.has(key) ? config.get(key).bool() : fallback;
    }

    /// The product of an image tokeniser's enlargements: pixels per code.
    static int factor(Json vq, String multipliers, int fallback) throws ModelFormatException {
        if (!vq.has(multipliers)) {
            return fallback;
        }
        List<Json> levels = vq.get(multipliers).items();
        if (levels.isEmpty() || levels.size() > 8) {
            throw vq.get(multipliers).unexpected("1 to 8 channel multipliers");
        }
        return 1 << (levels.size() - 1);
    }

    /// Sizes that a llama-like configuration leaves out.
    record Defaults(
            int vocabulary,
            int hidden,
            int intermediate,
            int layers,
            int heads,
            int kvHeads,
            int positions,
            double eps,
            double theta) {
        /// Of transformers' `LlamaConfig`, which the configurations of Chameleon and Janus rest on.
        static final Defaults LLAMA = new Defaults(32_000, 4096, 11008, 32, 32, 0, 2048, 1e-6, ROPE_THETA);
        /// Of transformers' `ChameleonConfig`.
        static final Defaults CHAMELEON = new Defaults(65_536, 4096, 11008, 32, 32, 0, 4096, 1e-5, ROPE_THETA);
        /// Of transformers' `Emu3TextConfig`.
        static final Defaults EMU3 = new Defaults(184_622, 4096, 14336, 32, 32, 8, 9216, 1e-5, 1e6);
    }

    /// Shapes of a llama-like decoder, by the keys of Hugging Face's configurations, old and new.
    static TransformerConfig llama(Json config, Defaults d, NormPlacement placement, @Nullable QkNormShape qkNorm)
            throws ModelFormatException {
        activation(config);
        int hidden = in(config, "hidden_size", 1, MOST_WIDTH, d.hidden());
        int heads = in(config, "num_attention_heads", 1, 1 << 16, d.heads());
        int kvHeads = in(config, "num_key_value_heads", 1, heads, d.kvHeads() == 0 ? heads : d.kvHeads());
        if (heads % kvHeads != 0) {
            throw config.get("num_key_value_heads").unexpected("a divisor of num_attention_heads " + heads);
        }
        int headDim = in(config, "head_dim", 2, WIDEST_HEAD, hidden / heads);
        checkHeadDim(config, headDim);
        return new TransformerConfig(
                hidden,
                in(config, "intermediate_size", 1, 1 << 22, d.intermediate()),
                in(config, "num_hidden_layers", 1, 4096, d.layers()),
                heads,
                kvHeads,
                headDim,
                epsilon(config, "rms_norm_eps", d.eps()),
                placement,
                qkNorm,
                new Rope(theta(config, d), RopePairs.HALF_SPLIT),
                in(config, "vocab_size", 1, 1 << 24, d.vocabulary()),
                in(config, "max_position_embeddings", 2, 1 << 24, d.positions()),
                new Biases(flag(config, "attention_bias", false), flag(config, "mlp_bias", false)),
                null);
    }

    static void checkHeadDim(Json config, int headDim) throws ModelFormatException {
        if (headDim < 2 || headDim % 2 != 0 || headDim > WIDEST_HEAD) {
            throw config.unexpected("an even head_dim of at most " + WIDEST_HEAD + ", not " + headDim);
        }
    }

    private static void activation(Json config) throws ModelFormatException {
        String act = config.string("hidden_act", "silu");
        if (!act.equals("silu") && !act.equals("swish")) {
            throw config.get("hidden_act").unexpected("silu");
        }
    }

    /// The rotary base, from `rope_parameters` or from the top level; scaled positions are refused.
    private static double theta(Json config, Defaults d) throws ModelFormatException {
        for (String key : List.of("rope_scaling", "rope_parameters")) {
            if (config.has(key)) {
                Json scaling = config.get(key);
                for (String kind : List.of("rope_type", "type")) {
                    if (scaling.has(kind) && !scaling.get(kind).string().equals("default")) {
                        throw scaling.get(kind).unexpected("default: scaled rotary positions are not built");
                    }
                }
            }
        }
        double theta = positive(config, "rope_theta", d.theta());
        return config.has("rope_parameters") ? positive(config.get("rope_parameters"), "rope_theta", theta) : theta;
    }
}
