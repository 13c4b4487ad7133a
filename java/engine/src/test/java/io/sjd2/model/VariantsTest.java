package io.sjd2.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.FloatConversions;
import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Checkpoints that nobody published: every number that a configuration may state is drawn anew, and so are the key
/// style, the dtype of the weights, the order of codes in the vocabulary, ties, biases and shards. The engine must
/// load them and agree with the plain double loops below, which take the same numbers from the draw and not from the
/// engine's reading of the configuration.
class VariantsTest {
    private static final int DRAWS = 6;
    private static final int ROWS = 11;
    /// Of the largest logit: the tolerance of the fixtures, and what a longer chain of f32 sums adds to it.
    private static final double LOGITS = 2e-5;

    @TempDir
    Path folder;

    static Stream<Arguments> variants() {
        return Stream.of("chameleon", "emu3", "janus", "llamagen")
                .flatMap(family -> IntStream.range(0, DRAWS).mapToObj(seed -> Arguments.of(family, seed)));
    }

    /// What was drawn.
    private static final class Variant {
        final String family;
        final Random random;
        final int layers;
        final int heads;
        final int kvHeads;
        final int headDim;
        final int hidden;
        final int mlp;
        final int vocabulary = 97;
        final int codes = 16;
        final double eps;
        final double theta;
        final boolean swin;
        final boolean tied;
        final boolean attentionBias;
        final boolean mlpBias;
        final int codeWidth;
        final int alignerLayers;
        final int headHidden;
        /// Token of each code.
        final int[] tokens;

        final Map<String, double[]> weights = new LinkedHashMap<>();
        final Map<String, long[]> shapes = new LinkedHashMap<>();

        Variant(String family, int seed) {
            this.family = family;
            this.random = new Random(31L * seed + family.hashCode());
            layers = 1 + random.nextInt(3);
            kvHeads = 1 + random.nextInt(3);
            heads = kvHeads * (1 + random.nextInt(3));
            boolean gen = family.equals("llamagen");
            headDim = gen ? 4 * (1 + random.nextInt(4)) : 2 * (2 + random.nextInt(9));
            // LlamaGen has no head_dim of its own; elsewhere nothing ties the width to the heads.
            hidden = gen ? heads * headDim : 4 * (5 + random.nextInt(12));
            mlp = gen ? roundUp(2 * 4 * hidden / 3, 8) : 3 + random.nextInt(60);
            eps = Math.pow(10, -2 - 4 * random.nextDouble());
            theta = Math.pow(10, 1 + 5 * random.nextDouble());
            swin = family.equals("chameleon") && random.nextBoolean();
            tied = !gen && random.nextInt(3) == 0;
            attentionBias = !gen && random.nextInt(3) == 0;
            mlpBias = !gen && random.nextInt(3) == 0;
            codeWidth = 1 + random.nextInt(9);
            alignerLayers = 1 + random.nextInt(3);
            headHidden = 5 + random.nextInt(40);
            List<Integer> ids =
                    new ArrayList<>(IntStream.range(10, vocabulary).boxed().toList());
            Collections.shuffle(ids, random);
            tokens = ids.subList(0, codes).stream().mapToInt(Integer::intValue).toArray();
        }

        static int roundUp(int n, int multiple) {
            return (n + multiple - 1) / multiple * multiple;
        }

        boolean janus() {
            return family.equals("janus");
        }

        boolean llamaGen() {
            return family.equals("llamagen");
        }

        /// Draws a tensor about `center`.
        double[] draw(String name, double center, double std, int... shape) {
            int size = IntStream.of(shape).reduce(1, (a, b) -> a * b);
            double[] values = new double[size];
            for (int i = 0; i < size; i++) {
                values[i] = center + std * random.nextGaussian();
            }
            weights.put(name, values);
            shapes.put(name, IntStream.of(shape).asLongStream().toArray());
            return values;
        }

        void matrix(String name, int out, int in) {
            draw(name, 0, 1 / Math.sqrt(in), out, in);
        }

        void affine(String prefix, int out, int in, boolean biased) {
            matrix(prefix + ".weight", out, in);
            if (biased) {
                draw(prefix + ".bias", 0, 0.3, out);
            }
        }

        int divisor(int n) {
            List<Integer> divisors =
                    IntStream.rangeClosed(1, n).filter(d -> n % d == 0).boxed().toList();
            return divisors.get(random.nextInt(divisors.size()));
        }

