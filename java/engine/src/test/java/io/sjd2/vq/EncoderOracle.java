package io.sjd2.vq;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;

/// The published encoders once more, as plain loops over f64 in the layout and the order of the PyTorch modules,
/// sharing nothing with the engine: it makes its own weights as it first meets them, under the published names, and
/// adds them to a fixture's decoder.
///
/// Sources: the modules `Encoder` of taming-transformers and LlamaGen, `JanusVQVAEEncoder` and `Emu3VQVAEEncoder` of
/// transformers, by the formulas of the fixtures' README.
class EncoderOracle {
    /// `[channels][frames][height][width]`.
    record Picture(int channels, int frames, int height, int width, double[] values) {
        Picture(int channels, int frames, int height, int width) {
            this(channels, frames, height, width, new double[channels * frames * height * width]);
        }

        int plane() {
            return frames * height * width;
        }
    }

    /// How a family names and sizes its encoder.
    ///
    /// @param level        with `%d` for the level
    /// @param block        of the residual blocks of a level
    /// @param middle       the three blocks in the middle
    /// @param projections  of queries, keys, values and results
    /// @param normsBeside  whether an attention's norm is its sibling and not its part
    /// @param channels     per level
    /// @param temporalFactor  frames that a code stands for; 0 where the networks know no time
    record Style(
            String level,
            String block,
            List<String> middle,
            List<String> projections,
            boolean normsBeside,
            int stem,
            int[] channels,
            int blocks,
            List<Integer> attentionLevels,
            int latent,
            int width,
            int temporalFactor,
            boolean normalised) {
        /// The same family at another size.
        Style sized(int stem, int[] channels, int blocks, List<Integer> attention, int latent, int width, int frames) {
            return new Style(
                    level,
                    block,
                    middle,
                    projections,
                    normsBeside,
                    stem,
                    channels,
                    blocks,
                    attention,
                    latent,
                    width,
                    frames,
                    normalised);
        }
    }

    private static final int GROUPS = 32;
    private static final double GROUP_EPS = 1e-6;
    private static final double BATCH_EPS = 1e-5;
    /// Keeps the few latent channels, activated twice, from ending up beside the same codes.
    private static final double SPREAD_IN_TIME = 1.5;

    final Style style;
    private final SplittableRandom random;
    private final Map<String, double[]> weights = new LinkedHashMap<>();
    private final Map<String, long[]> shapes = new LinkedHashMap<>();
    /// What the network had on its way, by the engine's names for it.
    final Map<String, Picture> shown = new LinkedHashMap<>();

    EncoderOracle(String family, long seed) {
        this(style(family), seed);
    }

    EncoderOracle(Style style, long seed) {
        this.random = new SplittableRandom(seed);
        this.style = style;
    }

    /// A family at its fixture's size.
    static Style style(String family) {
        List<String> conv = List.of("q", "k", "v", "proj_out");
        List<String> taming = List.of("mid.block_1", "mid.attn_1", "mid.block_2");
        int[] rising = {32, 64};
        int[] falling = {64, 32};
        List<Integer> none = List.of();
        List<Integer> last = List.of(1);
        return switch (family) {
            case "chameleon" ->
                new Style("down.%d", "block", taming, conv, false, 32, rising, 1, none, 16, 16, 0, false);
            case "janus" -> new Style("down.%d", "block", taming, conv, false, 32, rising, 1, last, 16, 8, 0, true);
            case "llamagen_t2i" -> {
                List<String> middle = List.of("mid.0", "mid.1", "mid.2");
                yield new Style("conv_blocks.%d", "res", middle, conv, false, 32, falling, 1, last, 16, 8, 0, true);
            }
            case "emu3" -> {
                List<String> middle = List.of("middle_block.block_1", "middle_block.attn_1", "middle_block.block_2");
                List<String> linear = List.of("q_proj", "k_proj", "v_proj", "out_proj");
                yield new Style(
                        "down_block.down.%d", "block", middle, linear, true, 32, falling, 1, last, 4, 4, 4, false);
            }
            default -> throw new AssertionError(family);
        };
    }

    double[] weight(String name, double mean, double spread, int... shape) {
        return weights.computeIfAbsent(name, key -> {
            shapes.put(name, Arrays.stream(shape).asLongStream().toArray());
            double[] values = new double[Arrays.stream(shape).reduce(1, (a, b) -> a * b)];
            for (int i = 0; i < values.length; i++) {
                // A file holds f32.
                values[i] = (float) (mean + spread * (random.nextDouble() * 2 - 1));
            }
            return values;
        });
    }

