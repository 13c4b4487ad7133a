package io.sjd2.train;

import io.sjd2.kernel.TrainingKernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;

/// Forward and backward pass of the transformer over a {@link SequenceBatch}.
///
/// Activations have the dtype of the products (f32, or bf16); the residual stream, its gradient and all weights are
/// f32. Gradients are added to {@link Parameters#grads()}. After the weights change, {@link #weightsChanged()} must
/// be called. Confined to one thread. All memory belongs to the arena that was passed.
final class Network {
    private static final String EMBEDDING = "model.embed_tokens.weight";
    /// Biases of a block, each the first of those that are added together.
    private static final String Q_BIAS = "self_attn.q_proj.bias";

    private static final String OUT_BIAS = "self_attn.o_proj.bias";
    private static final String GATE_BIAS = "mlp.gate_proj.bias";
    private static final String DOWN_BIAS = "mlp.down_proj.bias";

    private final TrainingKernels kernels;
    private final NetworkShape shape;
    private final Parameters params;
    private final DType dtype;
    private final int maxRows;
    private final int maxLosses;

    private final Tensor cos;
    private final Tensor sin;
    private final Tensor frequencies;
    private final Layer[] layers;
    private final @Nullable Packed head;
    /// Of codes that are no tokens.
    private final @Nullable CodeNetwork codeNetwork;
    /// Of a head that is rows of the embedding table: which rows, those rows, and their gradient.
    private final @Nullable Tied tied;

    private record Tied(Tensor rows, Tensor weights, Tensor gradient) {}

    private final Tensor[] stream;
    private final Tensor finalNormed;
    private final Tensor finalRstd;
    private final Tensor logits;
    private final Tensor losses;
    private final Tensor dLogits;
    private final Tensor dStream;
    private final Tensor dNormed;
    private final Tensor dNarrow;
    /// One branch's output or its gradient, where branches are normalised; else empty.
    private final Tensor dBranch;

    private final Tensor everyRow;
    /// `[maxRows, 1]` of 1, where there are biases; else empty.
    private final Tensor ones;

    private final Tensor dQkv;
    private final Tensor dAttention;
    private final Tensor dAct;
    private final Level level;

    /// Weights of a fused matrix, packed for the forward and for the backward product.
    private final class Packed {
        private final String name;
        private final long out;
        private final long in;
        private final Tensor forward;
        private final Tensor backward;

        /// @param name the first of the matrices; empty for one that is packed from elsewhere
        Packed(Arena arena, String name, long out, long in) {
            this.name = name;
            this.out = out;
            this.in = in;
            this.forward = Parameters.host(arena, DType.U8, kernels.packedBytes(out, in, dtype));
            this.backward = Parameters.host(arena, DType.U8, kernels.packedBytes(in, out, dtype));
        }

        void pack() {
            pack(params.fused(params.values(), name, out, in));
        }

        void pack(Tensor w) {
            kernels.pack(forward, w, true, dtype);
            kernels.pack(backward, w, false, dtype);
        }

        /// `y = [addend +] x W^T`.
        void apply(Tensor y, @Nullable Tensor addend, Tensor x) {
            kernels.gemmPacked(y, addend, x, forward, dtype);
        }

        /// `dx = dy W`.
        void applyBackward(Tensor dx, Tensor dy) {
            kernels.gemmPacked(dx, null, dy, backward, dtype);
        }

        /// `dx += dy W`.
        void addBackward(Tensor dx, Tensor dy) {
            kernels.gemmPacked(dx, dx, dy, backward, dtype);
        }

        /// `dW += dy^T x`.
        void accumulate(Tensor dy, Tensor x) {
            Tensor dw = params.fused(params.grads(), name, out, in);
            kernels.gemm(dw, dw, dy, x, true, false, dtype);
        }
    }

    /// One block: its weights and what its backward pass needs.
    private final class Layer {
        private final String prefix;
        private final Packed qkvWeights;
        private final Packed outWeights;
        private final Packed gateUpWeights;
        private final Packed downWeights;
        private final Tensor normed;
        private final Tensor rstd;
        private final @Nullable Tensor rawQkv;
        private final @Nullable Tensor qkStats;
        private final Tensor qkv;
        private final Tensor attention;
        private final Tensor lse;
        private final Tensor middle;
        private final Tensor middleNormed;
        private final Tensor middleRstd;
        private final Tensor gateUp;
        private final Tensor act;
        /// Outputs of attention and MLP where those are normalised, else null.
        private final @Nullable Tensor attentionOut;