        /// Names before the blocks', of which families have two styles.
        String prefix() {
            return switch (family) {
                case "chameleon" -> "model.";
                case "emu3" -> styled() ? "model.text_model." : "text_model.model.";
                case "janus" -> styled() ? "model.language_model." : "language_model.model.";
                default -> "";
            };
        }

        /// Current names rather than those of the first publication.
        boolean styled() {
            return layers % 2 == 1;
        }

        String head() {
            return switch (family) {
                case "emu3" -> styled() ? "lm_head.weight" : "text_model.lm_head.weight";
                case "janus" -> styled() ? "lm_head.weight" : "language_model.lm_head.weight";
                case "chameleon" -> "lm_head.weight";
                default -> "output.weight";
            };
        }

        String imageName(String current, String original) {
            return styled() ? current : original;
        }

        void drawAll() {
            String p = prefix();
            draw(
                    p + (llamaGen() ? "tok_embeddings" : "embed_tokens") + ".weight",
                    0,
                    1,
                    llamaGen() ? codes : vocabulary,
                    hidden);
            for (int l = 0; l < layers; l++) {
                String layer = p + "layers." + l + ".";
                if (llamaGen()) {
                    draw(layer + "attention_norm.weight", 1, 0.2, hidden);
                    draw(layer + "ffn_norm.weight", 1, 0.2, hidden);
                    matrix(layer + "attention.wqkv.weight", (heads + 2 * kvHeads) * headDim, hidden);
                    matrix(layer + "attention.wo.weight", hidden, heads * headDim);
                    matrix(layer + "feed_forward.w1.weight", mlp, hidden);
                    matrix(layer + "feed_forward.w3.weight", mlp, hidden);
                    matrix(layer + "feed_forward.w2.weight", hidden, mlp);
                    continue;
                }
                draw(layer + "input_layernorm.weight", 1, 0.2, hidden);
                draw(layer + "post_attention_layernorm.weight", 1, 0.2, hidden);
                affine(layer + "self_attn.q_proj", heads * headDim, hidden, attentionBias);
                affine(layer + "self_attn.k_proj", kvHeads * headDim, hidden, attentionBias);
                affine(layer + "self_attn.v_proj", kvHeads * headDim, hidden, attentionBias);
                affine(layer + "self_attn.o_proj", hidden, heads * headDim, attentionBias);
                affine(layer + "mlp.gate_proj", mlp, hidden, mlpBias);
                affine(layer + "mlp.up_proj", mlp, hidden, mlpBias);
                affine(layer + "mlp.down_proj", hidden, mlp, mlpBias);
                if (family.equals("chameleon")) {
                    int q = divisor(heads);
                    int k = divisor(kvHeads);
                    draw(layer + "self_attn.q_norm.weight", 1, 0.2, q, headDim);
                    draw(layer + "self_attn.q_norm.bias", 0, 0.2, q, headDim);
                    draw(layer + "self_attn.k_norm.weight", 1, 0.2, k, headDim);
                    draw(layer + "self_attn.k_norm.bias", 0, 0.2, k, headDim);
                }
            }
            draw(p + "norm.weight", 1, 0.2, hidden);
            if (!tied) {
                matrix(head(), llamaGen() ? codes : vocabulary, hidden);
            }
            if (llamaGen()) {
                draw("cls_embedding.embedding_table.weight", 0, 1, 4, hidden);
            }
            if (janus()) {
                draw(imageName("model.generation_embeddings.weight", "gen_embed.weight"), 0, 1, codes, codeWidth);
                for (int l = 0; l < alignerLayers; l++) {
                    affine(aligner(l), hidden, l == 0 ? codeWidth : hidden, true);
                }
                affine(
                        imageName("model.generation_head.proj_out", "gen_head.output_mlp_projector"),
                        headHidden,
                        hidden,
                        true);
                affine(imageName("model.generation_head.vision_head", "gen_head.vision_head"), codes, headHidden, true);
            }
            // What an image generator has no use for.
            draw("vision_model.some.weight", 0, 1, 3, 5);
        }

        String aligner(int layer) {
            return styled()
                    ? layer == 0
                            ? "model.generation_aligner.fc1"
                            : "model.generation_aligner.hidden_layers." + (layer - 1)
                    : "gen_aligner.layers." + 2 * layer;
        }

