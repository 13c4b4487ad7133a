package io.sjd2.vq;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Convolution;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.vq.VqLayers.Attention;
import io.sjd2.vq.VqLayers.Conv;
import io.sjd2.vq.VqLayers.Norm;
import io.sjd2.vq.VqLayers.Residual;
import io.sjd2.vq.VqLayers.Temporal;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.CancellationException;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/// One run of a network over a picture: the blocks that encoders and decoders are made of, over {@link VqBuffers}.
///
/// A pass without a backend computes nothing and counts what it would have computed.
final class VqPass {
    /// A picture between two layers.
    ///
    /// @param data    `[n, frames, height, width, channels]` f32; not to be touched while counting
    /// @param moments `[n, 2, channels]` f32: mean and variance of each channel; null where nobody asked
    record Picture(
            int n,
            int frames,
            int height,
            int width,
            int channels,
            @Nullable Tensor data,
            @Nullable Tensor moments) {}

    private static final long MEGA = 1_000_000;

    private final @Nullable Backend backend;
    private final @Nullable VqBuffers buffers;
    private final @Nullable Arena arena;
    private final DType dtype;
    private final VqListener listener;
    private final long total;
    private long done;
    /// What modulates norms; null in families that have no such thing.
    private @Nullable Picture modulator;
    /// How it is read: activated on the way where that is still to be done.
    private Convolution modulating = Convolution.same(1);
    /// For tests: sees named pictures on their way.
    private final @Nullable BiConsumer<String, float[]> probe;

    private VqPass(
            @Nullable Backend backend,
            @Nullable VqBuffers buffers,
            @Nullable Arena arena,
            DType dtype,
            VqListener listener,
            long total,
            @Nullable BiConsumer<String, float[]> probe) {
        this.backend = backend;
        this.buffers = buffers;
        this.arena = arena;
        this.dtype = dtype;
        this.listener = listener;
        this.total = total;
        this.probe = probe;
    }

    /// A pass that counts.
    ///
    /// @param plan sees what memory would be taken and given
    static VqPass counting(VqBuffers plan) {
        return new VqPass(null, plan, null, DType.F32, VqListener.NONE, 0, null);
    }

    /// @param arena  owns statistics; ends with the pass
    /// @param total  FLOP of the whole pass, for the listener
    static VqPass over(
            Backend backend,
            VqBuffers buffers,
            Arena arena,
            DType dtype,
            VqListener listener,
            long total,
            @Nullable BiConsumer<String, float[]> probe) {
        return new VqPass(backend, buffers, arena, dtype, listener, total, probe);
    }

    /// FLOP so far.
    long done() {
        return done;
    }

    /// @param activate whether the picture is still to be activated
    void modulateBy(Picture picture, boolean activate) {
        this.modulator = picture;
        this.modulating = activate ? Convolution.same(1).activated() : Convolution.same(1);
    }

    /// Lets a test see a picture.
    void show(String name, Picture picture) {
        if (probe != null && backend != null && picture.data() != null) {
            float[] values = new float[(int) picture.data().elements()];
            backend.download(MemorySegment.ofArray(values), picture.data());
            probe.accept(name, values);
        }
    }

    /// A picture over memory of its own; whoever holds it gives it back.
    Picture take(int n, int frames, int height, int width, int channels) {
        Tensor data = buffers == null ? null : buffers.take(n, frames, height, width, channels);
        return new Picture(n, frames, height, width, channels, data, null);
    }

    void give(Picture picture) {
        if (buffers != null) {
            buffers.give(picture.data());
        }
    }

    /// `how` over `x`, normalised by `norm` where it is given.
    ///
    /// @param into    what is added to and returned; null makes a new picture
    /// @param moments whether the next layer will want them
    Picture conv(
            Conv conv,
            Convolution how,
            Picture x,
            @Nullable Tensor norm,
            @Nullable Tensor map,
            @Nullable Picture into,
            boolean moments) {
        checkCancelled();
        Picture out = into;
        if (out == null) {
            out = take(
                    x.n,
                    (x.frames * how.enlargeFrames() + how.padFrames() - how.kernelFrames()) / how.strideFrames() + 1,
                    x.height * how.enlargeSpace() / how.strideHeight(),
                    x.width * how.enlargeSpace() / how.strideWidth(),
                    conv.out());
        }
        Tensor statistics = null;
        if (backend != null && out.data != null && x.data != null) {
            statistics = moments ? backend.allocate(arena, DType.F32, x.n, 2, conv.out()) : null;
            backend.kernels().conv(out.data, statistics, x.data, norm, map, conv.w(), conv.bias(), how);
        }
        advance(2L * out.n * out.frames * out.height * out.width * conv.out() * conv.in() * conv.taps());
        return new Picture(out.n, out.frames, out.height, out.width, out.channels, out.data, statistics);
    }