        private final @Nullable Tensor mlpOut;

        Layer(Arena arena, int index) {
            int d = shape.hiddenSize();
            int inter = shape.intermediateSize();
            prefix = "model.layers." + index + ".";
            qkvWeights = new Packed(arena, prefix + "self_attn.q_proj.weight", shape.qkvColumns(), d);
            outWeights = new Packed(arena, prefix + "self_attn.o_proj.weight", d, shape.attentionColumns());
            gateUpWeights = new Packed(arena, prefix + "mlp.gate_proj.weight", 2L * inter, d);
            downWeights = new Packed(arena, prefix + "mlp.down_proj.weight", d, inter);
            boolean post = shape.normsBranches();
            attentionOut = post ? Parameters.host(arena, DType.F32, maxRows, d) : null;
            mlpOut = post ? Parameters.host(arena, DType.F32, maxRows, d) : null;
            normed = Parameters.host(arena, dtype, maxRows, d);
            rstd = Parameters.host(arena, DType.F32, maxRows);
            boolean qkNorm = shape.normsHeads();
            rawQkv = qkNorm ? Parameters.host(arena, dtype, maxRows, shape.qkvColumns()) : null;
            qkStats =
                    qkNorm ? Parameters.host(arena, DType.F32, maxRows, 2L * (shape.heads() + shape.kvHeads())) : null;
            qkv = Parameters.host(arena, dtype, maxRows, shape.qkvColumns());
            attention = Parameters.host(arena, dtype, maxRows, shape.attentionColumns());
            lse = Parameters.host(arena, DType.F32, maxRows, shape.heads());
            middle = Parameters.host(arena, DType.F32, maxRows, d);
            middleNormed = Parameters.host(arena, dtype, maxRows, d);
            middleRstd = Parameters.host(arena, DType.F32, maxRows);
            gateUp = Parameters.host(arena, dtype, maxRows, 2L * inter);
            act = Parameters.host(arena, dtype, maxRows, inter);
        }

        void pack() {
            qkvWeights.pack();
            outWeights.pack();
            gateUpWeights.pack();
            downWeights.pack();
        }

        private Tensor weight(String name) {
            return params.value(prefix + name);
        }

        private Tensor grad(String name) {
            return params.grad(prefix + name);
        }

        private Tensor qkParams(Tensor flat) {
            return params.fused(flat, prefix + "self_attn.q_norm.weight", shape.headNormRows(), shape.headDim());
        }

        void forward(Tensor out, Tensor in, SequenceBatch batch) {
            int m = batch.rows();
            Tensor h = firstRows(normed, m);
            if (attentionOut == null) {
                norm(h, rstd, in, "input_layernorm.weight");
            } else {
                round(h, in);
            }
            Tensor projected = firstRows(qkv, m);
            if (rawQkv != null && qkStats != null) {
                Tensor raw = firstRows(rawQkv, m);
                qkvWeights.apply(raw, null, h);
                addBias(raw, Q_BIAS);
                kernels.qkNormForward(
                        projected,
                        firstRows(qkStats, m),
                        raw,
                        qkParams(params.values()),
                        shape.qNormRows(),
                        shape.heads(),
                        shape.kvHeads(),
                        NetworkShape.QK_NORM_EPS);
            } else {
                qkvWeights.apply(projected, null, h);
                addBias(projected, Q_BIAS);
            }
            int rotated = shape.heads() + shape.kvHeads();
            kernels.rope(projected, cos, sin, batch.positions(), rotated, false);
            Tensor attended = firstRows(attention, m);
            kernels.attentionForward(
                    attended, firstRows(lse, m), projected, batch.offsets(), shape.heads(), shape.kvHeads(), scale());
            Tensor mid = firstRows(middle, m);
            Tensor h2 = firstRows(middleNormed, m);
            if (attentionOut == null) {
                outWeights.apply(mid, in, attended);
                addBias(mid, OUT_BIAS);
                norm(h2, middleRstd, mid, "post_attention_layernorm.weight");
            } else {
                outWeights.apply(firstRows(attentionOut, m), null, attended);
                addBias(firstRows(attentionOut, m), OUT_BIAS);
                addNormed(mid, in, attentionOut, rstd, "input_layernorm.weight");
                round(h2, mid);
            }
            Tensor gu = firstRows(gateUp, m);
            gateUpWeights.apply(gu, null, h2);
            addBias(gu, GATE_BIAS);
            Tensor a = firstRows(act, m);
            kernels.swigluForward(a, gu);
            if (mlpOut == null) {
                downWeights.apply(out, mid, a);
                addBias(out, DOWN_BIAS);
            } else {
                downWeights.apply(firstRows(mlpOut, m), null, a);
                addBias(firstRows(mlpOut, m), DOWN_BIAS);
                addNormed(out, mid, mlpOut, middleRstd, "post_attention_layernorm.weight");
            }
        }