        Map<String, Object> config() {
            Map<String, Object> config = new LinkedHashMap<>();
            if (llamaGen()) {
                config.put("model_type", "llamagen_gpt");
                config.put("gpt_type", "c2i");
                config.put("dim", hidden);
                config.put("n_layer", layers);
                config.put("n_head", heads);
                config.put("n_kv_head", kvHeads);
                config.put("multiple_of", 8);
                config.put("rope_base", theta);
                config.put("norm_eps", eps);
                config.put("num_classes", 3);
                config.put("vocab_size", codes);
                config.put("cls_token_num", 1);
                config.put("block_size", 16);
                return config;
            }
            Map<String, Object> text = family.equals("chameleon") ? config : new LinkedHashMap<>();
            text.put("hidden_size", hidden);
            text.put("intermediate_size", mlp);
            text.put("num_hidden_layers", layers);
            text.put("num_attention_heads", heads);
            text.put("num_key_value_heads", kvHeads);
            text.put("head_dim", headDim);
            text.put("rms_norm_eps", eps);
            text.put("vocab_size", vocabulary);
            text.put("max_position_embeddings", 64);
            text.put("attention_bias", attentionBias);
            text.put("mlp_bias", mlpBias);
            if (styled()) {
                text.put("rope_parameters", Map.of("rope_theta", theta, "rope_type", "default"));
            } else {
                text.put("rope_theta", theta);
            }
            boolean outside = headHidden % 2 == 0;
            (outside ? config : text).put("tie_word_embeddings", tied);
            switch (family) {
                case "chameleon" -> {
                    config.put("model_type", "chameleon");
                    config.put("swin_norm", swin);
                    config.put("vocabulary_map", chameleonNames());
                }
                case "emu3" -> {
                    config.put("model_type", "emu3");
                    config.put("text_config", text);
                    config.put("vocabulary_map", emu3Names());
                }
                default -> {
                    config.put("model_type", styled() ? "janus" : "multi_modality");
                    config.put(styled() ? "text_config" : "language_config", text);
                    if (styled()) {
                        config.put("vq_config", Map.of("num_embeddings", codes, "num_patches", 4));
                    } else {
                        config.put(
                                "gen_vision_config",
                                Map.of("cls", "VQ-16", "params", Map.of("image_token_size", codes, "n_embed", 8)));
                    }
                }
            }
            return config;
        }

        private Map<String, Object> chameleonNames() {
            Map<String, Object> names = new LinkedHashMap<>();
            for (int code = 0; code < codes; code++) {
                StringBuilder letters = new StringBuilder("IMGIMG");
                Integer.toString(code).chars().forEach(digit -> letters.append((char) ('A' + digit - '0')));
                names.put(letters + "Z", tokens[code]);
            }
            names.put("<reserved08799>", 1);
            names.put("<eoss>", 2);
            names.put("<racm3:break>", 3);
            names.put("<reserved08706>", 4);
            names.put("<reserved08801>", 5);
            names.put("<reserved08802>", 6);
            return names;
        }

        private Map<String, Object> emu3Names() {
            Map<String, Object> names = new LinkedHashMap<>();
            for (int code = 0; code < codes; code++) {
                names.put("<|visual token %06d|>".formatted(code), tokens[code]);
            }
            List<String> special = List.of(
                    "<|extra_200|>",
                    "<|extra_201|>",
                    "<|extra_203|>",
                    "<|extra_204|>",
                    "<|image end|>",
                    "<|image start|>");
            for (int i = 0; i < special.size(); i++) {
                names.put(special.get(i), i);
            }
            return names;
        }

        /// Writes the folder; what is kept of the weights is what the files hold after rounding.
        void write(Path folder) throws IOException {
            drawAll();
            String dtype = List.of("F32", "F16", "BF16").get(random.nextInt(3));
            SafetensorsWriter writer = new SafetensorsWriter();
            try (Arena arena = Arena.ofConfined()) {
                for (Map.Entry<String, double[]> entry : weights.entrySet()) {
                    double[] values = entry.getValue();
                    float[] floats = new float[values.length];
                    for (int i = 0; i < floats.length; i++) {
                        floats[i] = (float) values[i];
                    }
                    MemorySegment wide = MemorySegment.ofArray(floats);
                    MemorySegment data = arena.allocate(4L * floats.length, 64);
                    switch (dtype) {
                        case "F16" -> {
                            FloatConversions.f32ToF16(data, wide, floats.length);
                            FloatConversions.f16ToF32(wide, data, floats.length);
                        }
                        case "BF16" -> {
                            FloatConversions.f32ToBf16(data, wide, floats.length);
                            FloatConversions.bf16ToF32(wide, data, floats.length);
                        }
                        default -> data.copyFrom(wide);
                    }
                    for (int i = 0; i < floats.length; i++) {
                        values[i] = floats[i];
                    }
                    int width = dtype.equals("F32") ? 4 : 2;
                    writer.add(
                            entry.getKey(),
                            dtype,
                            shapes.get(entry.getKey()),
                            data.asSlice(0, (long) width * floats.length));
                }
                // Several shards of most draws; none can be smaller than its tensor.
                int largest = weights.values().stream()
                        .mapToInt(values -> values.length)
                        .max()
                        .orElseThrow();
                writer.writeFolder(folder, Math.max(40_000, 4096 + 4L * largest));
            }
            AtomicFiles.write(folder.resolve(ModelDescription.CONFIG_FILE), Json.prettyText(config()));
        }
    }

