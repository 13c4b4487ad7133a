package io.sjd2.vq;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Loads layers of an image tokeniser: finds them under the names that the different publications have, checks shapes
/// and packs weights.
///
/// A module is a list of names that it may have; the first under which a tensor exists is taken.
final class VqLayers {
    /// A convolution's packed weights.
    ///
    /// @param w    packed `[out, in, taps]`
    /// @param bias `[out]` f32, or null
    record Conv(Tensor w, @Nullable Tensor bias, int out, int in, int taps) {}

    /// A group norm, and where its result is modulated by the codes' picture, the convolution that makes factors and
    /// offsets of that.
    ///
    /// @param weight `[channels]` f32; `bias` alike
    record Norm(Tensor weight, Tensor bias, @Nullable Conv modulation) {}

    /// `x' + conv2(swish(norm2(conv1(swish(norm1(x))))))`; x' passes `shortcut` where the number of channels changes.
    record Residual(
            Norm norm1,
            Conv conv1,
            Norm norm2,
            Conv conv2,
            @Nullable Conv shortcut) {}

    /// `x + out(attention(qkv(norm(x))))`.
    record Attention(Norm norm, Conv qkv, Conv out) {}

    /// A residual block in time whose norms have fixed statistics.
    ///
    /// @param norm1 `[3, channels]` f32: mean, factor, offset
    record Temporal(
            Tensor norm1,
            Conv conv1,
            Tensor norm2,
            Conv conv2,
            @Nullable Conv shortcut) {}

    private final WeightSource source;
    private final String prefix;
    private final Backend backend;
    private final Arena arena;
    private final DType dtype;
    private final int modulationChannels;
    private long bytes;

    /// @param arena               owns what is packed
    /// @param dtype               of the weights that pictures are multiplied with: f32 or bf16
    /// @param modulationChannels  channels of what modulates norms, or 0 where nothing does
    VqLayers(WeightSource source, String prefix, Backend backend, Arena arena, DType dtype, int modulationChannels) {
        this.source = source;
        this.prefix = prefix;
        this.backend = backend;
        this.arena = arena;
        this.dtype = dtype;
        this.modulationChannels = modulationChannels;
    }

    /// Every name of a parent with every name of a child.
    static List<String> join(List<String> parents, String... children) {
        List<String> out = new ArrayList<>();
        for (String parent : parents) {
            for (String child : children) {
                out.add(parent.isEmpty() ? child : parent + "." + child);
            }
        }
        return out;
    }

    /// Bytes packed so far.
    long bytes() {
        return bytes;
    }

    /// Whether a tensor of this module exists.
    boolean has(List<String> module, String tensor) {
        return module.stream().anyMatch(name -> source.has(prefix + name + "." + tensor));
    }

    private String find(List<String> module, String tensor) throws ModelFormatException {
        for (String name : module) {
            String full = prefix + name + "." + tensor;
            if (source.has(full)) {
                return full;
            }
        }
        throw new ModelFormatException(
                source.source(),
                "has no tensor \"" + prefix + module.getFirst() + "." + tensor + "\""
                        + (module.size() > 1 ? " under any of its " + module.size() + " names" : ""),
                "the weights do not fit the configuration");
    }

    private TensorEntry read(List<String> module, String tensor, Arena stage, long... shape) throws IOException {
        String name = find(module, tensor);
        TensorEntry entry = source.read(name, stage, shape);
        long bad = entry.firstNonFinite();
        if (bad >= 0) {
            throw new ModelFormatException(
                    source.source(),
                    "tensor " + entry + " holds a number that is not finite at element " + bad,
                    "the file is damaged, fetch it again");
        }
        return entry;
    }

    private ModelFormatException wrongShape(TensorEntry entry, String expected) {
        return new ModelFormatException(
                source.source(),
                "tensor " + entry + " should be " + expected,
                "the weights do not fit the configuration");
    }

    /// `[n]` as f32, on the host.
    float[] values(List<String> module, String tensor, int... shape) throws IOException {
        try (Arena stage = Arena.ofShared()) {
            long[] expected = Arrays.stream(shape).asLongStream().toArray();
            TensorEntry entry = read(module, tensor, stage, expected);
            if (!Arrays.equals(entry.shape(), expected)) {
                throw wrongShape(entry, Arrays.toString(expected));
            }
            return floats(entry);
        }
    }

    private float[] floats(TensorEntry entry) throws ModelFormatException {
        try {
            return entry.toFloats();
        } catch (UnsupportedOperationException e) {
            throw new ModelFormatException(
                    source.source(), "tensor " + entry + " holds no floating-point numbers", "fetch it again", e);
        }
    }

    Tensor uploaded(float[] values, long... shape) {
        Tensor tensor = backend.allocate(arena, DType.F32, shape);
        backend.upload(tensor, MemorySegment.ofArray(values));
        bytes += tensor.bytes();
        return tensor;
    }

    Tensor vector(List<String> module, String tensor, int n) throws IOException {
        return uploaded(values(module, tensor, n), n);
    }

    /// A convolution of `taps`, its kernel `[out, in, ...taps]`; a linear layer counts as one of a single tap.
    Conv conv(List<String> module, int out, int in, int... taps) throws IOException {
        return fused(dtype, List.of(module), out, in, taps);
    }