        /// `y += bias`, of the products whose first is named; nothing without. Where `y` is bf16 the bias is rounded,
        /// as both operands of a product are.
        private void addBias(Tensor y, String name) {
            if (!params.has(prefix + name)) {
                return;
            }
            Tensor bias = params.fused(params.values(), prefix + name, y.dim(1));
            if (y.dtype() == DType.F32) {
                kernels.addBias(y, bias);
            } else {
                kernels.gemm(y, y, firstRows(ones, y.dim(0)), bias.view(1, y.dim(1)), false, false, dtype);
            }
        }

        /// The bias' gradient, the sums of `dy`'s columns, each in one order.
        private void accumulateBias(String name, Tensor dy) {
            if (!params.has(prefix + name)) {
                return;
            }
            Tensor gradient = params.fused(params.grads(), prefix + name, dy.dim(1));
            if (dy.dtype() == DType.F32) {
                kernels.columnSum(gradient, dy);
            } else {
                Tensor row = gradient.view(1, dy.dim(1));
                kernels.gemm(row, row, firstRows(ones, dy.dim(0)), dy, true, false, dtype);
            }
        }

        private void norm(Tensor y, Tensor scales, Tensor x, String name) {
            kernels.rmsNormForward(y, vector(scales, x.dim(0)), x, weight(name), null, shape.rmsNormEps());
        }

        /// `y = x + norm(branch)`.
        private void addNormed(Tensor y, Tensor x, Tensor branch, Tensor scales, String name) {
            Tensor normed = firstRows(dBranch, x.dim(0));
            norm(normed, scales, firstRows(branch, x.dim(0)), name);
            Tensor every = vector(everyRow, x.dim(0));
            kernels.gatherRows(y, x, every, false);
            kernels.gatherRows(y, normed, every, true);
        }

        /// The gradient of a branch in front of its norm, given that behind it.
        private Tensor beforeNorm(Tensor dy, Tensor branch, Tensor scales, String name) {
            Tensor d = firstRows(dBranch, dy.dim(0));
            kernels.fill(d, 0);
            kernels.rmsNormBackward(
                    d, grad(name), dy, firstRows(branch, dy.dim(0)), weight(name), vector(scales, dy.dim(0)), null);
            return d;
        }