    /// The forward pass in double loops.
    private static final class Oracle {
        private final Variant v;

        Oracle(Variant v) {
            this.v = v;
        }

        private double[] w(String name) {
            double[] values = v.weights.get(name);
            assertThat(values).as(name).isNotNull();
            return values;
        }

        private static double[] product(double[] w, double[] bias, double[] x, int out) {
            double[] y = new double[out];
            int in = w.length / out;
            assertThat(x).hasSize(in);
            for (int o = 0; o < out; o++) {
                double sum = bias == null ? 0 : bias[o];
                for (int i = 0; i < in; i++) {
                    sum += w[o * in + i] * x[i];
                }
                y[o] = sum;
            }
            return y;
        }

        private double[] affine(String prefix, double[] x, int out) {
            return product(w(prefix + ".weight"), v.weights.get(prefix + ".bias"), x, out);
        }

        private double[] rms(double[] x, double[] weight) {
            double squares = 0;
            for (double e : x) {
                squares += e * e;
            }
            double r = 1 / Math.sqrt(squares / x.length + v.eps);
            double[] y = new double[x.length];
            for (int i = 0; i < x.length; i++) {
                y[i] = x[i] * r * weight[i];
            }
            return y;
        }

        private static double gelu(double x) {
            // Phi by its series about 0: all terms have one sign.
            double term = x;
            double sum = x;
            for (int k = 3; k < 400; k += 2) {
                term *= x * x / k;
                sum += term;
            }
            double phi = Math.abs(x) > 9 ? (x > 0 ? 1 : 0) : 0.5 + sum * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
            return x * phi;
        }

        /// Embedding of a code as an input of the blocks.
        double[] code(int code) {
            String table = v.llamaGen() ? "tok_embeddings.weight" : v.prefix() + "embed_tokens.weight";
            if (!v.janus()) {
                return row(w(table), v.llamaGen() ? code : v.tokens[code], v.hidden);
            }
            double[] x =
                    row(w(v.imageName("model.generation_embeddings.weight", "gen_embed.weight")), code, v.codeWidth);
            for (int l = 0; l < v.alignerLayers; l++) {
                if (l > 0) {
                    for (int i = 0; i < x.length; i++) {
                        x[i] = gelu(x[i]);
                    }
                }
                x = affine(v.aligner(l), x, v.hidden);
            }
            return x;
        }

        double[] token(int id) {
            return row(w(v.prefix() + "embed_tokens.weight"), id, v.hidden);
        }

        private static double[] row(double[] table, int row, int width) {
            return Arrays.copyOfRange(table, row * width, (row + 1) * width);
        }

        /// Hidden rows behind the last norm.
        double[][] hidden(double[][] inputs) {
            double[][] x = new double[inputs.length][];
            for (int t = 0; t < x.length; t++) {
                x[t] = inputs[t].clone();
            }
            for (int l = 0; l < v.layers; l++) {
                block(x, l);
            }
            double[][] out = new double[x.length][];
            for (int t = 0; t < x.length; t++) {
                out[t] = rms(x[t], w(v.prefix() + "norm.weight"));
            }
            return out;
        }

