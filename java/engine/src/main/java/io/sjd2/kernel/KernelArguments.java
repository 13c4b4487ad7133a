package io.sjd2.kernel;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The argument checks of {@link Kernels}, one method per operation, shared by every backend so that a caller's mistake
/// reads the same everywhere: `rmsNorm: weight is f32[2048], expected [hidden_size=4096]`.
///
/// Nothing is allocated unless a check fails. What only the device can see (ids, cache lengths) is checked there.
public final class KernelArguments {
    private KernelArguments() {}

    /// Sequences of a `[batch, window, ..]` tensor; every row is its own sequence when no state tells them apart.
    public static long batch(Tensor t, @Nullable StateBlock state, int inner) {
        return state != null ? state.batch() : rowsOf(t, inner);
    }

    /// Rows per sequence, see {@link #batch}.
    public static long window(@Nullable StateBlock state) {
        return state != null ? state.maxWindow() : 1;
    }

    private static long rowsOf(Tensor t, int inner) {
        long rows = 1;
        for (int axis = 0; axis < t.rank() - inner; axis++) {
            rows *= t.dim(axis);
        }
        return rows;
    }

    public static void packedElements(long nOut, long nIn, DType dtype) {
        if (nOut < 1 || nIn < 1) {
            throw new IllegalArgumentException(
                    "packedElements: [n_out=" + nOut + ", n_in=" + nIn + "] must be at least 1 each");
        }
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException("packedElements: dtype is " + dtype.label() + ", expected f32 or bf16");
        }
    }

    /// @param packed  elements that the backend's packed `[nOut, n_in]` matrix has
    public static void packWeights(Tensor dst, Tensor src, long firstRow, long nOut, long packed) {
        String op = "packWeights";
        weightDtype(op, "dst", dst);
        floatDtype(op, "src", src);
        rank(op, "src", src, 2, "[rows, n_in]");
        if (firstRow < 0 || firstRow + src.dim(0) > nOut) {
            throw new IllegalArgumentException(op + ": rows " + firstRow + " to " + (firstRow + src.dim(0))
                    + " of src are outside of [0, n_out=" + nOut + "]");
        }
        packedSize(op, "dst", dst, nOut, src.dim(1), packed);
    }

    public static void convert(Tensor dst, Tensor src) {
        floatDtype("convert", "dst", dst);
        floatDtype("convert", "src", src);
        if (dst.elements() != src.elements()) {
            throw new IllegalArgumentException(
                    "convert: dst is " + dst + ", expected as many elements as src: " + src.elements());
        }
    }

    public static void embed(Tensor out, Tensor table, Tensor ids) {
        String op = "embed";
        weightDtype(op, "table", table);
        rank(op, "table", table, 2, "[vocab_size, hidden_size]");
        dtype(op, "ids", ids, DType.I32);
        rank(op, "ids", ids, 1, "[rows]");
        dtype(op, "out", out, DType.F32);
        shape(op, "out", out, "rows", ids.dim(0), "hidden_size", table.dim(1));
    }

    public static void sequenceInput(
            Tensor x,
            Tensor windowInput,
            Tensor lastPrompt,
            @Nullable Tensor rowEmbed,
            @Nullable Tensor columnEmbed,
            StateBlock state) {
        String op = "sequenceInput";
        dtype(op, "x", x, DType.F32);
        rank(op, "x", x, 3, "[batch, window, hidden_size]");
        long hidden = x.dim(2);
        shape(op, "x", x, "batch", state.batch(), "window", state.maxWindow(), "hidden_size", hidden);
        dtype(op, "windowInput", windowInput, DType.F32);
        shape(
                op,
                "windowInput",
                windowInput,
                "images",
                state.images(),
                "window",
                state.maxWindow(),
                "hidden_size",
                hidden);
        dtype(op, "lastPrompt", lastPrompt, DType.F32);
        shape(op, "lastPrompt", lastPrompt, "batch", state.batch(), "hidden_size", hidden);
        if ((rowEmbed == null) != (columnEmbed == null)) {
            throw new IllegalArgumentException(op + ": " + (rowEmbed == null ? "rowEmbed" : "columnEmbed")
                    + " is null, expected both of rowEmbed and columnEmbed or neither");
        }
        if (rowEmbed != null && columnEmbed != null) {
            dtype(op, "rowEmbed", rowEmbed, DType.F32);
            rank(op, "rowEmbed", rowEmbed, 2, "[grid_height, hidden_size]");
            shape(op, "rowEmbed", rowEmbed, "grid_height", rowEmbed.dim(0), "hidden_size", hidden);
            dtype(op, "columnEmbed", columnEmbed, DType.F32);
            rank(op, "columnEmbed", columnEmbed, 2, "[grid_width, hidden_size]");
            shape(op, "columnEmbed", columnEmbed, "grid_width", columnEmbed.dim(0), "hidden_size", hidden);
        }
    }

    public static void rmsNorm(Tensor out, Tensor x, Tensor weight, @Nullable StateBlock state, float eps) {
        String op = "rmsNorm";
        long hidden = residual(op, "x", x, state, "hidden_size");
        weightDtype(op, "out", out);
        like(op, "out", out, x);
        dtype(op, "weight", weight, DType.F32);
        shape(op, "weight", weight, "hidden_size", hidden);
        notNegative(op, "eps", eps);
    }

    public static void rmsNormAdd(Tensor x, Tensor delta, Tensor weight, @Nullable StateBlock state, float eps) {
        String op = "rmsNormAdd";
        long hidden = residual(op, "x", x, state, "hidden_size");
        dtype(op, "delta", delta, DType.F32);
        like(op, "delta", delta, x);
        dtype(op, "weight", weight, DType.F32);
        shape(op, "weight", weight, "hidden_size", hidden);
        notNegative(op, "eps", eps);
    }

    public static void round(Tensor out, Tensor x, @Nullable StateBlock state) {
        residual("round", "x", x, state, "hidden_size");
        weightDtype("round", "out", out);
        like("round", "out", out, x);
    }

    /// @param packed  elements that the backend's packed `[n_out, n_in]` matrix has
    public static void matmul(
            Tensor out, Tensor x, Tensor w, @Nullable Tensor bias, @Nullable StateBlock state, long packed) {
        String op = "matmul";
        weightDtype(op, "w", w);
        dtype(op, "x", x, w.dtype());
        long nOut = residual(op, "out", out, state, "n_out");
        rows(op, "x", x, state, "n_in");
        if (KernelArguments.rowsOf(x, 1) != KernelArguments.rowsOf(out, 1)) {
            throw new IllegalArgumentException(op + ": x is " + x + ", expected the rows of out, " + out);
        }
        packedSize(op, "w", w, nOut, x.dim(-1), packed);
        if (bias != null) {
            dtype(op, "bias", bias, DType.F32);
            shape(op, "bias", bias, "n_out", nOut);
        }
        apart(op, out, "x", x);
        apart(op, out, "w", w);
    }

    public static void ropeAppend(
            Tensor q,
            Tensor kCache,
            Tensor vCache,
            Tensor qkv,
            Kernels.@Nullable QkNorm qkNorm,
            Tensor rope,
            StateBlock state) {
        String op = "ropeAppend";
        weightDtype(op, "q", q);
        rank(op, "q", q, 4, "[batch, window, n_heads, head_dim]");
        long heads = q.dim(2);
        long headDim = q.dim(3);
        shape(op, "q", q, "batch", state.batch(), "window", state.maxWindow(), "n_heads", heads, "head_dim", headDim);
        evenHeadDim(op, headDim);
        cache(op, "kCache", kCache, q, state);
        cache(op, "vCache", vCache, q, state);
        like(op, "vCache", vCache, kCache);
        long kvHeads = kCache.dim(2);
        dividesHeads(op, "kCache", kvHeads, heads);
        dtype(op, "qkv", qkv, DType.F32);
        long width = (heads + 2 * kvHeads) * headDim;
        shape(
                op,
                "qkv",
                qkv,
                "batch",
                state.batch(),
                "window",
                state.maxWindow(),
                "(n_heads + 2 n_kv_heads) * head_dim",
                width);
        if (qkNorm != null) {
            headNorm(op, "qkNorm.qWeight", qkNorm.qWeight(), headDim, heads, "n_heads");
            headNorm(op, "qkNorm.kWeight", qkNorm.kWeight(), headDim, kvHeads, "n_kv_heads");
            dtype(op, "qkNorm.qBias", qkNorm.qBias(), DType.F32);
            like(op, "qkNorm.qBias", qkNorm.qBias(), qkNorm.qWeight());
            dtype(op, "qkNorm.kBias", qkNorm.kBias(), DType.F32);
            like(op, "qkNorm.kBias", qkNorm.kBias(), qkNorm.kWeight());
            notNegative(op, "qkNorm.eps", qkNorm.eps());
        }
        dtype(op, "rope", rope, DType.F32);
        rank(op, "rope", rope, 3, "[rope_len, head_dim / 2, 2]");
        shape(op, "rope", rope, "rope_len", rope.dim(0), "head_dim / 2", headDim / 2, "cos, sin", 2);
    }

    public static void attention(Tensor out, Tensor q, Tensor k, Tensor v, StateBlock state, float scale) {
        String op = "attention";
        weightDtype(op, "q", q);
        rank(op, "q", q, 4, "[batch, window, n_heads, head_dim]");
        long heads = q.dim(2);
        long headDim = q.dim(3);
        shape(op, "q", q, "batch", state.batch(), "window", state.maxWindow(), "n_heads", heads, "head_dim", headDim);
        evenHeadDim(op, headDim);
        if (headDim > 256) {
            throw new IllegalArgumentException(op + ": q is " + q + ", expected head_dim <= 256");
        }
        dtype(op, "out", out, q.dtype());
        like(op, "out", out, q);
        cache(op, "k", k, q, state);
        cache(op, "v", v, q, state);
        like(op, "v", v, k);
        dividesHeads(op, "k", k.dim(2), heads);
        if (!(scale > 0) || Float.isInfinite(scale)) {
            throw new IllegalArgumentException(op + ": scale is " + scale + ", expected a number > 0");
        }
        apart(op, out, "q", q);
        apart(op, out, "k", k);
        apart(op, out, "v", v);
    }

    public static void swiglu(Tensor out, Tensor gateUp, @Nullable StateBlock state) {
        String op = "swiglu";
        weightDtype(op, "out", out);
        long n = rows(op, "out", out, state, "intermediate_size");
        dtype(op, "gateUp", gateUp, DType.F32);
        long width = rows(op, "gateUp", gateUp, state, "2 * intermediate_size");
        if (width != 2 * n || rowsOf(gateUp, 1) != rowsOf(out, 1)) {
            throw new IllegalArgumentException(op + ": gateUp is " + gateUp + ", expected the rows of out, " + out
                    + ", with [2 * intermediate_size=" + 2 * n + "]");
        }
    }

    public static void gelu(Tensor out, Tensor x, @Nullable StateBlock state) {
        residual("gelu", "x", x, state, "intermediate_size");
        weightDtype("gelu", "out", out);
        like("gelu", "out", out, x);
    }

    public static void windowInput(Tensor input, WindowState window, DraftEmbeddings embeddings, StateBlock state) {
        String op = "windowInput";
        dtype(op, "input", input, DType.F32);
        rank(op, "input", input, 3, "[images, window, hidden_size]");
        long hidden = input.dim(2);
        shape(op, "input", input, "images", state.images(), "window", state.maxWindow(), "hidden_size", hidden);
        windowState(op, window, state);
        Tensor noisy = window.noisy();
        if (noisy != null) {
            dtype(op, "window.noisy", noisy, DType.F32);
            shape(
                    op,
                    "window.noisy",
                    noisy,
                    "images",
                    state.images(),
                    "window",
                    state.maxWindow(),
                    "hidden_size",
                    hidden);
        }
        Tensor table = embeddings.table();
        weightDtype(op, "embeddings.table", table);
        rank(op, "embeddings.table", table, 2, "[table_rows, hidden_size]");
        shape(op, "embeddings.table", table, "table_rows", table.dim(0), "hidden_size", hidden);
        Tensor rows = embeddings.tokenRows();
        if (rows != null) {
            dtype(op, "embeddings.tokenRows", rows, DType.I32);
            rank(op, "embeddings.tokenRows", rows, 1, "[codes + forced]");
        }
        long reachable = rows != null ? rows.dim(0) : table.dim(0);
        if (reachable < window.codes()) {
            throw new IllegalArgumentException(op + ": " + (rows != null ? "embeddings.tokenRows" : "embeddings.table")
                    + " is " + (rows != null ? rows : table) + ", expected at least a row per code: " + window.codes());
        }
        DraftEmbeddings.Noise noise = embeddings.noise();
        if (noise != null) {
            if (noisy == null) {
                throw new IllegalArgumentException(op + ": window.noisy is null, expected [images=" + state.images()
                        + ", window=" + state.maxWindow() + ", hidden_size=" + hidden + "] beside embeddings.noise");
            }
            dtype(op, "noise.mean", noise.mean(), DType.F32);
            shape(op, "noise.mean", noise.mean(), "hidden_size", hidden);
            dtype(op, "noise.std", noise.std(), DType.F32);
            shape(op, "noise.std", noise.std(), "hidden_size", hidden);
            dtype(op, "noise.lambda", noise.lambda(), DType.F32);
            rank(op, "noise.lambda", noise.lambda(), 1, "[levels + 1]");
            long levels = noise.lambda().dim(0);
            dtype(op, "noise.alpha", noise.alpha(), DType.F32);
            shape(op, "noise.alpha", noise.alpha(), "levels + 1", levels);
            dtype(op, "noise.levelEmbed", noise.levelEmbed(), DType.F32);
            shape(op, "noise.levelEmbed", noise.levelEmbed(), "levels + 1", levels, "hidden_size", hidden);
        }
    }

    public static void targetProbs(WindowState window, Tensor logits, StateBlock state) {
        String op = "targetProbs";
        windowState(op, window, state);
        dtype(op, "logits", logits, DType.F32);
        shape(op, "logits", logits, "batch", state.batch(), "window", state.maxWindow(), "codes", window.codes());
    }

    public static void verify(WindowState window, StateBlock state) {
        windowState("verify", window, state);
    }

    public static void verifyGiven(Tensor result, Tensor residual, Tensor draft, Tensor q, Tensor p, Tensor uniforms) {
        String op = "verifyGiven";
        dtype(op, "q", q, DType.F32);
        rank(op, "q", q, 2, "[rows, codes]");
        long rows = q.dim(0);
        long codes = q.dim(1);
        dtype(op, "p", p, DType.F32);
        shape(op, "p", p, "rows", rows, "codes", codes);
        dtype(op, "draft", draft, DType.I32);
        shape(op, "draft", draft, "rows", rows);
        dtype(op, "uniforms", uniforms, DType.F32);
        shape(op, "uniforms", uniforms, "rows", rows);
        dtype(op, "residual", residual, DType.F32);
        shape(op, "residual", residual, "codes", codes);
        dtype(op, "result", result, DType.I32);
        shape(op, "result", result, "rows + 3", rows + 3);
    }

    public static void drawGiven(Tensor out, Tensor p, Tensor uniforms) {
        String op = "drawGiven";
        dtype(op, "p", p, DType.F32);
        rank(op, "p", p, 2, "[rows, codes]");
        dtype(op, "uniforms", uniforms, DType.F32);
        shape(op, "uniforms", uniforms, "rows", p.dim(0));
        dtype(op, "out", out, DType.I32);
        shape(op, "out", out, "rows", p.dim(0));
    }

    public static void logLikelihood(Tensor out, Tensor logits, Tensor targets) {
        String op = "logLikelihood";
        dtype(op, "logits", logits, DType.F32);
        rank(op, "logits", logits, 2, "[rows, codes]");
        dtype(op, "targets", targets, DType.I32);
        shape(op, "targets", targets, "rows", logits.dim(0));
        dtype(op, "out", out, DType.F32);
        shape(op, "out", out, "rows", logits.dim(0));
    }

    public static void philoxWords(Tensor out) {
        dtype("philoxWords", "out", out, DType.I32);
        rank("philoxWords", "out", out, 1, "[n]");
    }

    public static void philoxNormals(Tensor out) {
        dtype("philoxNormals", "out", out, DType.F32);
        rank("philoxNormals", "out", out, 1, "[n]");
    }

    private static void windowState(String op, WindowState window, StateBlock state) {
        Tensor tokens = window.tokens();
        dtype(op, "window.tokens", tokens, DType.I32);
        rank(op, "window.tokens", tokens, 2, "[images, max_length]");
        shape(op, "window.tokens", tokens, "images", state.images(), "max_length", tokens.dim(1));
        Tensor drafts = window.drafts();
        dtype(op, "window.drafts", drafts, DType.I32);
        shape(
                op,
                "window.drafts",
                drafts,
                "images",
                state.images(),
                "window",
                state.maxWindow(),
                "draft ints",
                WindowState.DRAFT_INTS);
        Tensor probs = window.probs();
        dtype(op, "window.probs", probs, DType.F32);
        shape(
                op,
                "window.probs",
                probs,
                "images",
                state.images(),
                "halves",
                2,
                "window",
                state.maxWindow(),
                "codes",
                window.codes());
        Tensor forced = window.forced();
        if (forced != null) {
            dtype(op, "window.forced", forced, DType.I32);
            shape(op, "window.forced", forced, "max_length", tokens.dim(1));
        }
    }

    /// An f32 tensor of rows; answers its last extent.
    private static long residual(String op, String name, Tensor t, @Nullable StateBlock state, String last) {
        dtype(op, name, t, DType.F32);
        return rows(op, name, t, state, last);
    }

    /// `[batch, window, n]`, or `[.., n]` of any rank from 2 where every row is live; answers `n`.
    private static long rows(String op, String name, Tensor t, @Nullable StateBlock state, String last) {
        if (state != null) {
            if (t.rank() != 3) {
                throw new IllegalArgumentException(
                        op + ": " + name + " is " + t + ", expected [batch, window, " + last + "]");
            }
            shape(op, name, t, "batch", state.batch(), "window", state.maxWindow(), last, t.dim(2));
        } else if (t.rank() < 2) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected [rows, " + last + "]");
        }
        if (t.dim(-1) < 1) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected " + last + " >= 1");
        }
        return t.dim(-1);
    }

    private static void cache(String op, String name, Tensor cache, Tensor q, StateBlock state) {
        dtype(op, name, cache, q.dtype());
        rank(op, name, cache, 4, "[batch, kv_capacity, n_kv_heads, head_dim]");
        shape(
                op,
                name,
                cache,
                "batch",
                state.batch(),
                "kv_capacity",
                cache.dim(1),
                "n_kv_heads",
                cache.dim(2),
                "head_dim",
                q.dim(3));
    }

    private static void headNorm(String op, String name, Tensor t, long headDim, long heads, String headsName) {
        dtype(op, name, t, DType.F32);
        rank(op, name, t, 2, "[rows, head_dim]");
        shape(op, name, t, "rows", t.dim(0), "head_dim", headDim);
        if (t.dim(0) < 1 || heads % t.dim(0) != 0) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t
                    + ", expected a number of rows that divides " + headsName + "=" + heads);
        }
    }

    private static void evenHeadDim(String op, long headDim) {
        if (headDim < 2 || headDim % 2 != 0) {
            throw new IllegalArgumentException(op + ": q has head_dim " + headDim + ", expected an even number >= 2");
        }
    }

    private static void dividesHeads(String op, String name, long kvHeads, long heads) {
        if (kvHeads < 1 || heads % kvHeads != 0) {
            throw new IllegalArgumentException(
                    op + ": " + name + " has n_kv_heads " + kvHeads + ", expected a divisor of n_heads=" + heads);
        }
    }

    private static void packedSize(String op, String name, Tensor t, long nOut, long nIn, long packed) {
        if (t.elements() != packed) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected the " + packed
                    + " elements of a packed [n_out=" + nOut + ", n_in=" + nIn + "] matrix");
        }
    }

    private static void apart(String op, Tensor out, String name, Tensor in) {
        long a = out.data().address();
        long b = in.data().address();
        if (a < b + in.bytes() && b < a + out.bytes()) {
            throw new IllegalArgumentException(op + ": out overlaps " + name + ", expected separate memory");
        }
    }

    private static void notNegative(String op, String name, float value) {
        if (!(value >= 0) || Float.isInfinite(value)) {
            throw new IllegalArgumentException(op + ": " + name + " is " + value + ", expected a number >= 0");
        }
    }

    private static void dtype(String op, String name, Tensor t, DType expected) {
        if (t.dtype() != expected) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected dtype " + expected.label());
        }
    }

    private static void weightDtype(String op, String name, Tensor t) {
        if (t.dtype() != DType.F32 && t.dtype() != DType.BF16) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected dtype f32 or bf16");
        }
    }

    private static void floatDtype(String op, String name, Tensor t) {
        if (t.dtype() != DType.F32 && t.dtype() != DType.BF16 && t.dtype() != DType.F16) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected dtype f32, bf16 or f16");
        }
    }

    private static void rank(String op, String name, Tensor t, int rank, String expected) {
        if (t.rank() != rank) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected " + expected);
        }
    }

    private static void like(String op, String name, Tensor t, Tensor model) {
        boolean same = t.rank() == model.rank();
        for (int axis = 0; same && axis < model.rank(); axis++) {
            same = t.dim(axis) == model.dim(axis);
        }
        if (!same) {
            throw new IllegalArgumentException(
                    op + ": " + name + " is " + t + ", expected " + Arrays.toString(model.shape()));
        }
    }

    private static void shape(String op, String name, Tensor t, String n0, long d0) {
        if (t.rank() != 1 || t.dim(0) != d0) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected [" + n0 + "=" + d0 + "]");
        }
    }

    private static void shape(String op, String name, Tensor t, String n0, long d0, String n1, long d1) {
        if (t.rank() != 2 || t.dim(0) != d0 || t.dim(1) != d1) {
            throw new IllegalArgumentException(
                    op + ": " + name + " is " + t + ", expected [" + n0 + "=" + d0 + ", " + n1 + "=" + d1 + "]");
        }
    }

    private static void shape(
            String op, String name, Tensor t, String n0, long d0, String n1, long d1, String n2, long d2) {
        if (t.rank() != 3 || t.dim(0) != d0 || t.dim(1) != d1 || t.dim(2) != d2) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected [" + n0 + "=" + d0 + ", "
                    + n1 + "=" + d1 + ", " + n2 + "=" + d2 + "]");
        }
    }

    private static void shape(
            String op,
            String name,
            Tensor t,
            String n0,
            long d0,
            String n1,
            long d1,
            String n2,
            long d2,
            String n3,
            long d3) {
        if (t.rank() != 4 || t.dim(0) != d0 || t.dim(1) != d1 || t.dim(2) != d2 || t.dim(3) != d3) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected [" + n0 + "=" + d0 + ", "
                    + n1 + "=" + d1 + ", " + n2 + "=" + d2 + ", " + n3 + "=" + d3 + "]");
        }
    }
}