        /// Replaces the gradient of this block's output in `dx` by that of its input.
        void backward(Tensor dx, Tensor in, SequenceBatch batch) {
            int m = batch.rows();
            Tensor wide = mlpOut == null ? dx : beforeNorm(dx, mlpOut, middleRstd, "post_attention_layernorm.weight");
            accumulateBias(DOWN_BIAS, wide);
            Tensor dy = narrow(wide);
            Tensor da = firstRows(dAct, m);
            downWeights.applyBackward(da, dy);
            downWeights.accumulate(dy, firstRows(act, m));
            Tensor gu = firstRows(gateUp, m);
            kernels.swigluBackward(gu, da, gu);
            accumulateBias(GATE_BIAS, gu);
            Tensor h2 = firstRows(middleNormed, m);
            gateUpWeights.accumulate(gu, h2);
            Tensor dh = firstRows(dNormed, m);
            if (attentionOut == null) {
                gateUpWeights.applyBackward(dh, gu);
                kernels.rmsNormBackward(
                        dx,
                        grad("post_attention_layernorm.weight"),
                        dh,
                        firstRows(middle, m),
                        weight("post_attention_layernorm.weight"),
                        vector(middleRstd, m),
                        null);
                wide = dx;
            } else {
                gateUpWeights.addBackward(dx, gu);
                wide = beforeNorm(dx, attentionOut, rstd, "input_layernorm.weight");
            }
            accumulateBias(OUT_BIAS, wide);
            dy = narrow(wide);
            Tensor dAtt = firstRows(dAttention, m);
            outWeights.applyBackward(dAtt, dy);
            Tensor attended = firstRows(attention, m);
            outWeights.accumulate(dy, attended);
            Tensor dProjected = firstRows(dQkv, m);
            kernels.attentionBackward(
                    dProjected,
                    dAtt,
                    attended,
                    firstRows(lse, m),
                    firstRows(qkv, m),
                    batch.offsets(),
                    shape.heads(),
                    shape.kvHeads(),
                    scale());
            kernels.rope(dProjected, cos, sin, batch.positions(), shape.heads() + shape.kvHeads(), true);
            if (rawQkv != null && qkStats != null) {
                kernels.qkNormBackward(
                        dProjected,
                        qkParams(params.grads()),
                        firstRows(rawQkv, m),
                        firstRows(qkStats, m),
                        qkParams(params.values()),
                        shape.qNormRows(),
                        shape.heads(),
                        shape.kvHeads());
            }
            accumulateBias(Q_BIAS, dProjected);
            qkvWeights.accumulate(dProjected, firstRows(normed, m));
            if (attentionOut != null) {
                qkvWeights.addBackward(dx, dProjected);
                return;
            }
            qkvWeights.applyBackward(dh, dProjected);
            kernels.rmsNormBackward(
                    dx,
                    grad("input_layernorm.weight"),
                    dh,
                    in,
                    weight("input_layernorm.weight"),
                    vector(rstd, m),
                    null);
        }
    }

    /// The network that turns a noise level into an embedding, and the noise itself.
    private final class Level {
        private final Tensor noise;
        private final Tensor wave;
        private final Tensor before;
        private final Tensor hidden;
        private final Tensor embedding;
        private final Tensor dHidden;

        Level(Arena arena) {
            int rows = shape.levelInputs() > 0 ? maxRows : 0;
            noise = Parameters.host(arena, DType.F32, rows, shape.hiddenSize());
            wave = Parameters.host(arena, DType.F32, rows, Math.max(1, shape.levelInputs()));
            before = Parameters.host(arena, DType.F32, rows, Math.max(1, shape.levelHidden()));
            hidden = Parameters.host(arena, DType.F32, rows, Math.max(1, shape.levelHidden()));
            embedding = Parameters.host(arena, DType.F32, rows, shape.hiddenSize());
            dHidden = Parameters.host(arena, DType.F32, rows, Math.max(1, shape.levelHidden()));
        }

        private String name(String suffix) {
            return shape.levelPrefix() + suffix;
        }

        void forward(Tensor x, SequenceBatch batch, NoiseSource source) {
            int n = batch.noisy();
            Tensor eps = firstRows(noise, n);
            source.fill(eps, batch);
            kernels.sinusoid(firstRows(wave, n), batch.timestep(), frequencies);
            Tensor pre = firstRows(before, n);
            kernels.gemm(pre, null, firstRows(wave, n), params.value(name("fc1.weight")), false, true, dtype);
            kernels.addBias(pre, params.value(name("fc1.bias")));
            kernels.siluForward(firstRows(hidden, n), pre);
            Tensor out = firstRows(embedding, n);
            kernels.gemm(out, null, firstRows(hidden, n), params.value(name("fc2.weight")), false, true, dtype);
            kernels.addBias(out, params.value(name("fc2.bias")));
            kernels.noiseMix(x, batch.noisyRows(), batch.alpha(), batch.sigma(), eps, source.mean(), source.std(), out);
        }

