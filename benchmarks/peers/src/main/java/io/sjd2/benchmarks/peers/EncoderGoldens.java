package io.sjd2.benchmarks.peers;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.zip.CRC32;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/// Writes the goldens of the image tokenisers' encoders: what PyTorch's own layers make of a picture, in f64.
///
/// `benchmarks/peers/encoder-goldens.sh` runs it. The modules are written after the published ones (`Encoder` of
/// taming-transformers for Chameleon, `Encoder` of LlamaGen's `vq_model.py`, `JanusVQVAEEncoder` and
/// `Emu3VQVAEEncoder` of transformers, Emu3's frames one after the other) and at the sizes of the fixtures, whose
/// tables of codes they use. They share no line with the engine but its reader and writer of safetensors.
///
/// Weights are no file: element i of a tensor is `(float) (mean + spread * (2 * u - 1))`, u the i-th double of
/// `SplittableRandom(seed + CRC-32 of the tensor's name)`. Name, shape, mean and spread of each are in the metadata.
public final class EncoderGoldens {
    private static final long SEED = 20_240;
    private static final int HEIGHT = 12;
    private static final int WIDTH = 20;
    private static final int PICTURE_CHANNELS = 3;
    private static final int STEM = 32;
    private static final int GROUPS = 32;
    private static final double GROUP_EPS = 1e-6;
    private static final double BATCH_EPS = 1e-5;
    private static final double SHORTEST = 1e-12;
    /// Engines in f32 must find the same codes.
    private static final double CLEAR = 1e-4;

    private static final String TABLE = "quantize.embedding.weight";

    private final Map<String, String> recipe = new LinkedHashMap<>();
    private final Map<String, Tensor> layers = new LinkedHashMap<>();

    private EncoderGoldens() {}

    /// @param args the engine's folder of goldens, which is read (`vq`) and written (`encoders`)
    public static void main(String[] args) throws IOException {
        if (args.length != 1) {
            throw new IllegalArgumentException("expected one argument, the folder of goldens");
        }
        torch.set_num_threads(1);
        Path goldens = Path.of(args[0]);
        Path out = Files.createDirectories(goldens.resolve("encoders"));
        Path vq = goldens.resolve("vq");
        write(vq.resolve("chameleon/vqgan"), out.resolve("chameleon.safetensors"), false, EncoderGoldens::chameleon);
        write(vq.resolve("janus"), out.resolve("janus.safetensors"), true, EncoderGoldens::janus);
        write(vq.resolve("llamagen_t2i/vq"), out.resolve("llamagen_t2i.safetensors"), true, EncoderGoldens::llamagen);
        write(vq.resolve("emu3"), out.resolve("emu3.safetensors"), false, EncoderGoldens::emu3);
    }

    /// From a picture `[1, 3, height, width]` to what is compared with the codes, `[1, code width, height, width]`.
    private interface Encoder {
        Tensor encode(EncoderGoldens goldens, Tensor picture);
    }

    @SuppressWarnings("try") // The scope is left, not used.
    private static void write(Path fixture, Path file, boolean normalised, Encoder encoder) throws IOException {
        try (PointerScope scope = new PointerScope()) {
            EncoderGoldens goldens = new EncoderGoldens();
            double[] pixels = values("picture", 0, 1, PICTURE_CHANNELS * HEIGHT * WIDTH);
            Tensor latent = encoder.encode(goldens, tensor(pixels, 1, PICTURE_CHANNELS, HEIGHT, WIDTH));
            goldens.show("latent", latent);
            SafetensorsWriter writer = new SafetensorsWriter();
            writer.addF32("picture", new long[] {PICTURE_CHANNELS, HEIGHT, WIDTH}, floats(pixels));
            for (Map.Entry<String, Tensor> layer : goldens.layers.entrySet()) {
                writer.addF32(layer.getKey(), layer.getValue().shape(), floats(doubles(layer.getValue())));
            }
            long height = latent.size(2);
            long width = latent.size(3);
            Tensor z = latent.permute(0, 2, 3, 1).reshape(height * width, latent.size(1));
            int[] codes = nearest(z, table(fixture), normalised);
            writer.addI32("codes", new long[] {height, width}, codes);
            writer.metadata("pytorch", Loader.getVersion("org.bytedeco", "pytorch"));
            writer.metadata("java", System.getProperty("java.version"));
            writer.metadata("seed", Long.toString(SEED));
            writer.metadata("weights", String.join("\n", goldens.recipe.values()));
            writer.write(file);
        }
    }

