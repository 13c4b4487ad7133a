package io.sjd2.kernel.ffm;

import static io.sjd2.kernel.KernelArguments.batch;
import static io.sjd2.kernel.KernelArguments.window;

import io.sjd2.kernel.Convolution;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.KernelArguments;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.PictureArguments;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.Objects;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// The operations of inference in a native library: checks, one downcall each, and nothing allocated unless one fails.
///
/// Confined to the thread that uses the stream. `-Dsjd2.sync=true` waits after every operation, so that a failure is
/// reported by the one that caused it.
public class NativeKernels implements Kernels {
    private static final boolean SYNC = Boolean.getBoolean("sjd2.sync");

    private static final MethodHandle PACKED_ELEMENTS = Downcalls.status("PJJI");
    private static final MethodHandle PACK_WEIGHTS = Downcalls.status("PPPJJJJII");
    private static final MethodHandle CONVERT = Downcalls.status("PPPJII");
    private static final MethodHandle EMBED = Downcalls.status("PPPPJJJ");
    private static final MethodHandle SEQUENCE_INPUT = Downcalls.status("PPPPPPPPJJJJJJ");
    private static final MethodHandle RMS_NORM = Downcalls.status("PPPPPJJJF");
    private static final MethodHandle ROUND = Downcalls.status("PPPPJJJ");
    private static final MethodHandle MATMUL = Downcalls.status("PPPPPPJJJJI");
    private static final MethodHandle ROPE_APPEND = Downcalls.status("PPPPPPPPPPPJJJJJJJJJIF");
    private static final MethodHandle ATTENTION = Downcalls.status("PPPPPPJJJJJJF");
    private static final MethodHandle GELU = Downcalls.status("PPPPJJJI");
    private static final MethodHandle WINDOW_INPUT = Downcalls.status("PPPPPPPPPPPPPPJJJJJJJ");
    private static final MethodHandle TARGET_PROBS = Downcalls.status("PPPPPJJJJ");
    private static final MethodHandle VERIFY = Downcalls.status("PPPPPPPJJJJJ");
    private static final MethodHandle VERIFY_GIVEN = Downcalls.status("PPPPPPPFJJ");
    private static final MethodHandle DRAW_GIVEN = Downcalls.status("PPPPJJ");
    private static final MethodHandle PACKED_CONV_ELEMENTS = Downcalls.status("PJJJI");
    private static final MethodHandle PACK_CONV = Downcalls.status("PPPJJJJJII");
    private static final MethodHandle CONV = Downcalls.status("PPPPPPPPP");
    private static final MethodHandle GROUP_NORM = Downcalls.status("PPPPPJJJF");
    private static final MethodHandle VQ_ATTENTION = Downcalls.status("PPPJJJF");
    private static final MethodHandle PHILOX = Downcalls.status("PPIIIIIJ");

    private final NativeLibrary library;
    private final NativeStream stream;
    private final String backend;
    private final MemorySegment packedCount;

    /// `sjd2_conv_shape`: nine int64, then fifteen int32 and what aligns them.
    private final MemorySegment convShape;

    private final MemorySegment packedElements;
    private final MemorySegment packWeights;
    private final MemorySegment convert;
    private final MemorySegment embedF32;
    private final MemorySegment embedBf16;
    private final MemorySegment sequenceInput;
    private final MemorySegment rmsNormF32;
    private final MemorySegment rmsNormBf16;
    private final MemorySegment rmsNormAdd;
    private final MemorySegment roundF32;
    private final MemorySegment roundBf16;
    private final MemorySegment matmulF32;
    private final MemorySegment matmulBf16;
    private final MemorySegment ropeAppendF32;
    private final MemorySegment ropeAppendBf16;
    private final MemorySegment attentionF32;
    private final MemorySegment attentionBf16;
    private final MemorySegment swigluF32;
    private final MemorySegment swigluBf16;
    private final MemorySegment geluF32;
    private final MemorySegment geluBf16;
    private final MemorySegment windowInputF32;
    private final MemorySegment windowInputBf16;
    private final MemorySegment targetProbs;
    private final MemorySegment verify;
    private final MemorySegment verifyGiven;
    private final MemorySegment drawGiven;
    private final MemorySegment logLikelihood;
    private final MemorySegment philoxWords;
    private final MemorySegment philoxNormals;
    private final MemorySegment packedConvElements;
    private final MemorySegment packConv;
    private final MemorySegment convF32;
    private final MemorySegment convBf16;
    private final MemorySegment groupNorm;
    private final MemorySegment vqAttentionF32;
    private final MemorySegment vqAttentionBf16;