        void backward(Tensor dx, SequenceBatch batch) {
            int n = batch.noisy();
            Tensor d = firstRows(embedding, n);
            kernels.gatherRows(d, dx, batch.noisyRows(), false);
            kernels.columnSum(params.grad(name("fc2.bias")), d);
            Tensor dw2 = params.grad(name("fc2.weight"));
            kernels.gemm(dw2, dw2, d, firstRows(hidden, n), true, false, dtype);
            Tensor dh = firstRows(dHidden, n);
            kernels.gemm(dh, null, d, params.value(name("fc2.weight")), false, false, dtype);
            kernels.siluBackward(dh, dh, firstRows(before, n));
            kernels.columnSum(params.grad(name("fc1.bias")), dh);
            Tensor dw1 = params.grad(name("fc1.weight"));
            kernels.gemm(dw1, dw1, dh, firstRows(wave, n), true, false, dtype);
        }
    }

    /// Where the noise of a batch comes from, and the statistics it is mixed under.
    interface NoiseSource {
        /// Fills `[noisy, hidden_size]` standard normals.
        void fill(Tensor noise, SequenceBatch batch);

        /// `[hidden_size]`, constants of the table.
        Tensor mean();

        /// `[hidden_size]`, positive.
        Tensor std();
    }

    /// @param dtype   of activations and products: F32 or BF16
    /// @param maxRows tokens of the largest batch
    Network(TrainingKernels kernels, Parameters params, DType dtype, Arena arena, int maxRows, int maxLosses) {
        this(kernels, params, dtype, arena, maxRows, maxLosses, new int[0]);
    }

    /// @param codeTokens row of the embedding table of each code; needed by a head that is those rows
    Network(
            TrainingKernels kernels,
            Parameters params,
            DType dtype,
            Arena arena,
            int maxRows,
            int maxLosses,
            int[] codeTokens) {
        this.kernels = kernels;
        this.params = params;
        this.shape = params.shape();
        this.dtype = dtype;
        this.maxRows = maxRows;
        this.maxLosses = maxLosses;
        int half = shape.headDim() / 2;
        this.cos = Parameters.host(arena, DType.F32, shape.maxPositions(), half);
        this.sin = Parameters.host(arena, DType.F32, shape.maxPositions(), half);
        NetworkShape.Plane plane = shape.plane();
        // Rows of a condition stay zero: their queries and keys take no part.
        for (int p = plane == null ? 0 : plane.conditionRows(); p < shape.maxPositions(); p++) {
            for (int i = 0; i < half; i++) {
                double angle = plane == null
                        ? p * Math.pow(shape.ropeTheta(), -2.0 * i / shape.headDim())
                        : angle(plane, p - plane.conditionRows(), i);
                cos.setFloat((long) p * half + i, (float) Math.cos(angle));
                sin.setFloat((long) p * half + i, (float) Math.sin(angle));
            }
        }
        int waves = shape.levelInputs() / 2;
        this.frequencies = Parameters.host(arena, DType.F64, waves);
        for (int i = 0; i < waves; i++) {
            frequencies
                    .data()
                    .setAtIndex(
                            ValueLayout.JAVA_DOUBLE, i, Math.pow(NetworkShape.LEVEL_MAX_PERIOD, -(double) i / waves));
        }
        this.layers = new Layer[shape.layers()];
        this.stream = new Tensor[shape.layers() + 1];
        int d = shape.hiddenSize();
        for (int l = 0; l < layers.length; l++) {
            layers[l] = new Layer(arena, l);
        }
        for (int l = 0; l < stream.length; l++) {
            stream[l] = Parameters.host(arena, DType.F32, maxRows, d);
        }
        NetworkShape.Codes codes = shape.codes();
        this.codeNetwork =
                codes == null ? null : new CodeNetwork(kernels, params, codes, dtype, arena, maxRows, maxLosses);
        this.head = codes == null ? new Packed(arena, shape.headName(), shape.headRows(), d) : null;
        this.tied = shape.tiedHead() ? tie(arena, codeTokens) : null;
        this.finalNormed = Parameters.host(arena, dtype, maxLosses, d);
        this.finalRstd = Parameters.host(arena, DType.F32, maxLosses);
        this.logits = Parameters.host(arena, DType.F32, maxLosses, shape.headRows());
        this.losses = Parameters.host(arena, DType.F32, maxLosses);
        // Biases are summed from f32.
        this.dLogits = Parameters.host(arena, codes == null ? dtype : DType.F32, maxLosses, shape.headRows());
        this.dStream = Parameters.host(arena, DType.F32, maxRows, d);
        this.dNormed = Parameters.host(arena, dtype, maxRows, d);
        this.dNarrow = Parameters.host(arena, DType.BF16, maxRows, d);
        this.dBranch = Parameters.host(arena, DType.F32, shape.normsBranches() ? maxRows : 0, d);
        boolean biased = shape.biases().attention() || shape.biases().mlp();
        this.ones = Parameters.host(arena, DType.F32, biased ? maxRows : 0, 1);
        kernels.fill(ones, 1);
        this.everyRow = Parameters.host(arena, DType.I32, shape.normsBranches() ? maxRows : 0);
        for (int i = 0; i < everyRow.elements(); i++) {
            everyRow.setInt(i, i);
        }
        this.dQkv = Parameters.host(arena, dtype, maxRows, shape.qkvColumns());
        this.dAttention = Parameters.host(arena, dtype, maxRows, shape.attentionColumns());
        this.dAct = Parameters.host(arena, dtype, maxRows, shape.intermediateSize());
        this.level = new Level(arena);
    }