    private static Tensor table(Path fixture) throws IOException {
        try (SafetensorsFile weights = SafetensorsFile.open(fixture.resolve("model.safetensors"))) {
            String name = weights.names().stream()
                    .filter(n -> n.endsWith(TABLE))
                    .findFirst()
                    .orElseThrow(() -> new IllegalArgumentException(fixture + " has no " + TABLE));
            float[] floats = weights.tensor(name).toFloats();
            double[] values = new double[floats.length];
            for (int i = 0; i < values.length; i++) {
                values[i] = floats[i];
            }
            return tensor(values, weights.tensor(name).shape());
        }
    }

    private static int[] nearest(Tensor z, Tensor table, boolean normalised) {
        Tensor distances = normalised ? torch.cdist(unit(z), unit(table)) : torch.cdist(z, table);
        Tensor two = distances.topk(2, 1, false, true).get0();
        double margin = two.select(1, 1).sub(two.select(1, 0)).min().item_double();
        if (margin < CLEAR) {
            throw new IllegalStateException("two codes are nearly as near, " + margin + " apart: choose another seed");
        }
        Tensor best = distances.argmin(new LongOptional(1), false).contiguous();
        LongPointer ids = new LongPointer(best.data_ptr());
        int[] codes = new int[(int) z.size(0)];
        for (int i = 0; i < codes.length; i++) {
            codes[i] = Math.toIntExact(ids.get(i));
        }
        return codes;
    }

    private static Tensor unit(Tensor rows) {
        Tensor length = rows.mul(rows).sum(1).sqrt().clamp_min(new Scalar(SHORTEST));
        return rows.div(length.unsqueeze(1));
    }

    // ----------------------------------------------------------------------------------------------------------------
    // The families
    // ----------------------------------------------------------------------------------------------------------------

    /// taming-transformers: channels 32 and 64, attention in the middle alone.
    private static Tensor chameleon(EncoderGoldens g, Tensor picture) {
        Tensor h = g.show("encoder_conv_in", g.same("encoder.conv_in", picture, STEM));
        h = g.residual("encoder.down.0.block.0", h, 32);
        h = g.show("encoder_level_0", g.halved("encoder.down.0.downsample.conv", h));
        h = g.show("encoder_level_1", g.residual("encoder.down.1.block.0", h, 64));
        h = g.residual("encoder.mid.block_1", h, 64);
        h = g.attention("encoder.mid.attn_1", h);
        h = g.show("encoder_mid", g.residual("encoder.mid.block_2", h, 64));
        h = g.show("encoder_out", g.out(h, 16));
        return g.pointwise("quant_conv", h, 16);
    }

    /// JanusVQVAEEncoder: attention behind the blocks of the lowest resolution as well.
    private static Tensor janus(EncoderGoldens g, Tensor picture) {
        Tensor h = g.show("encoder_conv_in", g.same("encoder.conv_in", picture, STEM));
        h = g.residual("encoder.down.0.block.0", h, 32);
        h = g.show("encoder_level_0", g.halved("encoder.down.0.downsample.conv", h));
        h = g.residual("encoder.down.1.block.0", h, 64);
        h = g.show("encoder_level_1", g.attention("encoder.down.1.attn.0", h));
        h = g.residual("encoder.mid.block_1", h, 64);
        h = g.attention("encoder.mid.attn_1", h);
        h = g.show("encoder_mid", g.residual("encoder.mid.block_2", h, 64));
        h = g.show("encoder_out", g.out(h, 16));
        return g.pointwise("quant_conv", h, 8);
    }

    /// LlamaGen's vq_model.py: the encoder's multipliers are its own, here [2, 1].
    private static Tensor llamagen(EncoderGoldens g, Tensor picture) {
        Tensor h = g.show("encoder_conv_in", g.same("encoder.conv_in", picture, STEM));
        h = g.residual("encoder.conv_blocks.0.res.0", h, 64);
        h = g.show("encoder_level_0", g.halved("encoder.conv_blocks.0.downsample.conv", h));
        h = g.residual("encoder.conv_blocks.1.res.0", h, 32);
        h = g.show("encoder_level_1", g.attention("encoder.conv_blocks.1.attn.0", h));
        h = g.residual("encoder.mid.0", h, 32);
        h = g.attention("encoder.mid.1", h);
        h = g.show("encoder_mid", g.residual("encoder.mid.2", h, 32));
        h = g.show("encoder_out", g.out(h, 16));
        return g.pointwise("quant_conv", h, 8);
    }

