package io.sjd2.kernel.ffm;

import io.sjd2.kernel.TrainingKernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The operations of training in a native library (`include/sjd2/training.h`): checks and one downcall each.
///
/// Confined to the thread that uses the stream. Symbols are looked up when first used, since a library may lack
/// training.
public final class NativeTrainingKernels implements TrainingKernels {
    private static final MethodHandle GEMM = Downcalls.status("PPPPPJJJJJJJIIIIII");
    private static final MethodHandle PACKED_BYTES = Downcalls.status("PPJJI");
    private static final MethodHandle PACK = Downcalls.status("PPPJJJII");
    private static final MethodHandle GEMM_PACKED = Downcalls.status("PPPPPJJJJJJIII");
    private static final MethodHandle RMS_FORWARD = Downcalls.status("PPPPPPJJF");
    private static final MethodHandle RMS_BACKWARD = Downcalls.status("PPPPPPPPJJ");
    private static final MethodHandle QK_FORWARD = Downcalls.status("PPPPPPPPJJJJJJF");
    private static final MethodHandle QK_BACKWARD = Downcalls.status("PPPPPPPJJJJJJ");
    private static final MethodHandle ROPE = Downcalls.status("PPPPPJJJJI");
    private static final MethodHandle SWIGLU_FORWARD = Downcalls.status("PPPJJ");
    private static final MethodHandle SWIGLU_BACKWARD = Downcalls.status("PPPPJJ");
    private static final MethodHandle ATTENTION_FORWARD = Downcalls.status("PPPPPPPJJJJJF");
    private static final MethodHandle ATTENTION_BACKWARD = Downcalls.status("PPPPPPPPPPPJJJJJF");
    private static final MethodHandle GATHER = Downcalls.status("PPPPJJI");
    private static final MethodHandle SCATTER = Downcalls.status("PPPPPJJ");
    private static final MethodHandle NOISE_MIX = Downcalls.status("PPPPPPPPPJJ");
    private static final MethodHandle PHILOX = Downcalls.status("PPPPJJJI");
    private static final MethodHandle SINUSOID = Downcalls.status("PPPPJJ");
    private static final MethodHandle THREE_AND_TWO = Downcalls.status("PPPJJ");
    private static final MethodHandle THREE_AND_ONE = Downcalls.status("PPPJ");
    private static final MethodHandle FOUR_AND_ONE = Downcalls.status("PPPPJ");
    private static final MethodHandle CROSS_ENTROPY = Downcalls.status("PPPPPJJF");
    private static final MethodHandle ADAMW = Downcalls.status("PPPPPJFFFFFFFF");
    private static final MethodHandle MUON = Downcalls.status("PPPPPPPJFFFFFII");
    private static final MethodHandle EMA = Downcalls.status("PPPJF");
    private static final MethodHandle FILL = Downcalls.status("PPJF");

    private final NativeStream stream;
    private final NativeLibrary library;
    private final String backend;
    private final Symbols symbols = new Symbols();

    /// @param stream   of the library to bind; belongs to the backend
    /// @param backend  its name, for messages
    public NativeTrainingKernels(NativeStream stream, String backend) {
        this.stream = stream;
        this.library = stream.library();
        this.backend = backend;
    }

    /// Addresses by operation and suffix.
    private final class Symbols {
        private final Map<String, MemorySegment> found = new HashMap<>();

        MemorySegment of(String operation) {
            return found.computeIfAbsent(operation, name -> library.symbol("sjd2_train_" + name));
        }

        MemorySegment of(String operation, DType dtype) {
            return of(dtype == DType.F32 ? operation + "_f32" : operation + "_bf16");
        }
    }