    private Tied tie(Arena arena, int[] codeTokens) {
        Tensor rows = Parameters.host(arena, DType.I32, codeTokens.length);
        for (int i = 0; i < codeTokens.length; i++) {
            rows.setInt(i, codeTokens[i]);
        }
        return new Tied(
                rows,
                Parameters.host(arena, DType.F32, codeTokens.length, shape.hiddenSize()),
                Parameters.host(arena, DType.F32, codeTokens.length, shape.hiddenSize()));
    }

    private double angle(NetworkShape.Plane plane, int cell, int pair) {
        int quarter = shape.headDim() / 4;
        int along = pair < quarter ? cell / plane.width() : cell % plane.width();
        return along * Math.pow(shape.ropeTheta(), -2.0 * (pair % quarter) / (shape.headDim() / 2.0));
    }

    private float scale() {
        return (float) (1 / Math.sqrt(shape.headDim()));
    }

    /// The first `m` rows of a `[max, n]` buffer.
    private static Tensor firstRows(Tensor t, long m) {
        return Tensor.of(t.data(), t.dtype(), m, t.dim(1));
    }

    private static Tensor vector(Tensor t, long m) {
        return Tensor.of(t.data(), t.dtype(), m);
    }

    /// The gradient of the residual stream as an operand of products.
    private Tensor narrow(Tensor dx) {
        if (dtype == DType.F32) {
            return dx;
        }
        Tensor y = firstRows(dNarrow, dx.dim(0));
        kernels.toBf16(y, dx);
        return y;
    }

    /// The residual stream as an operand of products.
    private void round(Tensor y, Tensor x) {
        if (dtype == DType.F32) {
            y.data().asSlice(0, x.bytes()).copyFrom(x.data().asSlice(0, x.bytes()));
        } else {
            kernels.toBf16(y, x);
        }
    }

    /// Of codes that are no tokens; null where they are.
    @Nullable
    CodeNetwork codeNetwork() {
        return codeNetwork;
    }

    /// Packs the weights anew; call after every change of {@link Parameters#values()}.
    void weightsChanged() {
        for (Layer layer : layers) {
            layer.pack();
        }
        if (head != null && tied != null) {
            kernels.gatherRows(tied.weights(), params.value(EMBEDDING), tied.rows(), false);
            head.pack(tied.weights());
        } else if (head != null) {
            head.pack();
        }
    }

    /// Input embeddings of the batch, before the first block: `[rows, hidden_size]`, f32.
    Tensor embed(SequenceBatch batch, @Nullable NoiseSource noise) {
        if (batch.rows() > maxRows || batch.losses() > maxLosses) {
            throw new IllegalArgumentException(batch + " has " + batch.rows() + " rows and " + batch.losses()
                    + " losses, the network was sized for " + maxRows + " and " + maxLosses);
        }
        Tensor x = firstRows(stream[0], batch.rows());
        kernels.gatherRows(x, params.value(EMBEDDING), batch.ids(), false);
        if (batch.conditionRows() > 0) {
            kernels.gatherRows(x, batch.conditions(), batch.conditionIndex(), true);
        }
        if (codeNetwork != null && batch.codeCount() > 0) {
            codeNetwork.embed(x, batch.codes(), batch.codeRows());
        }
        if (batch.noisy() > 0) {
            if (noise == null || shape.levelInputs() == 0) {
                throw new IllegalArgumentException("a noisy batch needs a noise source and a network with levels");
            }
            level.forward(x, batch, noise);
        }
        if (shape.gridHeight() > 0) {
            kernels.gatherRows(x, params.value("model.target_row_embedding.weight"), batch.targetRow(), true);
            kernels.gatherRows(x, params.value("model.target_column_embedding.weight"), batch.targetColumn(), true);
        }
        return x;
    }