    /// Emu3VQVAEEncoder: the picture as four frames, every one through the spatial layers, then in time.
    private static Tensor emu3(EncoderGoldens g, Tensor picture) {
        int frames = 4;
        Tensor h = g.same("encoder.conv_in", picture.repeat(frames, 1, 1, 1), STEM);
        g.show("encoder_conv_in", h.narrow(0, 0, 1));
        h = g.residual("encoder.down_block.down.0.block.0", h, 64);
        h = g.halved("encoder.down_block.down.0.downsample.conv", h);
        g.show("encoder_level_0", h.narrow(0, 0, 1));
        h = g.residual("encoder.down_block.down.1.block.0", h, 32);
        h = g.linearAttention("encoder.down_block.down.1.attn.0", "encoder.down_block.down.1.attn_norms.0", h);
        g.show("encoder_level_1", h.narrow(0, 0, 1));
        h = g.residual("encoder.middle_block.block_1", h, 32);
        h = g.linearAttention("encoder.middle_block.attn_1", "encoder.middle_block.attn_norm", h);
        h = g.residual("encoder.middle_block.block_2", h, 32);
        g.show("encoder_mid", h.narrow(0, 0, 1));
        h = g.out(h, 4);
        g.show("encoder_out", h.narrow(0, 0, 1));
        // [frames, channels, height, width] to [1, channels, frames, height, width]
        h = h.permute(1, 0, 2, 3).unsqueeze(0);
        h = torch.silu(g.conv3d("encoder.time_conv.0.conv.conv", h, 4, new long[] {4, 3, 3}, new long[] {2, 1, 1}));
        h = torch.silu(g.conv3d("encoder.time_conv.1.conv.conv", h, 4, new long[] {4, 3, 3}, new long[] {2, 1, 1}));
        h = g.temporalResidual("encoder.time_res_stack.0", h);
        h = g.conv3d("quant_conv.conv", h, 4, new long[] {3, 1, 1}, new long[] {1, 1, 1});
        return h.squeeze(2);
    }

    // ----------------------------------------------------------------------------------------------------------------
    // Layers
    // ----------------------------------------------------------------------------------------------------------------

    private Tensor show(String name, Tensor x) {
        layers.put(name, x);
        return x;
    }

    private Tensor conv2d(String name, Tensor x, int out, long side, long stride, long padding) {
        Tensor w = weight(name + ".weight", 0, bound(x.size(1) * side * side), out, x.size(1), side, side);
        return torch.conv2d(
                x,
                w,
                bias(name, out),
                new long[] {stride, stride},
                new long[] {padding, padding},
                new long[] {1, 1},
                1);
    }

    private Tensor same(String name, Tensor x, int out) {
        return conv2d(name, x, out, 3, 1, 1);
    }

    private Tensor pointwise(String name, Tensor x, int out) {
        return conv2d(name, x, out, 1, 1, 0);
    }

    /// Zeros to the right and below, then every second pixel.
    private Tensor halved(String name, Tensor x) {
        return conv2d(name, torch.constant_pad_nd(x, 0, 1, 0, 1), (int) x.size(1), 3, 2, 0);
    }

    /// Emu3VQVAEConv3d: two zero frames in front.
    private Tensor conv3d(String name, Tensor x, int out, long[] kernel, long[] stride) {
        long side = kernel[1] / 2;
        Tensor padded = torch.constant_pad_nd(x, side, side, side, side, 2, 0);
        // Activated twice and more, the few channels would all end up beside the same codes.
        double spread = 1.5 * bound(x.size(1) * kernel[0] * kernel[1] * kernel[2]);
        Tensor w = weight(name + ".weight", 0, spread, out, x.size(1), kernel[0], kernel[1], kernel[2]);
        return torch.conv3d(padded, w, bias(name, out), stride, new long[] {0, 0, 0}, new long[] {1, 1, 1}, 1);
    }

    private Tensor norm(String name, Tensor x) {
        long channels = x.size(1);
        Tensor w = weight(name + ".weight", 1, 0.3, channels);
        Tensor b = weight(name + ".bias", 0, 0.2, channels);
        return torch.group_norm(x, GROUPS, new TensorOptional(w), new TensorOptional(b), GROUP_EPS, false);
    }

    private Tensor residual(String name, Tensor x, int out) {
        Tensor h = same(name + ".conv1", torch.silu(norm(name + ".norm1", x)), out);
        h = same(name + ".conv2", torch.silu(norm(name + ".norm2", h)), out);
        return (x.size(1) == out ? x : pointwise(name + ".nin_shortcut", x, out)).add(h);
    }

    private Tensor out(Tensor x, int channels) {
        return same("encoder.conv_out", torch.silu(norm("encoder.norm_out", x)), channels);
    }