    @Override
    public void gemm(
            Tensor c,
            @Nullable Tensor addend,
            Tensor a,
            Tensor b,
            boolean aTransposed,
            boolean bTransposed,
            DType product) {
        String op = "gemm";
        activation(op, "c", c);
        activation(op, "a", a);
        activation(op, "b", b);
        long m = a.dim(aTransposed ? 1 : 0);
        long k = a.dim(aTransposed ? 0 : 1);
        long n = b.dim(bTransposed ? 0 : 1);
        shape(op, "b", b, bTransposed ? n : k, bTransposed ? k : n);
        shape(op, "c", c, m, n);
        addend(op, addend, c);
        int status;
        try {
            status = (int) GEMM.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    c.data(),
                    orNull(addend),
                    a.data(),
                    b.data(),
                    m,
                    n,
                    k,
                    n,
                    n,
                    a.dim(1),
                    b.dim(1),
                    c.dtype().code(),
                    a.dtype().code(),
                    b.dtype().code(),
                    aTransposed ? 1 : 0,
                    bTransposed ? 1 : 0,
                    product.code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, c, a, b);
    }

    @Override
    public long packedBytes(long n, long k, DType product) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
            int status;
            try {
                status = (int) PACKED_BYTES.invokeExact(
                        symbols.of("packed_bytes"), stream.handle(), out, n, k, product.code());
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, "packed_bytes");
            return out.get(ValueLayout.JAVA_LONG, 0);
        }
    }

    @Override
    public void pack(Tensor packed, Tensor b, boolean transposed, DType product) {
        String op = "pack";
        dtype(op, "b", b, DType.F32);
        dtype(op, "packed", packed, DType.U8);
        long k = b.dim(transposed ? 1 : 0);
        long n = b.dim(transposed ? 0 : 1);
        packedSize(op, packed, n, k, product);
        int status;
        try {
            status = (int) PACK.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    packed.data(),
                    b.data(),
                    n,
                    k,
                    b.dim(1),
                    transposed ? 1 : 0,
                    product.code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, packed, b);
    }

    @Override
    public void gemmPacked(Tensor c, @Nullable Tensor addend, Tensor a, Tensor packed, DType product) {
        String op = "gemm_packed";
        activation(op, "c", c);
        activation(op, "a", a);
        long m = a.dim(0);
        long k = a.dim(1);
        long n = c.dim(1);
        shape(op, "c", c, m, n);
        addend(op, addend, c);
        packedSize(op, packed, n, k, product);
        int status;
        try {
            status = (int) GEMM_PACKED.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    c.data(),
                    orNull(addend),
                    a.data(),
                    packed.data(),
                    m,
                    n,
                    k,
                    n,
                    n,
                    k,
                    c.dtype().code(),
                    a.dtype().code(),
                    product.code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, c, a);
    }

    @Override
    public void rmsNormForward(Tensor y, Tensor rstd, Tensor x, Tensor weight, @Nullable Tensor rows, float eps) {
        String op = "rms_norm_forward";
        activation(op, "y", y);
        long m = y.dim(0);
        long hidden = y.dim(1);
        normShapes(op, rstd, x, weight, rows, m, hidden);
        int status;
        try {
            status = (int) RMS_FORWARD.invokeExact(
                    symbols.of(op, y.dtype()),
                    stream.handle(),
                    y.data(),
                    rstd.data(),
                    x.data(),
                    weight.data(),
                    orNull(rows),
                    m,
                    hidden,
                    eps);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, y, x);
    }

    @Override
    public void rmsNormBackward(
            Tensor dx, Tensor dWeight, Tensor dy, Tensor x, Tensor weight, Tensor rstd, @Nullable Tensor rows) {
        String op = "rms_norm_backward";
        activation(op, "dy", dy);
        long m = dy.dim(0);
        long hidden = dy.dim(1);
        normShapes(op, rstd, x, weight, rows, m, hidden);
        dtype(op, "dx", dx, DType.F32);
        shape(op, "dx", dx, x.dim(0), hidden);
        floats(op, "dWeight", dWeight, hidden);
        int status;
        try {
            status = (int) RMS_BACKWARD.invokeExact(
                    symbols.of(op, dy.dtype()),
                    stream.handle(),
                    dx.data(),
                    dWeight.data(),
                    dy.data(),
                    x.data(),
                    weight.data(),
                    rstd.data(),
                    orNull(rows),
                    m,
                    hidden);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, dx, dy);
    }

    @Override
    public void qkNormForward(
            Tensor y, Tensor stats, Tensor x, Tensor params, int qNormRows, int heads, int kvHeads, float eps) {
        String op = "qk_norm_forward";
        activation(op, "y", y);
        QkParams p = qkParams(op, x, stats, params, qNormRows, y, heads, kvHeads);
        int status;
        try {
            status = (int) QK_FORWARD.invokeExact(
                    symbols.of(op, y.dtype()),
                    stream.handle(),
                    y.data(),
                    stats.data(),
                    x.data(),
                    p.at(0),
                    p.at(1),
                    p.at(2),
                    p.at(3),
                    y.dim(0),
                    (long) heads,
                    (long) kvHeads,
                    p.headDim(),
                    p.qRows(),
                    p.kRows(),
                    eps);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, y, params);
    }

    @Override
    public void qkNormBackward(
            Tensor dy, Tensor dParams, Tensor x, Tensor stats, Tensor params, int qNormRows, int heads, int kvHeads) {
        String op = "qk_norm_backward";
        activation(op, "dy", dy);
        QkParams p = qkParams(op, x, stats, params, qNormRows, dy, heads, kvHeads);
        floats(op, "dParams", dParams, params.elements());
        int status;
        try {
            status = (int) QK_BACKWARD.invokeExact(
                    symbols.of(op, dy.dtype()),
                    stream.handle(),
                    dy.data(),
                    dParams.data(),
                    x.data(),
                    stats.data(),
                    p.at(0),
                    p.at(2),
                    dy.dim(0),
                    (long) heads,
                    (long) kvHeads,
                    p.headDim(),
                    p.qRows(),
                    p.kRows());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, dy, params);
    }

    private record QkParams(MemorySegment data, long qRows, long kRows, long headDim) {
        MemorySegment at(int part) {
            long row = part < 2 ? part * qRows : 2 * qRows + (part - 2) * kRows;
            return data.asSlice(row * headDim * Float.BYTES);
        }
    }

    private QkParams qkParams(
            String op, Tensor x, Tensor stats, Tensor params, int qRows, Tensor y, int heads, int kvHeads) {
        dtype(op, "params", params, DType.F32);
        long kRows = params.dim(0) / 2 - qRows;
        long headDim = params.dim(1);
        shape(op, "params", params, 2L * qRows + 2 * kRows, headDim);
        if (qRows < 1 || kRows < 1 || heads % qRows != 0 || kvHeads % kRows != 0) {
            throw new IllegalArgumentException(op + ": norm_rows " + qRows + " and " + kRows + " must divide n_heads "
                    + heads + " and n_kv_heads " + kvHeads);
        }
        dtype(op, "x", x, y.dtype());
        count(op, "x", x, y.elements());
        count(op, "y", y, y.dim(0) * (heads + 2L * kvHeads) * headDim);
        floats(op, "stats", stats, y.dim(0) * (heads + kvHeads) * 2);
        return new QkParams(params.data(), qRows, kRows, headDim);
    }

    @Override
    public void rope(Tensor x, Tensor cos, Tensor sin, Tensor position, int heads, boolean inverse) {
        String op = "rope";
        activation(op, "x", x);
        dtype(op, "cos", cos, DType.F32);
        long headDim = 2 * cos.dim(1);
        floats(op, "sin", sin, cos.elements());
        ints(op, "position", position, x.dim(0));
        if (heads * headDim > x.dim(1)) {
            throw new IllegalArgumentException(
                    op + ": x is " + x + ", too narrow for " + heads + " heads of " + headDim);
        }
        int status;
        try {
            status = (int) ROPE.invokeExact(
                    symbols.of(op, x.dtype()),
                    stream.handle(),
                    x.data(),
                    cos.data(),
                    sin.data(),
                    position.data(),
                    x.dim(0),
                    (long) heads,
                    headDim,
                    x.dim(1),
                    inverse ? 1 : 0);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, x, cos);
    }

    @Override
    public void swigluForward(Tensor act, Tensor gateUp) {
        String op = "swiglu_forward";
        activation(op, "act", act);
        dtype(op, "gateUp", gateUp, act.dtype());
        shape(op, "gateUp", gateUp, act.dim(0), 2 * act.dim(1));
        int status;
        try {
            status = (int) SWIGLU_FORWARD.invokeExact(
                    symbols.of(op, act.dtype()), stream.handle(), act.data(), gateUp.data(), act.dim(0), act.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, act, gateUp);
    }

    @Override
    public void swigluBackward(Tensor dGateUp, Tensor dAct, Tensor gateUp) {
        String op = "swiglu_backward";
        activation(op, "dAct", dAct);
        dtype(op, "gateUp", gateUp, dAct.dtype());
        dtype(op, "dGateUp", dGateUp, dAct.dtype());
        shape(op, "gateUp", gateUp, dAct.dim(0), 2 * dAct.dim(1));
        shape(op, "dGateUp", dGateUp, dAct.dim(0), 2 * dAct.dim(1));
        int status;
        try {
            status = (int) SWIGLU_BACKWARD.invokeExact(
                    symbols.of(op, dAct.dtype()),
                    stream.handle(),
                    dGateUp.data(),
                    dAct.data(),
                    gateUp.data(),
                    dAct.dim(0),
                    dAct.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, dGateUp, gateUp);
    }

    @Override
    public void attentionForward(
            Tensor out, Tensor lse, Tensor qkv, Tensor offsets, int heads, int kvHeads, float scale) {
        String op = "attention_forward";
        activation(op, "qkv", qkv);
        long headDim = attentionShapes(op, out, lse, qkv, offsets, heads, kvHeads);
        long size = qkv.dtype().bytes();
        int status;
        try {
            status = (int) ATTENTION_FORWARD.invokeExact(
                    symbols.of(op, qkv.dtype()),
                    stream.handle(),
                    out.data(),
                    lse.data(),
                    qkv.data(),
                    qkv.data().asSlice(heads * headDim * size),
                    qkv.data().asSlice((heads + kvHeads) * headDim * size),
                    offsets.data(),
                    offsets.elements() - 1,
                    (long) heads,
                    (long) kvHeads,
                    headDim,
                    qkv.dim(1),
                    scale);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, out, qkv, offsets);
    }

    @Override
    public void attentionBackward(
            Tensor dQkv,
            Tensor dOut,
            Tensor out,
            Tensor lse,
            Tensor qkv,
            Tensor offsets,
            int heads,
            int kvHeads,
            float scale) {
        String op = "attention_backward";
        activation(op, "qkv", qkv);
        long headDim = attentionShapes(op, out, lse, qkv, offsets, heads, kvHeads);
        dtype(op, "dQkv", dQkv, qkv.dtype());
        shape(op, "dQkv", dQkv, qkv.dim(0), qkv.dim(1));
        dtype(op, "dOut", dOut, qkv.dtype());
        count(op, "dOut", dOut, out.elements());
        long size = qkv.dtype().bytes();
        long k = heads * headDim * size;
        long v = (heads + kvHeads) * headDim * size;
        int status;
        try {
            status = (int) ATTENTION_BACKWARD.invokeExact(
                    symbols.of(op, qkv.dtype()),
                    stream.handle(),
                    dQkv.data(),
                    dQkv.data().asSlice(k),
                    dQkv.data().asSlice(v),
                    dOut.data(),
                    out.data(),
                    lse.data(),
                    qkv.data(),
                    qkv.data().asSlice(k),
                    qkv.data().asSlice(v),
                    offsets.data(),
                    offsets.elements() - 1,
                    (long) heads,
                    (long) kvHeads,
                    headDim,
                    qkv.dim(1),
                    scale);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, dQkv, qkv, offsets);
    }

    private long attentionShapes(
            String op, Tensor out, Tensor lse, Tensor qkv, Tensor offsets, int heads, int kvHeads) {
        if (kvHeads < 1 || heads % kvHeads != 0) {
            throw new IllegalArgumentException(op + ": n_kv_heads " + kvHeads + " must divide n_heads " + heads);
        }
        long m = qkv.dim(0);
        long headDim = qkv.dim(1) / (heads + 2L * kvHeads);
        shape(op, "qkv", qkv, m, (heads + 2L * kvHeads) * headDim);
        dtype(op, "out", out, qkv.dtype());
        count(op, "out", out, m * heads * headDim);
        floats(op, "lse", lse, m * heads);
        dtype(op, "offsets", offsets, DType.I32);
        if (offsets.elements() < 1) {
            throw new IllegalArgumentException(op + ": offsets is empty, expected [sequences + 1]");
        }
        return headDim;
    }

    @Override
    public void gatherRows(Tensor x, Tensor table, Tensor index, boolean accumulate) {
        String op = "gather_rows";
        dtype(op, "x", x, DType.F32);
        dtype(op, "table", table, DType.F32);
        shape(op, "table", table, table.dim(0), x.dim(1));
        ints(op, "index", index, x.dim(0));
        int status;
        try {
            status = (int) GATHER.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    x.data(),
                    table.data(),
                    index.data(),
                    x.dim(0),
                    x.dim(1),
                    accumulate ? 1 : 0);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, x, table);
    }

    @Override
    public void scatterAddRows(Tensor table, Tensor x, Tensor index, @Nullable Tensor scale) {
        String op = "scatter_add_rows";
        dtype(op, "x", x, DType.F32);
        dtype(op, "table", table, DType.F32);
        shape(op, "table", table, table.dim(0), x.dim(1));
        ints(op, "index", index, x.dim(0));
        if (scale != null) {
            floats(op, "scale", scale, x.dim(0));
        }
        int status;
        try {
            status = (int) SCATTER.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    table.data(),
                    x.data(),
                    index.data(),
                    orNull(scale),
                    x.dim(0),
                    x.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, table, x);
    }

    @Override
    public void noiseMix(
            Tensor x,
            Tensor rows,
            Tensor alpha,
            Tensor sigma,
            Tensor noise,
            Tensor mean,
            Tensor std,
            @Nullable Tensor level) {
        String op = "noise_mix";
        long n = rows.elements();
        long hidden = x.dim(1);
        dtype(op, "x", x, DType.F32);
        ints(op, "rows", rows, n);
        floats(op, "alpha", alpha, n);
        floats(op, "sigma", sigma, n);
        floats(op, "noise", noise, n * hidden);
        floats(op, "mean", mean, hidden);
        floats(op, "std", std, hidden);
        if (level != null) {
            floats(op, "level", level, n * hidden);
        }
        int status;
        try {
            status = (int) NOISE_MIX.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    x.data(),
                    rows.data(),
                    alpha.data(),
                    sigma.data(),
                    noise.data(),
                    mean.data(),
                    std.data(),
                    orNull(level),
                    n,
                    hidden);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, x, rows);
    }

    @Override
    public void philoxNormal(Tensor out, Tensor high, Tensor low, long seed, int streamHigh) {
        String op = "philox_normal";
        dtype(op, "out", out, DType.F32);
        ints(op, "high", high, out.dim(0));
        ints(op, "low", low, out.dim(0));
        int status;
        try {
            status = (int) PHILOX.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    out.data(),
                    high.data(),
                    low.data(),
                    out.dim(0),
                    out.dim(1),
                    seed,
                    streamHigh);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, out);
    }

    @Override
    public void sinusoid(Tensor out, Tensor t, Tensor frequencies) {
        String op = "sinusoid";
        dtype(op, "out", out, DType.F32);
        dtype(op, "t", t, DType.F64);
        dtype(op, "frequencies", frequencies, DType.F64);
        shape(op, "out", out, t.elements(), 2 * frequencies.elements());
        int status;
        try {
            status = (int) SINUSOID.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    out.data(),
                    t.data(),
                    frequencies.data(),
                    t.elements(),
                    frequencies.elements());
        } catch (Throwable thrown) {
            throw Downcalls.unexpected(thrown);
        }
        require(status, op, out);
    }

    @Override
    public void addBias(Tensor x, Tensor bias) {
        String op = "add_bias";
        dtype(op, "x", x, DType.F32);
        floats(op, "bias", bias, x.dim(1));
        int status;
        try {
            status = (int) THREE_AND_TWO.invokeExact(
                    symbols.of(op), stream.handle(), x.data(), bias.data(), x.dim(0), x.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, x, bias);
    }

    @Override
    public void columnSum(Tensor out, Tensor x) {
        String op = "column_sum";
        dtype(op, "x", x, DType.F32);
        floats(op, "out", out, x.dim(1));
        int status;
        try {
            status = (int) THREE_AND_TWO.invokeExact(
                    symbols.of(op), stream.handle(), out.data(), x.data(), x.dim(0), x.dim(1));
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, out, x);
    }

    @Override
    public void siluForward(Tensor y, Tensor x) {
        String op = "silu_forward";
        dtype(op, "x", x, DType.F32);
        floats(op, "y", y, x.elements());
        int status;
        try {
            status = (int) THREE_AND_ONE.invokeExact(symbols.of(op), stream.handle(), y.data(), x.data(), x.elements());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, y, x);
    }

    @Override
    public void siluBackward(Tensor dx, Tensor dy, Tensor x) {
        String op = "silu_backward";
        dtype(op, "x", x, DType.F32);
        floats(op, "dx", dx, x.elements());
        floats(op, "dy", dy, x.elements());
        int status;
        try {
            status = (int) FOUR_AND_ONE.invokeExact(
                    symbols.of(op), stream.handle(), dx.data(), dy.data(), x.data(), x.elements());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, dx, x);
    }

    @Override
    public void crossEntropy(Tensor losses, @Nullable Tensor dLogits, Tensor logits, Tensor target, float scale) {
        String op = "cross_entropy";
        dtype(op, "logits", logits, DType.F32);
        floats(op, "losses", losses, logits.dim(0));
        ints(op, "target", target, logits.dim(0));
        if (dLogits != null) {
            activation(op, "dLogits", dLogits);
            shape(op, "dLogits", dLogits, logits.dim(0), logits.dim(1));
        }
        int status;
        try {
            status = (int) CROSS_ENTROPY.invokeExact(
                    symbols.of(op, dLogits == null ? DType.F32 : dLogits.dtype()),
                    stream.handle(),
                    losses.data(),
                    orNull(dLogits),
                    logits.data(),
                    target.data(),
                    logits.dim(0),
                    logits.dim(1),
                    scale);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, logits);
    }

    @Override
    public void adamw(
            Tensor param,
            Tensor first,
            Tensor second,
            Tensor grad,
            long step,
            float lr,
            float beta1,
            float beta2,
            float eps,
            float decay,
            float gradScale) {
        String op = "adamw";
        long n = param.elements();
        floats(op, "param", param, n);
        floats(op, "first", first, n);
        floats(op, "second", second, n);
        floats(op, "grad", grad, n);
        float correction1 = (float) (1 - Math.pow(beta1, step));
        float correction2 = (float) (1 - Math.pow(beta2, step));
        int status;
        try {
            status = (int) ADAMW.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    param.data(),
                    first.data(),
                    second.data(),
                    grad.data(),
                    n,
                    lr,
                    beta1,
                    beta2,
                    eps,
                    decay,
                    correction1,
                    correction2,
                    gradScale);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, param);
    }

    @Override
    public void muon(
            Tensor param,
            Tensor momentum,
            Tensor grad,
            Tensor offsets,
            Tensor rows,
            Tensor cols,
            float lr,
            float beta,
            float decay,
            float rms,
            float gradScale,
            int steps,
            DType product) {
        String op = "muon";
        floats(op, "param", param, param.elements());
        floats(op, "momentum", momentum, param.elements());
        floats(op, "grad", grad, param.elements());
        for (Tensor list : new Tensor[] {offsets, rows, cols}) {
            dtype(op, "offsets, rows and cols", list, DType.I64);
            count(op, "offsets, rows and cols", list, offsets.elements());
        }
        int status;
        try {
            status = (int) MUON.invokeExact(
                    symbols.of(op),
                    stream.handle(),
                    param.data(),
                    momentum.data(),
                    grad.data(),
                    offsets.data(),
                    rows.data(),
                    cols.data(),
                    offsets.elements(),
                    lr,
                    beta,
                    decay,
                    rms,
                    gradScale,
                    steps,
                    product.code());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, param, offsets);
    }

    @Override
    public void ema(Tensor average, Tensor param, float decay) {
        String op = "ema";
        floats(op, "param", param, param.elements());
        floats(op, "average", average, param.elements());
        int status;
        try {
            status = (int) EMA.invokeExact(
                    symbols.of(op), stream.handle(), average.data(), param.data(), param.elements(), decay);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, average);
    }

    @Override
    public double sumSquares(Tensor x) {
        String op = "sum_squares";
        floats(op, "x", x, x.elements());
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_DOUBLE);
            int status;
            try {
                status = (int) THREE_AND_ONE.invokeExact(symbols.of(op), stream.handle(), out, x.data(), x.elements());
            } catch (Throwable t) {
                throw Downcalls.unexpected(t);
            }
            require(status, op, x);
            stream.synchronize();
            return out.get(ValueLayout.JAVA_DOUBLE, 0);
        }
    }

    @Override
    public void fill(Tensor x, float value) {
        String op = "fill";
        dtype(op, "x", x, DType.F32);
        int status;
        try {
            status = (int) FILL.invokeExact(symbols.of(op), stream.handle(), x.data(), x.elements(), value);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, x);
    }

    @Override
    public void toBf16(Tensor y, Tensor x) {
        String op = "to_bf16";
        dtype(op, "y", y, DType.BF16);
        dtype(op, "x", x, DType.F32);
        count(op, "y", y, x.elements());
        int status;
        try {
            status = (int) THREE_AND_ONE.invokeExact(symbols.of(op), stream.handle(), y.data(), x.data(), x.elements());
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
        require(status, op, y, x);
    }

    private static MemorySegment orNull(@Nullable Tensor t) {
        return t == null ? MemorySegment.NULL : t.data();
    }

    private static void normShapes(
            String op, Tensor rstd, Tensor x, Tensor weight, @Nullable Tensor rows, long m, long hidden) {
        dtype(op, "x", x, DType.F32);
        shape(op, "x", x, x.dim(0), hidden);
        floats(op, "rstd", rstd, m);
        floats(op, "weight", weight, hidden);
        if (rows != null) {
            ints(op, "rows", rows, m);
        } else if (x.dim(0) < m) {
            throw new IllegalArgumentException(op + ": x is " + x + ", expected at least m=" + m + " rows");
        }
    }

    private static void activation(String op, String name, Tensor t) {
        if (t.dtype() != DType.F32 && t.dtype() != DType.BF16) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected f32 or bf16");
        }
        if (t.rank() < 2) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected a matrix");
        }
    }

    private static void dtype(String op, String name, Tensor t, DType expected) {
        if (t.dtype() != expected) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected " + expected.label());
        }
    }

    private static void shape(String op, String name, Tensor t, long... expected) {
        if (!Arrays.equals(t.shape(), expected)) {
            throw new IllegalArgumentException(
                    op + ": " + name + " is " + t + ", expected " + Arrays.toString(expected));
        }
    }

    private static void count(String op, String name, Tensor t, long expected) {
        if (t.elements() != expected) {
            throw new IllegalArgumentException(op + ": " + name + " is " + t + ", expected " + expected + " elements");
        }
    }

    private static void floats(String op, String name, Tensor t, long expected) {
        dtype(op, name, t, DType.F32);
        count(op, name, t, expected);
    }

    private static void ints(String op, String name, Tensor t, long expected) {
        dtype(op, name, t, DType.I32);
        count(op, name, t, expected);
    }

    private void packedSize(String op, Tensor packed, long n, long k, DType product) {
        long bytes = packedBytes(n, k, product);
        if (packed.bytes() < bytes) {
            throw new IllegalArgumentException(
                    op + ": packed has " + packed.bytes() + " bytes, [k=" + k + ", n=" + n + "] needs " + bytes);
        }
    }

    private static void addend(String op, @Nullable Tensor addend, Tensor c) {
        if (addend != null) {
            dtype(op, "addend", addend, c.dtype());
            shape(op, "addend", addend, c.dim(0), c.dim(1));
        }
    }

    private void require(int status, String operation, Tensor... arguments) {
        if (status != 0) {
            throw library.failure(status, "train_" + operation, backend, Arrays.toString(arguments));
        }
    }
}