    /// Resolves every symbol at once, so that an incomplete library is found when it is opened.
    ///
    /// @param stream   of the library to bind; belongs to the backend
    /// @param backend  its name, for messages
    /// @param owner    frees the few bytes that these kernels keep; the backend's
    /// @throws KernelException if the library lacks an operation
    public NativeKernels(NativeStream stream, String backend, Arena owner) {
        this.stream = stream;
        this.library = stream.library();
        this.backend = backend;
        this.packedCount = owner.allocate(ValueLayout.JAVA_LONG);
        this.convShape = owner.allocate(9 * 8 + 16 * 4, 8);
        this.packedElements = library.symbol("sjd2_packed_elements");
        this.packWeights = library.symbol("sjd2_pack_weights");
        this.convert = library.symbol("sjd2_convert");
        this.embedF32 = library.symbol("sjd2_embed_f32");
        this.embedBf16 = library.symbol("sjd2_embed_bf16");
        this.sequenceInput = library.symbol("sjd2_sequence_input_f32");
        this.rmsNormF32 = library.symbol("sjd2_rms_norm_f32");
        this.rmsNormBf16 = library.symbol("sjd2_rms_norm_bf16");
        this.rmsNormAdd = library.symbol("sjd2_rms_norm_add_f32");
        this.roundF32 = library.symbol("sjd2_round_f32");
        this.roundBf16 = library.symbol("sjd2_round_bf16");
        this.matmulF32 = library.symbol("sjd2_matmul_f32");
        this.matmulBf16 = library.symbol("sjd2_matmul_bf16");
        this.ropeAppendF32 = library.symbol("sjd2_rope_append_f32");
        this.ropeAppendBf16 = library.symbol("sjd2_rope_append_bf16");
        this.attentionF32 = library.symbol("sjd2_attention_f32");
        this.attentionBf16 = library.symbol("sjd2_attention_bf16");
        this.swigluF32 = library.symbol("sjd2_swiglu_f32");
        this.swigluBf16 = library.symbol("sjd2_swiglu_bf16");
        this.geluF32 = library.symbol("sjd2_gelu_f32");
        this.geluBf16 = library.symbol("sjd2_gelu_bf16");
        this.windowInputF32 = library.symbol("sjd2_window_input_f32");
        this.windowInputBf16 = library.symbol("sjd2_window_input_bf16");
        this.targetProbs = library.symbol("sjd2_target_probs_f32");
        this.verify = library.symbol("sjd2_verify_f32");
        this.verifyGiven = library.symbol("sjd2_verify_given_f32");
        this.drawGiven = library.symbol("sjd2_draw_given_f32");
        this.logLikelihood = library.symbol("sjd2_log_likelihood_f32");
        this.philoxWords = library.symbol("sjd2_philox_words");
        this.philoxNormals = library.symbol("sjd2_philox_normals_f32");
        this.packedConvElements = library.symbol("sjd2_packed_conv_elements");
        this.packConv = library.symbol("sjd2_pack_conv");
        this.convF32 = library.symbol("sjd2_conv_f32");
        this.convBf16 = library.symbol("sjd2_conv_bf16");
        this.groupNorm = library.symbol("sjd2_group_norm_f32");
        this.vqAttentionF32 = library.symbol("sjd2_vq_attention_f32");
        this.vqAttentionBf16 = library.symbol("sjd2_vq_attention_bf16");
    }