    /// Logits of the batch's loss rows, `[losses, head_rows]`, f32; valid until the next pass.
    Tensor forward(SequenceBatch batch, @Nullable NoiseSource noise) {
        Tensor x = embed(batch, noise);
        for (int l = 0; l < layers.length; l++) {
            Tensor out = firstRows(stream[l + 1], batch.rows());
            layers[l].forward(out, x, batch);
            x = out;
        }
        int n = batch.losses();
        Tensor normed = firstRows(finalNormed, n);
        kernels.rmsNormForward(
                normed,
                vector(finalRstd, n),
                x,
                params.value("model.norm.weight"),
                batch.lossRows(),
                shape.rmsNormEps());
        Tensor out = firstRows(logits, n);
        if (head != null) {
            head.apply(out, null, normed);
        } else if (codeNetwork != null) {
            codeNetwork.head(out, normed);
        }
        return out;
    }

    /// Losses of the rows of the last forward pass in nats, `[losses]`, f32; no gradient.
    Tensor evaluate(SequenceBatch batch, @Nullable NoiseSource noise) {
        Tensor out = forward(batch, noise);
        Tensor each = vector(losses, batch.losses());
        kernels.crossEntropy(each, null, out, batch.targets(), 1);
        return each;
    }

    /// One pass forward and backward; gradients of `scale * sum of losses` are added.
    ///
    /// @return the losses in nats, `[losses]`, f32; valid until the next pass
    Tensor train(SequenceBatch batch, @Nullable NoiseSource noise, float lossScale) {
        Tensor out = forward(batch, noise);
        int n = batch.losses();
        int m = batch.rows();
        Tensor each = vector(losses, n);
        Tensor d = firstRows(dLogits, n);
        kernels.crossEntropy(each, d, out, batch.targets(), lossScale);
        Tensor normed = firstRows(finalNormed, n);
        Tensor dh = firstRows(dNormed, n);
        if (head != null) {
            if (tied == null) {
                head.accumulate(d, normed);
            } else {
                kernels.gemm(tied.gradient(), null, d, normed, true, false, dtype);
                kernels.scatterAddRows(params.grad(EMBEDDING), tied.gradient(), tied.rows(), null);
            }
            head.applyBackward(dh, d);
        } else if (codeNetwork != null) {
            codeNetwork.headBackward(dh, d, normed);
        }
        Tensor dx = firstRows(dStream, m);
        kernels.fill(dx, 0);
        kernels.rmsNormBackward(
                dx,
                params.grad("model.norm.weight"),
                dh,
                firstRows(stream[layers.length], m),
                params.value("model.norm.weight"),
                vector(finalRstd, n),
                batch.lossRows());
        for (int l = layers.length - 1; l >= 0; l--) {
            layers[l].backward(dx, firstRows(stream[l], m), batch);
        }
        if (shape.gridHeight() > 0) {
            kernels.scatterAddRows(params.grad("model.target_row_embedding.weight"), dx, batch.targetRow(), null);
            kernels.scatterAddRows(params.grad("model.target_column_embedding.weight"), dx, batch.targetColumn(), null);
        }
        if (batch.noisy() > 0) {
            level.backward(dx, batch);
        }
        if (codeNetwork != null && batch.codeCount() > 0) {
            codeNetwork.embedBackward(dx, batch.codes(), batch.codeRows(), batch.embedScale());
        }
        kernels.scatterAddRows(params.grad(EMBEDDING), dx, batch.ids(), batch.noisy() > 0 ? batch.embedScale() : null);
        return each;
    }
}
