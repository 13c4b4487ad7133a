package io.sjd2.train;

import io.sjd2.kernel.TrainingKernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.stream.IntStream;

/// What a model has whose codes are no tokens (Janus): an embedding of codes with layers that align it with the
/// residual stream, GELU between them, and an output head of two layers with GELU between them. All layers have
/// biases.
///
/// Activations are f32, products of the dtype asked for. GELU is the exact form, `x Phi(x)`, in f64 on the host, whose
/// memory this is: one row per code is little beside the blocks. Confined to one thread.
final class CodeNetwork {
    private static final String EMBEDDING = "image.embedding.weight";
    private static final String ALIGNER = "image.aligner.";
    private static final String HIDDEN = "image.head_hidden";
    /// Codes that are aligned at once where a whole table is made.
    private static final int TABLE_ROWS = 1024;

    private final TrainingKernels kernels;
    private final Parameters params;
    private final NetworkShape shape;
    private final NetworkShape.Codes codes;
    private final DType dtype;
    private final int alignRows;
    private final Tensor looked;
    private final Tensor dLooked;
    /// Outputs of each layer of the aligner, and what the next one reads of them.
    private final Tensor[] before;

    private final Tensor[] active;
    private final Tensor dAligned;
    private final Tensor dHidden;
    private final Tensor headBefore;
    private final Tensor headActive;
    private final Tensor dHead;

    CodeNetwork(
            TrainingKernels kernels,
            Parameters params,
            NetworkShape.Codes codes,
            DType dtype,
            Arena arena,
            int maxRows,
            int maxLosses) {
        this.kernels = kernels;
        this.params = params;
        this.shape = params.shape();
        this.codes = codes;
        this.dtype = dtype;
        this.alignRows = Math.toIntExact(alignRows(shape, maxRows));
        int d = shape.hiddenSize();
        this.looked = Parameters.host(arena, DType.F32, alignRows, codes.width());
        this.dLooked = Parameters.host(arena, DType.F32, alignRows, codes.width());
        this.before = new Tensor[codes.alignerLayers()];
        this.active = new Tensor[codes.alignerLayers() - 1];
        for (int l = 0; l < before.length; l++) {
            before[l] = Parameters.host(arena, DType.F32, alignRows, d);
            if (l < active.length) {
                active[l] = Parameters.host(arena, DType.F32, alignRows, d);
            }
        }
        this.dAligned = Parameters.host(arena, DType.F32, alignRows, d);
        this.dHidden = Parameters.host(arena, DType.F32, alignRows, d);
        this.headBefore = Parameters.host(arena, DType.F32, maxLosses, codes.headHidden());
        this.headActive = Parameters.host(arena, DType.F32, maxLosses, codes.headHidden());
        this.dHead = Parameters.host(arena, DType.F32, maxLosses, codes.headHidden());
    }

    private static long alignRows(NetworkShape shape, long maxRows) {
        return Math.max(maxRows, Math.min(TABLE_ROWS, shape.headRows()));
    }

    /// Bytes that an instance allocates.
    static long bytes(NetworkShape shape, NetworkShape.Codes codes, long maxRows, long maxLosses) {
        long rows = alignRows(shape, maxRows);
        long perRow = 2L * codes.width() + (2L * codes.alignerLayers() - 1 + 2) * shape.hiddenSize();
        return Float.BYTES * (rows * perRow + 3 * maxLosses * codes.headHidden());
    }

    private static String weight(int layer) {
        return ALIGNER + layer + ".weight";
    }

    private static String bias(int layer) {
        return ALIGNER + layer + ".bias";
    }

    private static Tensor first(Tensor t, long rows) {
        return Tensor.of(t.data(), t.dtype(), rows, t.dim(1));
    }

    /// `x[rows[i]] += align(embedding[index[i]])`.
    void embed(Tensor x, Tensor index, Tensor rows) {
        kernels.scatterAddRows(x, align(params.values(), index), rows, null);
    }

    /// Aligned embeddings, `[n, hidden_size]`, of the weights in `flat`; valid until the next call.
    private Tensor align(Tensor flat, Tensor index) {
        long n = index.dim(0);
        Tensor in = first(looked, n);
        kernels.gatherRows(in, params.view(flat, EMBEDDING), index, false);
        for (int l = 0; l < before.length; l++) {
            Tensor out = first(before[l], n);
            kernels.gemm(out, null, in, params.view(flat, weight(l)), false, true, dtype);
            kernels.addBias(out, params.view(flat, bias(l)));
            if (l < active.length) {
                in = first(active[l], n);
                gelu(in, out);
            } else {
                in = out;
            }
        }
        return in;
    }