    @Override
    public long packedElements(long nOut, long nIn, DType dtype) {
        KernelArguments.packedElements(nOut, nIn, dtype);
        int status;
        try {
            status = (int) PACKED_ELEMENTS.invokeExact(packedElements, packedCount, nOut, nIn, dtype.code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0) {
            throw failure(status, "packedElements", nOut, nIn, dtype);
        }
        return packedCount.get(ValueLayout.JAVA_LONG, 0);
    }

    @Override
    public void packWeights(Tensor dst, Tensor src, long firstRow, long nOut) {
        long nIn = src.dim(-1);
        KernelArguments.packWeights(dst, src, firstRow, nOut, packedElements(nOut, nIn, dst.dtype()));
        int status;
        try {
            status = (int) PACK_WEIGHTS.invokeExact(
                    packWeights,
                    stream.handle(),
                    dst.data(),
                    src.data(),
                    firstRow,
                    src.dim(0),
                    nOut,
                    nIn,
                    dst.dtype().code(),
                    src.dtype().code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "packWeights", dst, src, firstRow, nOut);
        }
    }

    @Override
    public void convert(Tensor dst, Tensor src) {
        KernelArguments.convert(dst, src);
        int status;
        try {
            status = (int) CONVERT.invokeExact(
                    convert,
                    stream.handle(),
                    dst.data(),
                    src.data(),
                    src.elements(),
                    dst.dtype().code(),
                    src.dtype().code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "convert", dst, src);
        }
    }

    @Override
    public void embed(Tensor out, Tensor table, Tensor ids) {
        KernelArguments.embed(out, table, ids);
        int status;
        try {
            status = (int) EMBED.invokeExact(
                    byDtype(table, embedF32, embedBf16),
                    stream.handle(),
                    out.data(),
                    table.data(),
                    ids.data(),
                    ids.dim(0),
                    table.dim(0),
                    table.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "embed", out, table, ids);
        }
    }

    @Override
    public void sequenceInput(
            Tensor x,
            Tensor windowInput,
            Tensor lastPrompt,
            @Nullable Tensor rowEmbed,
            @Nullable Tensor columnEmbed,
            StateBlock state) {
        KernelArguments.sequenceInput(x, windowInput, lastPrompt, rowEmbed, columnEmbed, state);
        int status;
        try {
            status = (int) SEQUENCE_INPUT.invokeExact(
                    sequenceInput,
                    stream.handle(),
                    x.data(),
                    windowInput.data(),
                    lastPrompt.data(),
                    data(rowEmbed),
                    data(columnEmbed),
                    state.sequences().data(),
                    state.imageStates().data(),
                    (long) state.batch(),
                    (long) state.images(),
                    (long) state.maxWindow(),
                    x.dim(2),
                    rowEmbed == null ? 0L : rowEmbed.dim(0),
                    columnEmbed == null ? 0L : columnEmbed.dim(0));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "sequenceInput", x, windowInput, lastPrompt, rowEmbed, columnEmbed);
        }
    }

    @Override
    public void rmsNorm(Tensor out, Tensor x, Tensor weight, @Nullable StateBlock state, float eps) {
        KernelArguments.rmsNorm(out, x, weight, state, eps);
        normalise(byDtype(out, rmsNormF32, rmsNormBf16), "rmsNorm", out, x, weight, state, eps);
    }

    @Override
    public void rmsNormAdd(Tensor x, Tensor delta, Tensor weight, @Nullable StateBlock state, float eps) {
        KernelArguments.rmsNormAdd(x, delta, weight, state, eps);
        normalise(rmsNormAdd, "rmsNormAdd", x, delta, weight, state, eps);
    }