        private void block(double[][] x, int l) {
            String layer = v.prefix() + "layers." + l + ".";
            double[] first = w(layer + (v.llamaGen() ? "attention_norm" : "input_layernorm") + ".weight");
            double[] second = w(layer + (v.llamaGen() ? "ffn_norm" : "post_attention_layernorm") + ".weight");
            int q = v.heads * v.headDim;
            int kv = v.kvHeads * v.headDim;
            double[][] keys = new double[x.length][];
            double[][] values = new double[x.length][];
            for (int t = 0; t < x.length; t++) {
                double[] h = v.swin ? x[t] : rms(x[t], first);
                double[] queries;
                if (v.llamaGen()) {
                    double[] fused = product(w(layer + "attention.wqkv.weight"), null, h, q + 2 * kv);
                    queries = Arrays.copyOfRange(fused, 0, q);
                    keys[t] = Arrays.copyOfRange(fused, q, q + kv);
                    values[t] = Arrays.copyOfRange(fused, q + kv, q + 2 * kv);
                } else {
                    queries = affine(layer + "self_attn.q_proj", h, q);
                    keys[t] = affine(layer + "self_attn.k_proj", h, kv);
                    values[t] = affine(layer + "self_attn.v_proj", h, kv);
                    if (v.family.equals("chameleon")) {
                        headNorm(queries, v.heads, layer + "self_attn.q_norm");
                        headNorm(keys[t], v.kvHeads, layer + "self_attn.k_norm");
                    }
                }
                rotate(queries, v.heads, t);
                rotate(keys[t], v.kvHeads, t);
                double[] attended = attend(queries, keys, values, t);
                double[] branch = v.llamaGen()
                        ? product(w(layer + "attention.wo.weight"), null, attended, v.hidden)
                        : affine(layer + "self_attn.o_proj", attended, v.hidden);
                add(x[t], v.swin ? rms(branch, first) : branch);
                double[] in = v.swin ? x[t] : rms(x[t], second);
                double[] mlp = mlp(layer, in);
                add(x[t], v.swin ? rms(mlp, second) : mlp);
            }
        }

        private double[] mlp(String layer, double[] in) {
            double[] gate = v.llamaGen()
                    ? product(w(layer + "feed_forward.w1.weight"), null, in, v.mlp)
                    : affine(layer + "mlp.gate_proj", in, v.mlp);
            double[] up = v.llamaGen()
                    ? product(w(layer + "feed_forward.w3.weight"), null, in, v.mlp)
                    : affine(layer + "mlp.up_proj", in, v.mlp);
            for (int i = 0; i < gate.length; i++) {
                gate[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
            }
            return v.llamaGen()
                    ? product(w(layer + "feed_forward.w2.weight"), null, gate, v.hidden)
                    : affine(layer + "mlp.down_proj", gate, v.hidden);
        }

        private double[] attend(double[] queries, double[][] keys, double[][] values, int t) {
            double[] out = new double[v.heads * v.headDim];
            for (int h = 0; h < v.heads; h++) {
                int g = h / (v.heads / v.kvHeads);
                double[] scores = new double[t + 1];
                double total = 0;
                for (int u = 0; u <= t; u++) {
                    for (int i = 0; i < v.headDim; i++) {
                        scores[u] += queries[h * v.headDim + i] * keys[u][g * v.headDim + i];
                    }
                    scores[u] = Math.exp(scores[u] / Math.sqrt(v.headDim));
                    total += scores[u];
                }
                for (int u = 0; u <= t; u++) {
                    for (int i = 0; i < v.headDim; i++) {
                        out[h * v.headDim + i] += scores[u] / total * values[u][g * v.headDim + i];
                    }
                }
            }
            return out;
        }

        private void headNorm(double[] x, int heads, String name) {
            double[] weight = w(name + ".weight");
            double[] bias = w(name + ".bias");
            int rows = weight.length / v.headDim;
            for (int h = 0; h < heads; h++) {
                int row = h / (heads / rows) * v.headDim;
                double mean = 0;
                for (int i = 0; i < v.headDim; i++) {
                    mean += x[h * v.headDim + i] / v.headDim;
                }
                double variance = 0;
                for (int i = 0; i < v.headDim; i++) {
                    variance += Math.pow(x[h * v.headDim + i] - mean, 2) / v.headDim;
                }
                for (int i = 0; i < v.headDim; i++) {
                    int at = h * v.headDim + i;
                    x[at] = (x[at] - mean) / Math.sqrt(variance + 1e-5) * weight[row + i] + bias[row + i];
                }
            }
        }

        private void rotate(double[] x, int heads, int t) {
            int half = v.headDim / 2;
            for (int h = 0; h < heads; h++) {
                for (int i = 0; i < half; i++) {
                    int a = h * v.headDim + (v.llamaGen() ? 2 * i : i);
                    int b = v.llamaGen() ? a + 1 : a + half;
                    double cos;
                    double sin;
                    if (v.llamaGen()) {
                        int quarter = v.headDim / 4;
                        int along = i < quarter ? (t - 1) / 4 : (t - 1) % 4;
                        double angle = along * Math.pow(v.theta, -2.0 * (i % quarter) / (v.headDim / 2.0));
                        cos = t == 0 ? 0 : Math.cos(angle);
                        sin = t == 0 ? 0 : Math.sin(angle);
                    } else {
                        double angle = t * Math.pow(v.theta, -2.0 * i / v.headDim);
                        cos = Math.cos(angle);
                        sin = Math.sin(angle);
                    }
                    double p = x[a];
                    double q = x[b];
                    x[a] = p * cos - q * sin;
                    x[b] = q * cos + p * sin;
                }
            }
        }

        private static void add(double[] into, double[] values) {
            for (int i = 0; i < into.length; i++) {
                into[i] += values[i];
            }
        }

        double[] codeLogits(double[] hidden) {
            if (v.janus()) {
                double[] inner = affine(
                        v.imageName("model.generation_head.proj_out", "gen_head.output_mlp_projector"),
                        hidden,
                        v.headHidden);
                for (int i = 0; i < inner.length; i++) {
                    inner[i] = gelu(inner[i]);
                }
                return affine(v.imageName("model.generation_head.vision_head", "gen_head.vision_head"), inner, v.codes);
            }
            if (v.llamaGen()) {
                return product(w("output.weight"), null, hidden, v.codes);
            }
            double[] all = textLogits(hidden);
            return IntStream.of(v.tokens).mapToDouble(token -> all[token]).toArray();
        }

        double[] textLogits(double[] hidden) {
            return product(w(v.tied ? v.prefix() + "embed_tokens.weight" : v.head()), null, hidden, v.vocabulary);
        }
    }