    private void advance(long flop) {
        done += flop;
        if (backend != null) {
            listener.advanced(Math.min(done, total), total);
        }
    }

    /// Stops here if the listener wants it.
    private void checkCancelled() {
        if (backend != null && listener.cancelled()) {
            throw new CancellationException(
                    "cancelled at " + done / MEGA + " of " + total / MEGA + " MFLOP of a picture");
        }
    }

    /// `how` over `x` behind a group norm.
    Picture normed(Norm norm, Conv conv, Convolution how, Picture x, @Nullable Picture into, boolean moments) {
        Tensor statistics = null;
        Tensor map = null;
        Picture modulation = null;
        if (norm.modulation() != null && modulator != null) {
            modulation = conv(norm.modulation(), modulating, modulator, null, null, null, false);
            if (modulation.data != null) {
                map = modulation.data.view(modulation.n, modulation.height, modulation.width, modulation.channels);
            }
        }
        if (backend != null) {
            statistics = backend.allocate(arena, DType.F32, x.n, 3, x.channels);
            backend.kernels()
                    .groupNorm(statistics, x.moments, norm.weight(), norm.bias(), VqConfig.GROUPS, VqConfig.GROUP_EPS);
        }
        Picture out = conv(conv, how, x, statistics, map, into, moments);
        if (modulation != null) {
            give(modulation);
        }
        return out;
    }

    /// Takes `x` over: it is changed or given back.
    Picture residual(Residual r, Picture x) {
        Picture inner = normed(r.norm1(), r.conv1(), Convolution.same(3).activated(), x, null, true);
        Picture base = x;
        if (r.shortcut() != null) {
            base = conv(r.shortcut(), Convolution.same(r.shortcut().taps() == 1 ? 1 : 3), x, null, null, null, false);
            give(x);
        }
        Picture out =
                normed(r.norm2(), r.conv2(), Convolution.same(3).activated().added(), inner, base, true);
        give(inner);
        return out;
    }

    /// Takes `x` over: it is changed.
    Picture attention(Attention a, Picture x) {
        Picture qkv = normed(a.norm(), a.qkv(), Convolution.same(1), x, null, false);
        checkCancelled();
        Picture seen = take(x.n, x.frames, x.height, x.width, x.channels);
        long positions = (long) x.height * x.width;
        if (backend != null && seen.data != null && qkv.data != null) {
            backend.kernels()
                    .vqAttention(
                            seen.data.view(x.n, positions, x.channels),
                            qkv.data.view(x.n, positions, 3L * x.channels),
                            dtype,
                            (float) (1 / Math.sqrt(x.channels)));
        }
        advance(4L * x.n * positions * positions * x.channels);
        give(qkv);
        Picture out = conv(a.out(), Convolution.same(1).added(), seen, null, null, x, true);
        give(seen);
        return out;
    }

    /// Takes `x` over: it is changed or given back.
    Picture temporal(Temporal t, Picture x) {
        Convolution causal = Convolution.causal(3, 3, 1, 1).activated();
        Picture inner = conv(t.conv1(), causal, x, repeated(t.norm1(), x.n), null, null, false);
        Picture base = x;
        if (t.shortcut() != null) {
            base = conv(t.shortcut(), Convolution.same(1), x, null, null, null, false);
            give(x);
        }
        Picture out = conv(t.conv2(), causal.added(), inner, repeated(t.norm2(), x.n), null, base, false);
        give(inner);
        return out;
    }

    /// `x * sigmoid(x)` in place, on the host: for latent pictures of a few channels.
    void activate(Picture x) {
        if (backend == null || x.data == null) {
            return;
        }
        float[] values = new float[(int) x.data.elements()];
        backend.download(MemorySegment.ofArray(values), x.data);
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (values[i] / (1 + Math.exp(-(double) values[i])));
        }
        backend.upload(x.data, MemorySegment.ofArray(values));
    }

    /// The same picture again in another's memory.
    void copy(Tensor to, Tensor from) {
        if (backend != null) {
            backend.kernels().convert(to, from);
        }
    }

    /// `[3, channels]` for every picture of a batch.
    private @Nullable Tensor repeated(Tensor norm, int n) {
        if (backend == null) {
            return null;
        }
        float[] one = new float[(int) norm.elements()];
        backend.download(MemorySegment.ofArray(one), norm);
        float[] all = new float[n * one.length];
        for (int i = 0; i < n; i++) {
            System.arraycopy(one, 0, all, i * one.length, one.length);
        }
        Tensor tensor = backend.allocate(arena, DType.F32, n, 3, norm.dim(1));
        backend.upload(tensor, MemorySegment.ofArray(all));
        return tensor;
    }
}