    /// Cross-correlation over a picture that is padded by zeros as `pad` says: before frames, rows and columns, then
    /// behind.
    Picture conv(String name, Picture x, int out, int[] kernel, int[] stride, int[] before, int[] behind) {
        double bound = Math.sqrt(3.0 / (x.channels * kernel[0] * kernel[1] * kernel[2]));
        if (timed(name)) {
            bound *= SPREAD_IN_TIME;
        }
        int[] shape = name.endsWith("_proj")
                ? new int[] {out, x.channels}
                : timed(name)
                        ? new int[] {out, x.channels, kernel[0], kernel[1], kernel[2]}
                        : new int[] {out, x.channels, kernel[1], kernel[2]};
        double[] w = weight(name + ".weight", 0, bound, shape);
        double[] bias = weight(name + ".bias", 0, 0.1, out);
        Picture y = new Picture(
                out,
                (x.frames + before[0] + behind[0] - kernel[0]) / stride[0] + 1,
                (x.height + before[1] + behind[1] - kernel[1]) / stride[1] + 1,
                (x.width + before[2] + behind[2] - kernel[2]) / stride[2] + 1);
        int at = 0;
        for (int o = 0; o < out; o++) {
            for (int t = 0; t < y.frames; t++) {
                for (int r = 0; r < y.height; r++) {
                    for (int c = 0; c < y.width; c++) {
                        double sum = bias[o];
                        for (int i = 0; i < x.channels; i++) {
                            for (int a = 0; a < kernel[0]; a++) {
                                for (int b = 0; b < kernel[1]; b++) {
                                    for (int d = 0; d < kernel[2]; d++) {
                                        int frame = t * stride[0] + a - before[0];
                                        int row = r * stride[1] + b - before[1];
                                        int column = c * stride[2] + d - before[2];
                                        if (frame >= 0
                                                && frame < x.frames
                                                && row >= 0
                                                && row < x.height
                                                && column >= 0
                                                && column < x.width) {
                                            sum += w[
                                                            ((((o * x.channels) + i) * kernel[0] + a) * kernel[1] + b)
                                                                            * kernel[2]
                                                                    + d]
                                                    * x.values[
                                                            ((i * x.frames + frame) * x.height + row) * x.width
                                                                    + column];
                                        }
                                    }
                                }
                            }
                        }
                        y.values[at++] = sum;
                    }
                }
            }
        }
        return y;
    }

    /// Whether a kernel is stored with an extent in time.
    private static boolean timed(String name) {
        return name.contains("time_") || name.endsWith("quant_conv.conv");
    }

    Picture conv3(String name, Picture x, int out) {
        return conv(name, x, out, new int[] {1, 3, 3}, ones(), new int[] {0, 1, 1}, new int[] {0, 1, 1});
    }

    Picture conv1(String name, Picture x, int out) {
        return conv(name, x, out, ones(), ones(), new int[3], new int[3]);
    }

    Picture causal(String name, Picture x, int out, int[] kernel, int[] stride) {
        int side = kernel[1] / 2;
        return conv(name, x, out, kernel, stride, new int[] {2, side, side}, new int[] {0, side, side});
    }

    static int[] ones() {
        return new int[] {1, 1, 1};
    }

    static Picture swish(Picture x) {
        double[] y = x.values.clone();
        for (int i = 0; i < y.length; i++) {
            y[i] /= 1 + Math.exp(-y[i]);
        }
        return new Picture(x.channels, x.frames, x.height, x.width, y);
    }

    static Picture sum(Picture a, Picture b) {
        double[] y = a.values.clone();
        for (int i = 0; i < y.length; i++) {
            y[i] += b.values[i];
        }
        return new Picture(a.channels, a.frames, a.height, a.width, y);
    }

    Picture groupNorm(String name, Picture x) {
        double[] w = weight(name + ".weight", 1, 0.3, x.channels);
        double[] bias = weight(name + ".bias", 0, 0.2, x.channels);
        int n = x.channels / GROUPS * x.plane();
        double[] y = new double[x.values.length];
        for (int g = 0; g < GROUPS; g++) {
            double mean = 0;
            for (int i = 0; i < n; i++) {
                mean += x.values[g * n + i] / n;
            }
            double variance = 0;
            for (int i = 0; i < n; i++) {
                double d = x.values[g * n + i] - mean;
                variance += d * d / n;
            }
            for (int i = 0; i < n; i++) {
                int channel = (g * n + i) / x.plane();
                double normal = (x.values[g * n + i] - mean) / Math.sqrt(variance + GROUP_EPS);
                y[g * n + i] = normal * w[channel] + bias[channel];
            }
        }
        return new Picture(x.channels, x.frames, x.height, x.width, y);
    }