    /// As {@link #conv}, in f32 whatever the dtype of the others: for layers that cost nothing.
    Conv exact(List<String> module, int out, int in, int... taps) throws IOException {
        return fused(DType.F32, List.of(module), out, in, taps);
    }

    /// Several convolutions of one input side by side, `each` outputs a part.
    private Conv fused(DType type, List<List<String>> modules, int each, int in, int... taps) throws IOException {
        int count = Arrays.stream(taps).reduce(1, (a, b) -> a * b);
        int out = each * modules.size();
        Tensor packed = null;
        float[] bias = new float[out];
        boolean biased = false;
        for (int part = 0; part < modules.size(); part++) {
            List<String> module = modules.get(part);
            try (Arena stage = Arena.ofShared()) {
                long[] shape = new long[2 + taps.length];
                shape[0] = each;
                shape[1] = in;
                for (int t = 0; t < taps.length; t++) {
                    shape[2 + t] = taps[t];
                }
                TensorEntry entry = read(module, "weight", stage, shape);
                boolean fits = entry.shape().length >= 2 && entry.shape()[0] == each && entry.shape()[1] == in;
                int axes = entry.shape().length;
                long[] rest = Arrays.copyOfRange(entry.shape(), Math.min(2, axes), axes);
                long[] expected = Arrays.stream(taps).asLongStream().toArray();
                // Single taps may be left out: a linear layer is a convolution of one.
                boolean tapsFit = Arrays.equals(rest, expected)
                        || (count == 1 && Arrays.stream(rest).allMatch(extent -> extent == 1));
                if (!fits || !tapsFit) {
                    throw wrongShape(entry, "[" + each + ", " + in + "] with taps " + Arrays.toString(taps));
                }
                if (packed == null) {
                    // Not before the file has shown that it holds so much: a configuration may ask for anything.
                    packed = backend.allocate(arena, type, backend.kernels().packedConvElements(out, in, count, type));
                    bytes += packed.bytes();
                }
                float[] values = floats(entry);
                Tensor staged = backend.allocate(stage, DType.F32, each, in, count);
                backend.upload(staged, MemorySegment.ofArray(values));
                backend.kernels().packConv(packed, staged, (long) part * each, out);
                backend.synchronize();
            }
            if (has(module, "bias")) {
                biased = true;
                System.arraycopy(values(module, "bias", each), 0, bias, part * each, each);
            }
        }
        if (packed == null) {
            throw new AssertionError("a convolution of no modules");
        }
        return new Conv(packed, biased ? uploaded(bias, out) : null, out, in, count);
    }

    Norm norm(List<String> module, int channels) throws IOException {
        if (modulationChannels == 0) {
            return new Norm(vector(module, "weight", channels), vector(module, "bias", channels), null);
        }
        return new Norm(
                vector(join(module, "norm_layer"), "weight", channels),
                vector(join(module, "norm_layer"), "bias", channels),
                fused(
                        DType.F32,
                        List.of(join(module, "conv_y"), join(module, "conv_b")),
                        channels,
                        modulationChannels,
                        1,
                        1));
    }

    Residual residual(List<String> module, int in, int out) throws IOException {
        return new Residual(
                norm(join(module, "norm1"), in),
                conv(join(module, "conv1"), out, in, 3, 3),
                norm(join(module, "norm2"), out),
                conv(join(module, "conv2"), out, out, 3, 3),
                in == out
                        ? null
                        : has(join(module, "conv_shortcut"), "weight")
                                ? conv(join(module, "conv_shortcut"), out, in, 3, 3)
                                : conv(join(module, "nin_shortcut"), out, in, 1, 1));
    }

    Attention attention(List<String> module, List<String> norm, int channels) throws IOException {
        return new Attention(
                norm(norm, channels),
                fused(
                        dtype,
                        List.of(join(module, "q", "q_proj"), join(module, "k", "k_proj"), join(module, "v", "v_proj")),
                        channels,
                        channels,
                        1,
                        1),
                conv(join(module, "proj_out", "out_proj"), channels, channels, 1, 1));
    }

    Temporal temporal(List<String> module, int in, int out) throws IOException {
        return new Temporal(
                statistics(join(module, "norm1"), in),
                exact(join(module, "conv1.conv"), out, in, 3, 3, 3),
                statistics(join(module, "norm2"), out),
                exact(join(module, "conv2.conv"), out, out, 3, 3, 3),
                in == out ? null : exact(join(module, "nin_shortcut"), out, in, 1, 1, 1));
    }

    /// A batch norm in the form that conv takes.
    private Tensor statistics(List<String> module, int channels) throws IOException {
        float[] mean = values(module, "running_mean", channels);
        float[] variance = values(module, "running_var", channels);
        float[] weight = values(module, "weight", channels);
        float[] bias = values(module, "bias", channels);
        float[] norm = new float[3 * channels];
        for (int c = 0; c < channels; c++) {
            norm[c] = mean[c];
            norm[channels + c] = (float) (weight[c] / Math.sqrt((double) variance[c] + VqConfig.BATCH_EPS));
            norm[2 * channels + c] = bias[c];
        }
        return uploaded(norm, 3, channels);
    }
}