    @ParameterizedTest
    @MethodSource("variants")
    void agreeWithTheOracle(String family, int seed) throws IOException {
        Variant v = new Variant(family, seed);
        v.write(folder);
        Oracle oracle = new Oracle(v);
        ModelDescription d = ModelDescription.read(folder);
        assertThat(d.codes()).isEqualTo(v.codes);
        double[][] inputs = new double[ROWS][];
        int[] text = v.random.ints(ROWS, 0, v.vocabulary).toArray();
        int[] codes = v.random.ints(ROWS, 0, v.codes).toArray();
        for (int t = 0; t < ROWS; t++) {
            inputs[t] = v.llamaGen() && t == 0
                    ? Oracle.row(v.weights.get("cls_embedding.embedding_table.weight"), 2, v.hidden)
                    : v.llamaGen() || t >= 4 ? oracle.code(codes[t]) : oracle.token(text[t]);
        }
        double[][] hidden = oracle.hidden(inputs);
        for (String name : List.of("cpu", "reference")) {
            try (Backend backend = Backends.open(name, 2);
                    ModelFiles files = ModelFiles.of(d, folder, seed % 2 == 0);
                    Transformer model =
                            Transformer.load(backend, files, DType.F32, Transformer.Heads.ALL, LoadListener.NONE);
                    Probe probe = new Probe(model, 16)) {
                float[] rows = new float[ROWS * v.hidden];
                for (int t = 0; t < ROWS; t++) {
                    float[] row = v.llamaGen() && t == 0
                            ? ((Prompt.Embeddings) model.conditions().label(2)).values()
                            : v.llamaGen() || t >= 4
                                    ? probe.embedCodes(new int[] {codes[t]})
                                    : probe.embedTokens(new int[] {text[t]});
                    System.arraycopy(row, 0, rows, t * v.hidden, v.hidden);
                }
                Probe.Pass pass = probe.run(rows, 0, 0);
                for (int t = 0; t < ROWS; t++) {
                    compare(pass.codeLogits(), t, oracle.codeLogits(hidden[t]));
                    if (pass.textLogits() != null) {
                        compare(pass.textLogits(), t, oracle.textLogits(hidden[t]));
                    }
                }
                assertThat(pass.textLogits() == null).isEqualTo(v.llamaGen());
            }
        }
    }

    private static void compare(float[] all, int row, double[] expected) {
        double most = 0;
        for (double e : expected) {
            most = Math.max(most, Math.abs(e));
        }
        for (int i = 0; i < expected.length; i++) {
            assertThat((double) all[row * expected.length + i])
                    .as("row %d, logit %d", row, i)
                    .isCloseTo(expected[i], within(LOGITS * Math.max(1, most)));
        }
    }
}