    Picture batchNorm(String name, Picture x) {
        double[] w = weight(name + ".weight", 1, 0.3, x.channels);
        double[] bias = weight(name + ".bias", 0, 0.2, x.channels);
        double[] mean = weight(name + ".running_mean", 0, 0.3, x.channels);
        double[] variance = weight(name + ".running_var", 1, 0.5, x.channels);
        double[] y = new double[x.values.length];
        for (int i = 0; i < y.length; i++) {
            int c = i / x.plane();
            y[i] = (x.values[i] - mean[c]) / Math.sqrt(variance[c] + BATCH_EPS) * w[c] + bias[c];
        }
        return new Picture(x.channels, x.frames, x.height, x.width, y);
    }

    /// What stands before convolutions; decoders of one family modulate it.
    Picture norm(String name, Picture x) {
        return groupNorm(name, x);
    }

    Picture residual(String name, Picture x, int out) {
        Picture h = conv3(name + ".conv1", swish(norm(name + ".norm1", x)), out);
        h = conv3(name + ".conv2", swish(norm(name + ".norm2", h)), out);
        return sum(x.channels == out ? x : conv1(name + ".nin_shortcut", x, out), h);
    }

    Picture attention(String name, String norm, Picture x) {
        Picture h = norm(norm, x);
        List<String> p = style.projections;
        Picture q = conv1(name + "." + p.get(0), h, x.channels);
        Picture k = conv1(name + "." + p.get(1), h, x.channels);
        Picture v = conv1(name + "." + p.get(2), h, x.channels);
        int n = x.plane();
        Picture seen = new Picture(x.channels, x.frames, x.height, x.width);
        for (int i = 0; i < n; i++) {
            double[] scores = new double[n];
            double total = 0;
            for (int j = 0; j < n; j++) {
                for (int c = 0; c < x.channels; c++) {
                    scores[j] += q.values[c * n + i] * k.values[c * n + j];
                }
                scores[j] = Math.exp(scores[j] / Math.sqrt(x.channels));
                total += scores[j];
            }
            for (int c = 0; c < x.channels; c++) {
                for (int j = 0; j < n; j++) {
                    seen.values[c * n + i] += scores[j] / total * v.values[c * n + j];
                }
            }
        }
        return sum(x, conv1(name + "." + p.get(3), seen, x.channels));
    }

    Picture show(String name, Picture x) {
        shown.put(name, x);
        return x;
    }

    /// From a picture `[3, height, width]` to what is compared with the codes.
    Picture encode(float[] picture, int height, int width) {
        double[] values = new double[picture.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = picture[i];
        }
        Picture x =
                show("encoder_conv_in", conv3("encoder.conv_in", new Picture(3, 1, height, width, values), style.stem));
        for (int level = 0; level < style.channels.length; level++) {
            String module = "encoder." + style.level.formatted(level);
            for (int j = 0; j < style.blocks; j++) {
                x = residual(module + "." + style.block + "." + j, x, style.channels[level]);
                if (style.attentionLevels.contains(level)) {
                    String attention = module + ".attn." + j;
                    x = attention(attention, style.normsBeside ? module + ".attn_norms." + j : attention + ".norm", x);
                }
            }
            if (level < style.channels.length - 1) {
                x = conv(
                        module + ".downsample.conv",
                        x,
                        x.channels,
                        new int[] {1, 3, 3},
                        new int[] {1, 2, 2},
                        new int[3],
                        new int[] {0, 1, 1});
            }
            show("encoder_level_" + level, x);
        }
        x = residual("encoder." + style.middle.get(0), x, x.channels);
        String middle = "encoder." + style.middle.get(1);
        x = attention(middle, style.normsBeside ? middle.replace("attn_1", "attn_norm") : middle + ".norm", x);
        x = show("encoder_mid", residual("encoder." + style.middle.get(2), x, x.channels));
        x = swish(groupNorm("encoder.norm_out", x));
        x = show("encoder_out", conv3("encoder.conv_out", x, style.latent));
        if (style.temporalFactor == 0) {
            return show("latent", conv1("quant_conv", x, style.width));
        }
        return show("latent", throughTime(x));
    }