    /// AttnBlock: 1x1 convolutions, one head over all positions.
    private Tensor attention(String name, Tensor x) {
        int channels = (int) x.size(1);
        Tensor h = norm(name + ".norm", x);
        long positions = x.size(2) * x.size(3);
        Tensor q = pointwise(name + ".q", h, channels)
                .reshape(1, channels, positions)
                .permute(0, 2, 1);
        Tensor k = pointwise(name + ".k", h, channels).reshape(1, channels, positions);
        Tensor v = pointwise(name + ".v", h, channels).reshape(1, channels, positions);
        Tensor w = torch.softmax(torch.bmm(q, k).mul(new Scalar(1 / Math.sqrt(channels))), 2);
        Tensor seen = torch.bmm(v, w.permute(0, 2, 1)).reshape(1, channels, x.size(2), x.size(3));
        return x.add(pointwise(name + ".proj_out", seen, channels));
    }

    /// Emu3VQVAEAttentionBlock: linear layers on [frames, positions, channels].
    private Tensor linearAttention(String name, String norm, Tensor x) {
        long channels = x.size(1);
        Tensor rows = norm(norm, x)
                .reshape(x.size(0), channels, x.size(2) * x.size(3))
                .transpose(1, 2);
        Tensor q = linear(name + ".q_proj", rows);
        Tensor k = linear(name + ".k_proj", rows);
        Tensor v = linear(name + ".v_proj", rows);
        Tensor w = torch.softmax(torch.bmm(q.mul(new Scalar(1 / Math.sqrt(channels))), k.transpose(1, 2)), 2);
        Tensor seen = linear(name + ".out_proj", torch.bmm(w, v));
        return x.add(seen.transpose(1, 2).reshape(x.size(0), channels, x.size(2), x.size(3)));
    }

    private Tensor linear(String name, Tensor rows) {
        long width = rows.size(2);
        Tensor w = weight(name + ".weight", 0, bound(width), width, width);
        return torch.linear(rows, w, bias(name, width));
    }

    /// Emu3VQVAETemporalResnetBlock.
    private Tensor temporalResidual(String name, Tensor x) {
        long[] kernel = {3, 3, 3};
        long[] stride = {1, 1, 1};
        int channels = (int) x.size(1);
        Tensor h = conv3d(name + ".conv1.conv", torch.silu(batchNorm(name + ".norm1", x)), channels, kernel, stride);
        return x.add(conv3d(name + ".conv2.conv", torch.silu(batchNorm(name + ".norm2", h)), channels, kernel, stride));
    }

    private Tensor batchNorm(String name, Tensor x) {
        long channels = x.size(1);
        return torch.batch_norm(
                x,
                new TensorOptional(weight(name + ".weight", 1, 0.3, channels)),
                new TensorOptional(weight(name + ".bias", 0, 0.2, channels)),
                new TensorOptional(weight(name + ".running_mean", 0, 0.3, channels)),
                new TensorOptional(weight(name + ".running_var", 1, 0.5, channels)),
                false,
                0,
                BATCH_EPS,
                false);
    }

    // ----------------------------------------------------------------------------------------------------------------
    // Weights and numbers
    // ----------------------------------------------------------------------------------------------------------------

    /// Keeps the size of what passes a layer of so many inputs.
    private static double bound(long fan) {
        return Math.sqrt(3.0 / fan);
    }

    private TensorOptional bias(String layer, long out) {
        return new TensorOptional(weight(layer + ".bias", 0, 0.1, out));
    }

    private Tensor weight(String name, double mean, double spread, long... shape) {
        String extents =
                String.join(",", Arrays.stream(shape).mapToObj(Long::toString).toList());
        if (recipe.put(name, name + " " + extents + " " + mean + " " + spread) != null) {
            throw new IllegalStateException(name + " is used twice");
        }
        return tensor(
                values(name, mean, spread, Math.toIntExact(Arrays.stream(shape).reduce(1, (a, b) -> a * b))), shape);
    }

    private static double[] values(String name, double mean, double spread, int n) {
        CRC32 hash = new CRC32();
        hash.update(name.getBytes(StandardCharsets.UTF_8));
        SplittableRandom random = new SplittableRandom(SEED + hash.getValue());
        double[] values = new double[n];
        for (int i = 0; i < n; i++) {
            values[i] = (float) (mean + spread * (2 * random.nextDouble() - 1));
        }
        return values;
    }

    private static Tensor tensor(double[] values, long... shape) {
        return Tensor.create(values, shape);
    }

    private static double[] doubles(Tensor tensor) {
        Tensor dense = tensor.to(ScalarType.Double).contiguous();
        double[] values = new double[Math.toIntExact(dense.numel())];
        new DoublePointer(dense.data_ptr()).capacity(values.length).get(values);
        return values;
    }

    private static float[] floats(double[] values) {
        float[] out = new float[values.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = (float) values[i];
        }
        return out;
    }
}