    private void normalise(
            MemorySegment symbol,
            String operation,
            Tensor out,
            Tensor x,
            Tensor weight,
            @Nullable StateBlock state,
            float eps) {
        int status;
        try {
            status = (int) RMS_NORM.invokeExact(
                    symbol,
                    stream.handle(),
                    out.data(),
                    x.data(),
                    weight.data(),
                    sequences(state),
                    batch(x, state, 1),
                    window(state),
                    x.dim(-1),
                    eps);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, operation, out, x, weight);
        }
    }

    @Override
    public void round(Tensor out, Tensor x, @Nullable StateBlock state) {
        KernelArguments.round(out, x, state);
        rowwise(byDtype(out, roundF32, roundBf16), "round", out, x, state);
    }

    @Override
    public void swiglu(Tensor out, Tensor gateUp, @Nullable StateBlock state) {
        KernelArguments.swiglu(out, gateUp, state);
        rowwise(byDtype(out, swigluF32, swigluBf16), "swiglu", out, gateUp, state);
    }

    private void rowwise(MemorySegment symbol, String operation, Tensor out, Tensor x, @Nullable StateBlock state) {
        int status;
        try {
            status = (int) ROUND.invokeExact(
                    symbol,
                    stream.handle(),
                    out.data(),
                    x.data(),
                    sequences(state),
                    batch(out, state, 1),
                    window(state),
                    out.dim(-1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, operation, out, x);
        }
    }

    @Override
    public void matmul(
            Tensor out, Tensor x, Tensor w, @Nullable Tensor bias, @Nullable StateBlock state, boolean accumulate) {
        long nOut = out.dim(-1);
        long nIn = x.dim(-1);
        KernelArguments.matmul(out, x, w, bias, state, packedElements(nOut, nIn, w.dtype()));
        int status;
        try {
            status = (int) MATMUL.invokeExact(
                    byDtype(w, matmulF32, matmulBf16),
                    stream.handle(),
                    out.data(),
                    x.data(),
                    w.data(),
                    data(bias),
                    sequences(state),
                    batch(out, state, 1),
                    window(state),
                    nOut,
                    nIn,
                    accumulate ? 1 : 0);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "matmul", out, x, w, bias);
        }
    }

    @Override
    public void ropeAppend(
            Tensor q,
            Tensor kCache,
            Tensor vCache,
            Tensor qkv,
            @Nullable QkNorm qkNorm,
            Tensor rope,
            StateBlock state,
            RopePairs pairs) {
        KernelArguments.ropeAppend(q, kCache, vCache, qkv, qkNorm, rope, state);
        int status;
        try {
            status = (int) ROPE_APPEND.invokeExact(
                    byDtype(q, ropeAppendF32, ropeAppendBf16),
                    stream.handle(),
                    q.data(),
                    kCache.data(),
                    vCache.data(),
                    qkv.data(),
                    data(qkNorm == null ? null : qkNorm.qWeight()),
                    data(qkNorm == null ? null : qkNorm.qBias()),
                    data(qkNorm == null ? null : qkNorm.kWeight()),
                    data(qkNorm == null ? null : qkNorm.kBias()),
                    rope.data(),
                    state.sequences().data(),
                    (long) state.batch(),
                    (long) state.maxWindow(),
                    kCache.dim(1),
                    q.dim(2),
                    kCache.dim(2),
                    q.dim(3),
                    qkNorm == null ? 1L : qkNorm.qWeight().dim(0),
                    qkNorm == null ? 1L : qkNorm.kWeight().dim(0),
                    rope.dim(0),
                    pairs.ordinal(),
                    qkNorm == null ? 0f : qkNorm.eps());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "ropeAppend", q, kCache, vCache, qkv, rope);
        }
    }

    @Override
    public void attention(Tensor out, Tensor q, Tensor k, Tensor v, StateBlock state, float scale) {
        KernelArguments.attention(out, q, k, v, state, scale);
        int status;
        try {
            status = (int) ATTENTION.invokeExact(
                    byDtype(q, attentionF32, attentionBf16),
                    stream.handle(),
                    out.data(),
                    q.data(),
                    k.data(),
                    v.data(),
                    state.sequences().data(),
                    (long) state.batch(),
                    (long) state.maxWindow(),
                    k.dim(1),
                    q.dim(2),
                    k.dim(2),
                    q.dim(3),
                    scale);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "attention", out, q, k, v);
        }
    }

    @Override
    public void gelu(Tensor out, Tensor x, @Nullable StateBlock state, boolean tanhForm) {
        KernelArguments.gelu(out, x, state);
        int status;
        try {
            status = (int) GELU.invokeExact(
                    byDtype(out, geluF32, geluBf16),
                    stream.handle(),
                    out.data(),
                    x.data(),
                    sequences(state),
                    batch(x, state, 1),
                    window(state),
                    x.dim(-1),
                    tanhForm ? 1 : 0);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "gelu", out, x);
        }
    }

    @Override
    public void windowInput(Tensor input, WindowState window, DraftEmbeddings embeddings, StateBlock state) {
        KernelArguments.windowInput(input, window, embeddings, state);
        Tensor table = embeddings.table();
        DraftEmbeddings.Noise noise = embeddings.noise();
        int status;
        try {
            status = (int) WINDOW_INPUT.invokeExact(
                    byDtype(table, windowInputF32, windowInputBf16),
                    stream.handle(),
                    input.data(),
                    data(window.noisy()),
                    window.drafts().data(),
                    state.imageStates().data(),
                    window.tokens().data(),
                    table.data(),
                    data(embeddings.tokenRows()),
                    data(noise == null ? null : noise.mean()),
                    data(noise == null ? null : noise.std()),
                    data(noise == null ? null : noise.levelEmbed()),
                    data(noise == null ? null : noise.lambda()),
                    data(noise == null ? null : noise.alpha()),
                    data(window.forced()),
                    (long) state.images(),
                    (long) state.maxWindow(),
                    window.tokens().dim(1),
                    input.dim(2),
                    table.dim(0),
                    (long) window.codes(),
                    noise == null ? 0L : noise.lambda().dim(0) - 1);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "windowInput", input, window, embeddings);
        }
    }

    @Override
    public void targetProbs(WindowState window, Tensor logits, StateBlock state) {
        KernelArguments.targetProbs(window, logits, state);
        int status;
        try {
            status = (int) TARGET_PROBS.invokeExact(
                    targetProbs,
                    stream.handle(),
                    window.probs().data(),
                    logits.data(),
                    state.imageStates().data(),
                    data(window.forced()),
                    (long) state.images(),
                    (long) state.batch(),
                    (long) state.maxWindow(),
                    (long) window.codes());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "targetProbs", window, logits);
        }
    }

    @Override
    public void verify(WindowState window, StateBlock state) {
        KernelArguments.verify(window, state);
        int status;
        try {
            status = (int) VERIFY.invokeExact(
                    verify,
                    stream.handle(),
                    window.tokens().data(),
                    window.drafts().data(),
                    state.imageStates().data(),
                    state.sequences().data(),
                    window.probs().data(),
                    data(window.forced()),
                    (long) state.images(),
                    (long) state.batch(),
                    (long) state.maxWindow(),
                    window.tokens().dim(1),
                    (long) window.codes());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "verify", window);
        }
    }

    @Override
    public void verifyGiven(
            Tensor result, Tensor residual, Tensor draft, Tensor q, Tensor p, Tensor uniforms, float resampleUniform) {
        KernelArguments.verifyGiven(result, residual, draft, q, p, uniforms);
        int status;
        try {
            status = (int) VERIFY_GIVEN.invokeExact(
                    verifyGiven,
                    stream.handle(),
                    result.data(),
                    residual.data(),
                    draft.data(),
                    q.data(),
                    p.data(),
                    uniforms.data(),
                    resampleUniform,
                    q.dim(0),
                    q.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "verifyGiven", result, residual, draft, q, p, uniforms);
        }
    }

    @Override
    public void drawGiven(Tensor out, Tensor p, Tensor uniforms) {
        KernelArguments.drawGiven(out, p, uniforms);
        perRow(drawGiven, "drawGiven", out, p, uniforms);
    }

    @Override
    public void logLikelihood(Tensor out, Tensor logits, Tensor targets) {
        KernelArguments.logLikelihood(out, logits, targets);
        perRow(logLikelihood, "logLikelihood", out, logits, targets);
    }

    private void perRow(MemorySegment symbol, String operation, Tensor out, Tensor rows, Tensor perRow) {
        int status;
        try {
            status = (int) DRAW_GIVEN.invokeExact(
                    symbol, stream.handle(), out.data(), rows.data(), perRow.data(), rows.dim(0), rows.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, operation, out, rows, perRow);
        }
    }

    @Override
    public void philoxWords(Tensor out, long seed, int image, int streamLow, int streamHigh) {
        KernelArguments.philoxWords(out);
        philox(philoxWords, "philoxWords", out, seed, image, streamLow, streamHigh);
    }

    @Override
    public void philoxNormals(Tensor out, long seed, int image, int streamLow, int streamHigh) {
        KernelArguments.philoxNormals(out);
        philox(philoxNormals, "philoxNormals", out, seed, image, streamLow, streamHigh);
    }

    private void philox(
            MemorySegment symbol, String operation, Tensor out, long seed, int image, int streamLow, int streamHigh) {
        int status;
        try {
            status = (int) PHILOX.invokeExact(
                    symbol,
                    stream.handle(),
                    out.data(),
                    (int) seed,
                    (int) (seed >>> 32),
                    image,
                    streamLow,
                    streamHigh,
                    out.elements());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, operation, out);
        }
    }

    @Override
    public long packedConvElements(long nOut, long nIn, long taps, DType dtype) {
        PictureArguments.packedConvElements(nOut, nIn, taps, dtype);
        int status;
        try {
            status = (int)
                    PACKED_CONV_ELEMENTS.invokeExact(packedConvElements, packedCount, nOut, nIn, taps, dtype.code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0) {
            throw failure(status, "packedConvElements", nOut, nIn, taps, dtype);
        }
        return packedCount.get(ValueLayout.JAVA_LONG, 0);
    }

    @Override
    public void packConv(Tensor dst, Tensor src, long firstRow, long nOut) {
        PictureArguments.packConv(dst, src, firstRow, nOut);
        long nIn = src.dim(1);
        long taps = src.dim(2);
        PictureArguments.packed(
                "packConv", "dst", dst, nOut, nIn, taps, packedConvElements(nOut, nIn, taps, dst.dtype()));
        int status;
        try {
            status = (int) PACK_CONV.invokeExact(
                    packConv,
                    stream.handle(),
                    dst.data(),
                    src.data(),
                    firstRow,
                    src.dim(0),
                    nOut,
                    nIn,
                    taps,
                    dst.dtype().code(),
                    src.dtype().code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "packConv", dst, src, firstRow, nOut);
        }
    }

    @Override
    public void conv(
            Tensor out,
            @Nullable Tensor moments,
            Tensor x,
            @Nullable Tensor norm,
            @Nullable Tensor map,
            Tensor w,
            @Nullable Tensor bias,
            Convolution convolution) {
        long packed = w.dtype() == DType.F32 || w.dtype() == DType.BF16
                ? packedConvElements(out.dim(-1), x.dim(-1), convolution.taps(), w.dtype())
                : 0;
        PictureArguments.conv(out, moments, x, norm, map, w, bias, convolution, packed);
        describe(out, x, map, convolution);
        int status;
        try {
            status = (int) CONV.invokeExact(
                    byDtype(w, convF32, convBf16),
                    stream.handle(),
                    out.data(),
                    data(moments),
                    x.data(),
                    data(norm),
                    data(map),
                    w.data(),
                    data(bias),
                    convShape);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "conv", out, moments, x, norm, map, w, bias, convolution);
        }
    }

    private void describe(Tensor out, Tensor x, @Nullable Tensor map, Convolution c) {
        for (int axis = 0; axis < 5; axis++) {
            convShape.setAtIndex(ValueLayout.JAVA_LONG, axis, x.dim(axis));
        }
        for (int axis = 1; axis < 5; axis++) {
            convShape.setAtIndex(ValueLayout.JAVA_LONG, 4 + axis, out.dim(axis));
        }
        int at = 18; // in ints, behind nine longs
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.kernelFrames());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.kernelHeight());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.kernelWidth());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.strideFrames());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.strideHeight());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.strideWidth());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.padFrames());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.padHeight());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.padWidth());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.enlargeFrames());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.enlargeSpace());
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, map == null ? 0 : (int) map.dim(1));
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, map == null ? 0 : (int) map.dim(2));
        convShape.setAtIndex(ValueLayout.JAVA_INT, at++, c.swish() ? 1 : 0);
        convShape.setAtIndex(ValueLayout.JAVA_INT, at, c.accumulate() ? 1 : 0);
    }

    @Override
    public void groupNorm(Tensor norm, Tensor moments, Tensor weight, Tensor bias, int groups, float eps) {
        PictureArguments.groupNorm(norm, moments, weight, bias, groups, eps);
        int status;
        try {
            status = (int) GROUP_NORM.invokeExact(
                    groupNorm,
                    stream.handle(),
                    norm.data(),
                    moments.data(),
                    weight.data(),
                    bias.data(),
                    moments.dim(0),
                    moments.dim(2),
                    (long) groups,
                    eps);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "groupNorm", norm, moments, weight, bias, groups, eps);
        }
    }

    @Override
    public void vqAttention(Tensor out, Tensor qkv, DType dtype, float scale) {
        PictureArguments.vqAttention(out, qkv, dtype, scale);
        MemorySegment symbol = dtype == DType.F32 ? vqAttentionF32 : vqAttentionBf16;
        int status;
        try {
            status = (int) VQ_ATTENTION.invokeExact(
                    symbol, stream.handle(), out.data(), qkv.data(), out.dim(0), out.dim(1), out.dim(2), scale);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        if (status != 0 || SYNC) {
            finish(status, "vqAttention", out, qkv, dtype, scale);
        }
    }

    /// Not a conditional in place: as an argument of `invokeExact` its type would be `Object`.
    private static MemorySegment byDtype(Tensor t, MemorySegment f32, MemorySegment bf16) {
        return t.dtype() == DType.F32 ? f32 : bf16;
    }

    private static MemorySegment data(@Nullable Tensor t) {
        return t == null ? MemorySegment.NULL : t.data();
    }

    private static MemorySegment sequences(@Nullable StateBlock state) {
        return state == null ? MemorySegment.NULL : state.sequences().data();
    }

    /// Behind an operation that failed, or behind every operation under `-Dsjd2.sync=true`.
    private void finish(int status, String operation, @Nullable Object... arguments) {
        if (status != 0) {
            throw failure(status, operation, arguments);
        }
        try {
            stream.synchronize();
        } catch (KernelException e) {
            throw new KernelException(operation + " on " + backend + ": " + e.getMessage(), e.status());
        }
    }

    private KernelException failure(int status, String operation, @Nullable Object... arguments) {
        return library.failure(
                status,
                operation,
                backend,
                Arrays.stream(arguments).map(Objects::toString).collect(Collectors.joining(", ")));
    }
}