    private Picture throughTime(Picture still) {
        int frames = style.temporalFactor;
        Picture x = new Picture(still.channels, frames, still.height, still.width);
        int size = still.height * still.width;
        for (int c = 0; c < still.channels; c++) {
            for (int t = 0; t < frames; t++) {
                System.arraycopy(still.values, c * size, x.values, (c * frames + t) * size, size);
            }
        }
        for (int i = 0; 1 << i < frames; i++) {
            x = swish(causal(
                    "encoder.time_conv." + i + ".conv.conv", x, x.channels, new int[] {4, 3, 3}, new int[] {2, 1, 1}));
        }
        for (int i = 0; i < style.blocks; i++) {
            String name = "encoder.time_res_stack." + i;
            int[] kernel = {3, 3, 3};
            Picture h = causal(name + ".conv1.conv", swish(batchNorm(name + ".norm1", x)), x.channels, kernel, ones());
            h = causal(name + ".conv2.conv", swish(batchNorm(name + ".norm2", h)), x.channels, kernel, ones());
            x = sum(x, h);
        }
        return causal("quant_conv.conv", x, style.width, new int[] {3, 1, 1}, ones());
    }

    /// The codes nearest to a latent picture, by the table of a fixture.
    ///
    /// @param margins receives by how much more the second nearest is away, squared
    int[] nearest(Picture latent, float[] table, List<Double> margins) {
        int pixels = latent.plane();
        int width = latent.channels;
        int[] codes = new int[pixels];
        for (int p = 0; p < pixels; p++) {
            double[] z = new double[width];
            for (int c = 0; c < width; c++) {
                z[c] = latent.values[c * pixels + p];
            }
            z = unit(z);
            double best = Double.POSITIVE_INFINITY;
            double second = Double.POSITIVE_INFINITY;
            for (int code = 0; code < table.length / width; code++) {
                double[] e = new double[width];
                for (int c = 0; c < width; c++) {
                    e[c] = table[code * width + c];
                }
                e = unit(e);
                double distance = 0;
                for (int c = 0; c < width; c++) {
                    distance += (z[c] - e[c]) * (z[c] - e[c]);
                }
                if (distance < best) {
                    second = best;
                    best = distance;
                    codes[p] = code;
                } else {
                    second = Math.min(second, distance);
                }
            }
            margins.add(second - best);
        }
        return codes;
    }

    double[] unit(double[] v) {
        if (!style.normalised) {
            return v;
        }
        double length = Math.sqrt(Arrays.stream(v).map(x -> x * x).sum());
        return Arrays.stream(v).map(x -> x / Math.max(length, 1e-12)).toArray();
    }

    /// Writes a folder with nothing but the weights that were made here.
    void write(String config, Path folder) throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter();
        weights.forEach((name, values) -> writer.addF32(name, shapes.get(name), floats(values)));
        writer.write(folder.resolve("model.safetensors"));
        Files.writeString(folder.resolve("config.json"), config);
    }

    static float[] floats(double[] values) {
        float[] floats = new float[values.length];
        for (int i = 0; i < floats.length; i++) {
            floats[i] = (float) values[i];
        }
        return floats;
    }

    /// Writes a folder with a fixture's tensors and the weights that were made here in place of those it has.
    ///
    /// @param fixture folder of `model.safetensors` and `config.json`
    void write(Path fixture, Path folder) throws IOException {
        try (SafetensorsFile file = SafetensorsFile.open(fixture.resolve("model.safetensors"))) {
            String table = "quantize.embedding.weight";
            String prefix = file.names().stream()
                    .filter(name -> name.endsWith(table))
                    .map(name -> name.substring(0, name.length() - table.length()))
                    .findFirst()
                    .orElseThrow();
            SafetensorsWriter writer = new SafetensorsWriter();
            for (String name : file.names()) {
                TensorEntry entry = file.tensor(name);
                if (!name.startsWith(prefix) || !weights.containsKey(name.substring(prefix.length()))) {
                    writer.add(name, entry.dtype(), entry.shape(), entry.data());
                }
            }
            for (String name : new ArrayList<>(weights.keySet())) {
                writer.addF32(prefix + name, shapes.get(name), floats(weights.get(name)));
            }
            writer.write(folder.resolve("model.safetensors"));
            Files.copy(fixture.resolve("config.json"), folder.resolve("config.json"));
        }
    }
}