    /// Aligned embeddings of all codes, of the weights in `flat`.
    ///
    /// @param table `[codes, hidden_size]`, f32
    void table(Tensor table, Tensor flat) {
        int all = shape.headRows();
        try (Arena arena = Arena.ofConfined()) {
            for (int from = 0; from < all; from += TABLE_ROWS) {
                int n = Math.min(TABLE_ROWS, all - from);
                Tensor index = Parameters.host(arena, DType.I32, n);
                for (int i = 0; i < n; i++) {
                    index.setInt(i, from + i);
                }
                Tensor aligned = align(flat, index);
                table.rows(from, n)
                        .data()
                        .asSlice(0, aligned.bytes())
                        .copyFrom(aligned.data().asSlice(0, aligned.bytes()));
            }
        }
    }

    /// Gradients of the last {@link #embed}.
    ///
    /// @param dx    gradient of the stream, `[m, hidden_size]`
    /// @param scale `[m]`: what each row of the embedding was multiplied with behind the aligner
    void embedBackward(Tensor dx, Tensor index, Tensor rows, Tensor scale) {
        int n = Math.toIntExact(index.dim(0));
        Tensor d = first(dAligned, n);
        kernels.gatherRows(d, dx, rows, false);
        for (int i = 0; i < n; i++) {
            float s = scale.getFloat(rows.getInt(i));
            if (s != 1) {
                scaleRow(d, i, s);
            }
        }
        Tensor free = dHidden;
        for (int l = before.length - 1; l >= 0; l--) {
            Tensor in = l == 0 ? first(looked, n) : first(active[l - 1], n);
            kernels.columnSum(params.grad(bias(l)), d);
            Tensor dw = params.grad(weight(l));
            kernels.gemm(dw, dw, d, in, true, false, dtype);
            Tensor dIn = first(l == 0 ? dLooked : free, n);
            kernels.gemm(dIn, null, d, params.value(weight(l)), false, false, dtype);
            if (l > 0) {
                geluBackward(dIn, first(before[l - 1], n));
            }
            free = d;
            d = dIn;
        }
        kernels.scatterAddRows(params.grad(EMBEDDING), d, index, null);
    }

    private static void scaleRow(Tensor t, int row, float scale) {
        long width = t.dim(1);
        for (long i = row * width; i < (row + 1) * width; i++) {
            t.setFloat(i, t.getFloat(i) * scale);
        }
    }

    /// `logits = head(gelu(hidden(normed)))`.
    ///
    /// @param logits `[n, codes]`, f32
    /// @param normed `[n, hidden_size]`
    void head(Tensor logits, Tensor normed) {
        long n = logits.dim(0);
        Tensor pre = first(headBefore, n);
        kernels.gemm(pre, null, normed, params.value(HIDDEN + ".weight"), false, true, dtype);
        kernels.addBias(pre, params.value(HIDDEN + ".bias"));
        Tensor act = first(headActive, n);
        gelu(act, pre);
        kernels.gemm(logits, null, act, params.value(shape.headName()), false, true, dtype);
        kernels.addBias(logits, params.value(shape.headBias()));
    }

    /// Gradients of the last {@link #head}.
    ///
    /// @param dNormed  `[n, hidden_size]`, overwritten
    /// @param dLogits  `[n, codes]`, f32
    void headBackward(Tensor dNormed, Tensor dLogits, Tensor normed) {
        long n = dLogits.dim(0);
        Tensor act = first(headActive, n);
        kernels.columnSum(params.grad(shape.headBias()), dLogits);
        Tensor dw = params.grad(shape.headName());
        kernels.gemm(dw, dw, dLogits, act, true, false, dtype);
        Tensor d = first(dHead, n);
        kernels.gemm(d, null, dLogits, params.value(shape.headName()), false, false, dtype);
        geluBackward(d, first(headBefore, n));
        kernels.columnSum(params.grad(HIDDEN + ".bias"), d);
        Tensor dh = params.grad(HIDDEN + ".weight");
        kernels.gemm(dh, dh, d, normed, true, false, dtype);
        kernels.gemm(dNormed, null, d, params.value(HIDDEN + ".weight"), false, false, dtype);
    }

    private static void gelu(Tensor y, Tensor x) {
        MemorySegment in = x.data();
        MemorySegment out = y.data();
        overRows(x, i -> {
            float v = in.getAtIndex(ValueLayout.JAVA_FLOAT, i);
            out.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) (v * Gelu.phi(v)));
        });
    }

    /// `d *= gelu'(x)`.
    private static void geluBackward(Tensor d, Tensor x) {
        MemorySegment in = x.data();
        MemorySegment grad = d.data();
        overRows(x, i -> {
            double v = in.getAtIndex(ValueLayout.JAVA_FLOAT, i);
            float g = grad.getAtIndex(ValueLayout.JAVA_FLOAT, i);
            grad.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) (g * Gelu.derivative(v)));
        });
    }

    private interface Element {
        void at(long index);
    }

    private static void overRows(Tensor x, Element each) {
        long width = x.dim(1);
        IntStream.range(0, Math.toIntExact(x.dim(0))).parallel().forEach(row -> {
            for (long i = row * width; i < (row + 1) * width; i++) {
                each.at(i);
            }
        });
    }
}
