package io.sjd2.kernel;

import io.sjd2.kernel.Kernels.QkNorm;
import io.sjd2.kernel.Kernels.RopePairs;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.tensor.DType;
import io.sjd2.testing.ChiSquare;
import io.sjd2.testing.GuardedTensor;
import io.sjd2.testing.Precision;
import io.sjd2.testing.Randoms;
import io.sjd2.testing.Tolerance.Scale;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/// The operations of the forward pass as problems of independent rows.
final class RowCases {
    private RowCases() {}

    /// Random rows: `values[sequence][row][i]`.
    private static float[][][] randomRows(SplittableRandom random, int[] rows, int n, double deviation, DType dtype) {
        float[][][] values = new float[rows.length][][];
        for (int s = 0; s < rows.length; s++) {
            values[s] = new float[rows[s]][];
            for (int r = 0; r < rows[s]; r++) {
                values[s][r] = Randoms.normals(random, n, deviation, dtype);
            }
        }
        return values;
    }

    /// `x / sqrt(mean(x^2) + eps) * weight`.
    private static double[] normalised(Precision p, float[] x, float[] weight, float eps) {
        double sum = 0;
        for (float v : x) {
            sum = p.of(sum + p.of((double) v * v));
        }
        double scale = p.of(1 / p.of(Math.sqrt(p.of(p.of(sum / x.length) + eps))));
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            out[i] = p.of(p.of(x[i] * scale) * weight[i]);
        }
        return out;
    }

    static final class RmsNorm extends RowCase {
        private static final float EPS = 1e-5f;
        private final int hidden;
        private final float[][][] x;
        private final float[] weight;

        RmsNorm(DType dtype, int hidden, int... rows) {
            super("rms_norm", dtype, "[hidden_size=" + hidden + "]", rows);
            this.hidden = hidden;
            SplittableRandom random = Randoms.of(toString());
            this.x = randomRows(random, rows, hidden, 3, DType.F32);
            this.weight = Randoms.normals(random, hidden, 1, DType.F32);
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor out = bench.output("out", dtype, hidden);
            GuardedTensor in = bench.rows("x", DType.F32, (s, r) -> x[s][r], hidden);
            GuardedTensor w = bench.tensor("weight", DType.F32, weight, hidden);
            bench.backend.kernels().rmsNorm(out.tensor(), in.tensor(), w.tensor(), bench.state(new int[0]), EPS);
            return bench.liveRows(out);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            return normalised(p, x[sequence][row], weight, EPS);
        }

        @Override
        DType outputType() {
            return dtype;
        }

        @Override
        Scale scale() {
            return Scale.RELATIVE;
        }

        @Override
        boolean statelessAllowed() {
            return true;
        }
    }

    static final class RmsNormAdd extends RowCase {
        private static final float EPS = 1e-6f;
        private final int hidden;
        private final float[][][] x;
        private final float[][][] delta;
        private final float[] weight;

        RmsNormAdd(int hidden, int... rows) {
            super("rms_norm_add", DType.F32, "[hidden_size=" + hidden + "]", rows);
            this.hidden = hidden;
            SplittableRandom random = Randoms.of(toString());
            this.x = randomRows(random, rows, hidden, 1, DType.F32);
            this.delta = randomRows(random, rows, hidden, 0.3, DType.F32);
            this.weight = Randoms.normals(random, hidden, 1, DType.F32);
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor out = bench.rows("x", DType.F32, (s, r) -> x[s][r], hidden);
            GuardedTensor in = bench.rows("delta", DType.F32, (s, r) -> delta[s][r], hidden);
            GuardedTensor w = bench.tensor("weight", DType.F32, weight, hidden);
            bench.backend.kernels().rmsNormAdd(out.tensor(), in.tensor(), w.tensor(), bench.state(new int[0]), EPS);
            return bench.liveRows(out);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            double[] out = normalised(p, delta[sequence][row], weight, EPS);
            for (int i = 0; i < hidden; i++) {
                out[i] = p.of(x[sequence][row][i] + out[i]);
            }
            return out;
        }

        @Override
        DType outputType() {
            return DType.F32;
        }

        @Override
        Scale scale() {
            return Scale.ABSOLUTE;
        }

        @Override
        boolean statelessAllowed() {
            return true;
        }
    }

    static final class Round extends RowCase {
        private final int n;
        private final float[][][] x;

        Round(DType dtype, int n, int... rows) {
            super("round", dtype, "[hidden_size=" + n + "]", rows);
            this.n = n;
            this.x = randomRows(Randoms.of(toString()), rows, n, 1, DType.F32);
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor out = bench.output("out", dtype, n);
            GuardedTensor in = bench.rows("x", DType.F32, (s, r) -> x[s][r], n);
            bench.backend.kernels().round(out.tensor(), in.tensor(), bench.state(new int[0]));
            return bench.liveRows(out);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            double[] out = new double[n];
            for (int i = 0; i < n; i++) {
                out[i] = x[sequence][row][i];
            }
            return out;
        }

        @Override
        DType outputType() {
            return dtype;
        }

        @Override
        Scale scale() {
            return Scale.RELATIVE;
        }

        @Override
        boolean statelessAllowed() {
            return true;
        }
    }

    static final class Swiglu extends RowCase {
        private final int n;
        private final float[][][] gateUp;

        Swiglu(DType dtype, int n, int... rows) {
            super("swiglu", dtype, "[intermediate_size=" + n + "]", rows);
            this.n = n;
            this.gateUp = randomRows(Randoms.of(toString()), rows, 2 * n, 4, DType.F32);
            for (float[][] sequence : gateUp) {
                for (float[] row : sequence) {
                    row[0] = -95; // exp(95) overflows f32
                }
            }
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor out = bench.output("out", dtype, n);
            GuardedTensor in = bench.rows("gateUp", DType.F32, (s, r) -> gateUp[s][r], 2L * n);
            bench.backend.kernels().swiglu(out.tensor(), in.tensor(), bench.state(new int[0]));
            return bench.liveRows(out);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            double[] out = new double[n];
            for (int i = 0; i < n; i++) {
                double gate = gateUp[sequence][row][i];
                double silu = p.of(gate / p.of(1 + p.of(Math.exp(-gate))));
                out[i] = p.of(silu * gateUp[sequence][row][n + i]);
            }
            return out;
        }

        @Override
        DType outputType() {
            return dtype;
        }

        @Override
        Scale scale() {
            return Scale.RELATIVE;
        }

        @Override
        boolean statelessAllowed() {
            return true;
        }
    }

    static final class Gelu extends RowCase {
        private final int n;
        private final boolean tanhForm;
        private final float[][][] x;

        Gelu(DType dtype, int n, boolean tanhForm, int... rows) {
            super("gelu", dtype, "[intermediate_size=" + n + (tanhForm ? "] tanh" : "] erf"), rows);
            this.n = n;
            this.tanhForm = tanhForm;
            this.x = randomRows(Randoms.of(toString()), rows, n, 2, DType.F32);
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor out = bench.output("out", dtype, n);
            GuardedTensor in = bench.rows("x", DType.F32, (s, r) -> x[s][r], n);
            bench.backend.kernels().gelu(out.tensor(), in.tensor(), bench.state(new int[0]), tanhForm);
            return bench.liveRows(out);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            double[] out = new double[n];
            for (int i = 0; i < n; i++) {
                double v = x[sequence][row][i];
                double inner;
                if (tanhForm) {
                    double cube = p.of(p.of(p.of(0.044715) * v) * p.of(v * v));
                    inner = p.of(Math.tanh(p.of(p.of(Math.sqrt(2 / Math.PI)) * p.of(v + cube))));
                } else {
                    double scaled = p.of(v / p.of(Math.sqrt(2)));
                    // erf(x) is the probability that a chi-square of one degree of freedom stays below 2 x^2.
                    double tail = 2 * ChiSquare.normalTail(Math.abs(scaled) * Math.sqrt(2));
                    inner = p.of(Math.signum(scaled) * (1 - tail));
                }
                out[i] = p.of(p.of(v / 2) * p.of(1 + inner));
            }
            return out;
        }

        @Override
        DType outputType() {
            return dtype;
        }

        @Override
        Scale scale() {
            return Scale.ABSOLUTE;
        }

        @Override
        boolean statelessAllowed() {
            return true;
        }
    }

    static final class Matmul extends RowCase {
        private final int nOut;
        private final int nIn;
        private final boolean withBias;
        private final boolean accumulate;
        private final float[][][] x;
        private final float[][][] before;
        private final float[] w;
        private final float[] bias;

        Matmul(DType dtype, int nOut, int nIn, boolean withBias, boolean accumulate, int... rows) {
            super(
                    "matmul",
                    dtype,
                    "[n_out=" + nOut + ", n_in=" + nIn + "]" + (withBias ? " bias" : "")
                            + (accumulate ? " accumulate" : ""),
                    rows);
            this.nOut = nOut;
            this.nIn = nIn;
            this.withBias = withBias;
            this.accumulate = accumulate;
            SplittableRandom random = Randoms.of(toString());
            this.x = randomRows(random, rows, nIn, 1, dtype);
            this.before = randomRows(random, rows, nOut, 1, DType.F32);
            this.w = Randoms.normals(random, nOut * nIn, 1 / Math.sqrt(nIn), dtype);
            this.bias = Randoms.normals(random, nOut, 1, DType.F32);
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor out = accumulate
                    ? bench.rows("out", DType.F32, (s, r) -> before[s][r], nOut)
                    : bench.output("out", DType.F32, nOut);
            GuardedTensor in = bench.rows("x", dtype, (s, r) -> x[s][r], nIn);
            GuardedTensor packed = bench.packed("w", dtype, w, nOut, nIn);
            GuardedTensor b = withBias ? bench.tensor("bias", DType.F32, bias, nOut) : null;
            bench.backend
                    .kernels()
                    .matmul(
                            out.tensor(),
                            in.tensor(),
                            packed.tensor(),
                            Bench.orNull(b),
                            bench.state(new int[0]),
                            accumulate);
            return bench.liveRows(out);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            double[] out = new double[nOut];
            for (int n = 0; n < nOut; n++) {
                double sum = accumulate ? before[sequence][row][n] : 0;
                sum = p.of(sum + (withBias ? bias[n] : 0));
                for (int k = 0; k < nIn; k++) {
                    sum = p.of(sum + p.of((double) x[sequence][row][k] * w[n * nIn + k]));
                }
                out[n] = sum;
            }
            return out;
        }

        @Override
        DType outputType() {
            return DType.F32;
        }

        @Override
        Scale scale() {
            return Scale.ABSOLUTE;
        }

        @Override
        boolean statelessAllowed() {
            return true;
        }
    }

    static final class Embed extends RowCase {
        private final int vocab;
        private final int hidden;
        private final float[] table;
        private final int[][] ids;

        Embed(DType dtype, int vocab, int hidden, int... rows) {
            super("embed", dtype, "[vocab_size=" + vocab + ", hidden_size=" + hidden + "]", rows);
            this.vocab = vocab;
            this.hidden = hidden;
            SplittableRandom random = Randoms.of(toString());
            this.table = Randoms.normals(random, vocab * hidden, 1, dtype);
            this.ids = new int[rows.length][];
            for (int s = 0; s < rows.length; s++) {
                ids[s] = random.ints(rows[s], 0, vocab).toArray();
            }
        }

        /// The operation knows no sequences: the live rows follow one another.
        @Override
        List<byte[]> run(Bench bench) {
            List<Integer> live = new ArrayList<>();
            for (Bench.Slice slice : bench.slices) {
                for (int r = 0; r < slice.count(); r++) {
                    live.add(ids[slice.sequence()][slice.first() + r]);
                }
            }
            int[] flat = live.stream().mapToInt(Integer::intValue).toArray();
            float[] nan = new float[flat.length * hidden];
            Arrays.fill(nan, Float.NaN);
            GuardedTensor out = bench.tensor("out", DType.F32, nan, flat.length, hidden);
            GuardedTensor from = bench.tensor("table", dtype, table, vocab, hidden);
            bench.backend
                    .kernels()
                    .embed(
                            out.tensor(),
                            from.tensor(),
                            bench.ints("ids", flat, flat.length).tensor());
            bench.backend.synchronize();
            byte[] bytes = out.content();
            List<byte[]> result = new ArrayList<>();
            for (int r = 0; r < flat.length; r++) {
                result.add(Arrays.copyOfRange(bytes, r * 4 * hidden, (r + 1) * 4 * hidden));
            }
            return result;
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            double[] out = new double[hidden];
            for (int i = 0; i < hidden; i++) {
                out[i] = table[ids[sequence][row] * hidden + i];
            }
            return out;
        }

        @Override
        DType outputType() {
            return DType.F32;
        }

        @Override
        Scale scale() {
            return Scale.RELATIVE;
        }
    }

    /// Sequence `s` belongs to image `s / 2`, as conditional and unconditional sequences do; a slice starts `first`
    /// rows later, as if so many tokens had been committed.
    static final class SequenceInput extends RowCase {
        private final int hidden;
        private final int gridHeight;
        private final int gridWidth;
        private final int committed;
        private final boolean withGrid;
        private final float[][][] input;
        private final float[][] prompt;
        private final float[] rowEmbed;
        private final float[] columnEmbed;

        SequenceInput(int hidden, int gridHeight, int gridWidth, int committed, boolean withGrid, int... rows) {
            super(
                    "sequence_input",
                    DType.F32,
                    "[hidden_size=" + hidden + ", grid " + gridHeight + "x" + gridWidth + ", committed=" + committed
                            + "]" + (withGrid ? "" : " no grid"),
                    rows);
            this.hidden = hidden;
            this.gridHeight = gridHeight;
            this.gridWidth = gridWidth;
            this.committed = committed;
            this.withGrid = withGrid;
            SplittableRandom random = Randoms.of(toString());
            this.input = randomRows(random, imageRows(rows), hidden, 1, DType.F32);
            this.prompt = new float[rows.length][];
            for (int s = 0; s < rows.length; s++) {
                prompt[s] = Randoms.normals(random, hidden, 1, DType.F32);
            }
            this.rowEmbed = Randoms.normals(random, gridHeight * hidden, 1, DType.F32);
            this.columnEmbed = Randoms.normals(random, gridWidth * hidden, 1, DType.F32);
        }

        private static int[] imageRows(int[] rows) {
            int[] images = new int[(rows.length + 1) / 2];
            for (int s = 0; s < rows.length; s++) {
                images[s / 2] = Math.max(images[s / 2], rows[s]);
            }
            return images;
        }

        /// Two sequences of one image share it where they are at the same place; slices of one sequence never are.
        @Override
        List<byte[]> run(Bench bench) {
            int batch = bench.batch();
            List<List<Integer>> images = new ArrayList<>();
            for (Bench.Slice slice : bench.slices) {
                List<Integer> image = List.of(slice.sequence() / 2, slice.first());
                if (!images.contains(image)) {
                    images.addFirst(image);
                }
            }
            float[] inputs = new float[images.size() * bench.window * hidden];
            Arrays.fill(inputs, Float.NaN);
            float[] prompts = new float[batch * hidden];
            StateBlock state = new StateBlock(bench.backend, bench.arena(), batch, images.size(), bench.window);
            for (int b = 0; b < batch; b++) {
                Bench.Slice slice = bench.slices.get(b);
                int image = images.indexOf(List.of(slice.sequence() / 2, slice.first()));
                for (int w = 0; w < slice.count(); w++) {
                    if (committed + slice.first() + w > 0) { // row 0 of an image that starts reads the prompt instead
                        System.arraycopy(
                                input[slice.sequence() / 2][slice.first() + w],
                                0,
                                inputs,
                                (image * bench.window + w) * hidden,
                                hidden);
                    }
                }
                System.arraycopy(prompt[slice.sequence()], 0, prompts, b * hidden, hidden);
                state.set(b, SequenceField.ROWS, slice.count());
                state.set(b, SequenceField.IMAGE, image);
                state.set(image, ImageField.COMMITTED, committed + slice.first());
            }
            state.push();
            GuardedTensor x = bench.output("x", DType.F32, hidden);
            GuardedTensor in = bench.tensor("windowInput", DType.F32, inputs, images.size(), bench.window, hidden);
            GuardedTensor last = bench.tensor("lastPrompt", DType.F32, prompts, batch, hidden);
            GuardedTensor row = withGrid ? bench.tensor("rowEmbed", DType.F32, rowEmbed, gridHeight, hidden) : null;
            GuardedTensor column =
                    withGrid ? bench.tensor("columnEmbed", DType.F32, columnEmbed, gridWidth, hidden) : null;
            bench.backend
                    .kernels()
                    .sequenceInput(
                            x.tensor(), in.tensor(), last.tensor(), Bench.orNull(row), Bench.orNull(column), state);
            return bench.liveRows(x);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            int position = committed + row;
            float[] from = position == 0 ? prompt[sequence] : input[sequence / 2][row];
            double[] out = new double[hidden];
            for (int i = 0; i < hidden; i++) {
                out[i] = from[i];
                if (withGrid) {
                    out[i] = p.of(out[i] + rowEmbed[position / gridWidth * hidden + i]);
                    out[i] = p.of(out[i] + columnEmbed[position % gridWidth * hidden + i]);
                }
            }
            return out;
        }

        @Override
        DType outputType() {
            return DType.F32;
        }

        @Override
        Scale scale() {
            return Scale.ABSOLUTE;
        }
    }

    /// Shape of an attention layer.
    record Heads(int heads, int kvHeads, int headDim) {
        @Override
        public String toString() {
            return "[n_heads=" + heads + ", n_kv_heads=" + kvHeads + ", head_dim=" + headDim + "]";
        }
    }

    static final class RopeAppend extends RowCase {
        private static final float EPS = 1e-5f;
        private final Heads h;
        private final int[] kvBase;
        private final int capacity;
        private final RopePairs pairs;
        private final int qRows;
        private final int kRows;
        private final float[][][] qkv;
        private final float[] qWeight;
        private final float[] qBias;
        private final float[] kWeight;
        private final float[] kBias;
        private final float[] rope;

        /// @param qRows  rows of q's LayerNorm tables, 0 for none; `kRows` alike
        RopeAppend(DType dtype, Heads h, RopePairs pairs, int qRows, int kRows, int[] kvBase, int... rows) {
            super(
                    "rope_append",
                    dtype,
                    h + " " + pairs + (qRows > 0 ? " norm rows " + qRows + "/" + kRows : "") + " kv_len "
                            + Arrays.toString(kvBase),
                    rows);
            this.h = h;
            this.pairs = pairs;
            this.kvBase = kvBase;
            this.qRows = qRows;
            this.kRows = kRows;
            int longest = 0;
            for (int s = 0; s < rows.length; s++) {
                longest = Math.max(longest, kvBase[s] + rows[s]);
            }
            this.capacity = longest;
            SplittableRandom random = Randoms.of(toString());
            this.qkv = randomRows(random, rows, (h.heads + 2 * h.kvHeads) * h.headDim, 1, DType.F32);
            this.qWeight = Randoms.normals(random, qRows * h.headDim, 1, DType.F32);
            this.qBias = Randoms.normals(random, qRows * h.headDim, 1, DType.F32);
            this.kWeight = Randoms.normals(random, kRows * h.headDim, 1, DType.F32);
            this.kBias = Randoms.normals(random, kRows * h.headDim, 1, DType.F32);
            this.rope = new float[capacity * h.headDim];
            for (int position = 0; position < capacity; position++) {
                for (int i = 0; i < h.headDim / 2; i++) {
                    double angle = position * Math.pow(10_000, -2.0 * i / h.headDim);
                    rope[position * h.headDim + 2 * i] = (float) Math.cos(angle);
                    rope[position * h.headDim + 2 * i + 1] = (float) Math.sin(angle);
                }
            }
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor q = bench.output("q", dtype, h.heads, h.headDim);
            float[] nan = new float[bench.batch() * capacity * h.kvHeads * h.headDim];
            Arrays.fill(nan, Float.NaN);
            long[] cacheShape = {bench.batch(), capacity, h.kvHeads, h.headDim};
            GuardedTensor k = bench.tensor("kCache", dtype, nan, cacheShape);
            GuardedTensor v = bench.tensor("vCache", dtype, nan, cacheShape);
            GuardedTensor in =
                    bench.rows("qkv", DType.F32, (s, r) -> qkv[s][r], (h.heads + 2L * h.kvHeads) * h.headDim);
            QkNorm norm = qRows == 0
                    ? null
                    : new QkNorm(
                            bench.tensor("qWeight", DType.F32, qWeight, qRows, h.headDim)
                                    .tensor(),
                            bench.tensor("qBias", DType.F32, qBias, qRows, h.headDim)
                                    .tensor(),
                            bench.tensor("kWeight", DType.F32, kWeight, kRows, h.headDim)
                                    .tensor(),
                            bench.tensor("kBias", DType.F32, kBias, kRows, h.headDim)
                                    .tensor(),
                            EPS);
            GuardedTensor table = bench.tensor("rope", DType.F32, rope, capacity, h.headDim / 2, 2);
            bench.backend
                    .kernels()
                    .ropeAppend(
                            q.tensor(),
                            k.tensor(),
                            v.tensor(),
                            in.tensor(),
                            norm,
                            table.tensor(),
                            bench.state(kvBase),
                            pairs);
            List<byte[]> queries = bench.liveRows(q);
            List<byte[]> keys = bench.appendedEntries(k, capacity, kvBase);
            List<byte[]> values = bench.appendedEntries(v, capacity, kvBase);
            List<byte[]> rows = new ArrayList<>();
            for (int r = 0; r < queries.size(); r++) {
                byte[] row = new byte[queries.get(r).length + 2 * keys.get(r).length];
                System.arraycopy(queries.get(r), 0, row, 0, queries.get(r).length);
                System.arraycopy(keys.get(r), 0, row, queries.get(r).length, keys.get(r).length);
                System.arraycopy(
                        values.get(r), 0, row, queries.get(r).length + keys.get(r).length, values.get(r).length);
                rows.add(row);
            }
            return rows;
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            int d = h.headDim;
            float[] in = qkv[sequence][row];
            double[] out = new double[in.length];
            int position = kvBase[sequence] + row;
            for (int head = 0; head < h.heads + 2 * h.kvHeads; head++) {
                double[] x = new double[d];
                for (int i = 0; i < d; i++) {
                    x[i] = in[head * d + i];
                }
                boolean query = head < h.heads;
                boolean value = head >= h.heads + h.kvHeads;
                if (!value && qRows > 0) {
                    int tableRow = query ? head / (h.heads / qRows) : (head - h.heads) / (h.kvHeads / kRows);
                    layerNorm(p, x, query ? qWeight : kWeight, query ? qBias : kBias, tableRow * d);
                }
                for (int i = 0; i < d / 2 && !value; i++) {
                    int a = pairs == RopePairs.HALF_SPLIT ? i : 2 * i;
                    int b = pairs == RopePairs.HALF_SPLIT ? i + d / 2 : 2 * i + 1;
                    double cos = rope[position * d + 2 * i];
                    double sin = rope[position * d + 2 * i + 1];
                    double first = p.of(p.of(x[a] * cos) - p.of(x[b] * sin));
                    double second = p.of(p.of(x[b] * cos) + p.of(x[a] * sin));
                    x[a] = first;
                    x[b] = second;
                }
                System.arraycopy(x, 0, out, head * d, d);
            }
            return out;
        }

        private static void layerNorm(Precision p, double[] x, float[] weight, float[] bias, int from) {
            double mean = 0;
            for (double v : x) {
                mean = p.of(mean + v);
            }
            mean = p.of(mean / x.length);
            double variance = 0;
            for (double v : x) {
                double centred = p.of(v - mean);
                variance = p.of(variance + p.of(centred * centred));
            }
            double scale = p.of(1 / p.of(Math.sqrt(p.of(p.of(variance / x.length) + EPS))));
            for (int i = 0; i < x.length; i++) {
                x[i] = p.of(p.of(p.of(p.of(x[i] - mean) * scale) * weight[from + i]) + bias[from + i]);
            }
        }

        @Override
        DType outputType() {
            return dtype;
        }

        @Override
        Scale scale() {
            return Scale.ABSOLUTE;
        }
    }

    static final class Attention extends RowCase {
        private final Heads h;
        private final int[] kvBase;
        private final int capacity;
        private final float scale;
        private final float[][][] q;
        private final float[][][] k;
        private final float[][][] v;

        /// @param sharpness  deviation of the scores: small spreads the weights, large concentrates them
        Attention(DType dtype, Heads h, double sharpness, int[] kvBase, int... rows) {
            super("attention", dtype, h + " kv_len " + Arrays.toString(kvBase) + " sharpness " + sharpness, rows);
            this.h = h;
            this.kvBase = kvBase;
            int[] entries = new int[rows.length];
            int longest = 0;
            for (int s = 0; s < rows.length; s++) {
                entries[s] = kvBase[s] + rows[s];
                longest = Math.max(longest, entries[s]);
            }
            this.capacity = longest + 3;
            this.scale = (float) (sharpness / Math.sqrt(h.headDim));
            SplittableRandom random = Randoms.of(toString());
            this.q = randomRows(random, rows, h.heads * h.headDim, 1, dtype);
            this.k = randomRows(random, entries, h.kvHeads * h.headDim, 1, dtype);
            this.v = randomRows(random, entries, h.kvHeads * h.headDim, 1, dtype);
        }

        /// Every entry's value becomes that of entry 0.
        Attention withConstantValues() {
            for (float[][] sequence : v) {
                for (int t = 1; t < sequence.length; t++) {
                    sequence[t] = sequence[0].clone();
                }
            }
            return this;
        }

        /// The value of entry 0, once per query head that reads it.
        double[] constantValue(int sequence) {
            double[] out = new double[h.heads * h.headDim];
            for (int i = 0; i < out.length; i++) {
                int kvHead = i / h.headDim / (h.heads / h.kvHeads);
                out[i] = v[sequence][0][kvHead * h.headDim + i % h.headDim];
            }
            return out;
        }

        /// The cache as it is when the slices' rows have been appended; what lies behind was never written.
        private GuardedTensor cache(Bench bench, String name, float[][][] entries) {
            int n = h.kvHeads * h.headDim;
            float[] content = new float[bench.batch() * capacity * n];
            Arrays.fill(content, Float.NaN);
            for (int b = 0; b < bench.batch(); b++) {
                Bench.Slice slice = bench.slices.get(b);
                for (int t = 0; t < kvBase[slice.sequence()] + slice.first() + slice.count(); t++) {
                    System.arraycopy(entries[slice.sequence()][t], 0, content, (b * capacity + t) * n, n);
                }
            }
            return bench.tensor(name, dtype, content, bench.batch(), capacity, h.kvHeads, h.headDim);
        }

        @Override
        List<byte[]> run(Bench bench) {
            GuardedTensor out = bench.output("out", dtype, h.heads, h.headDim);
            GuardedTensor in = bench.rows("q", dtype, (s, r) -> q[s][r], h.heads, h.headDim);
            GuardedTensor keys = cache(bench, "k", k);
            GuardedTensor values = cache(bench, "v", v);
            bench.backend
                    .kernels()
                    .attention(out.tensor(), in.tensor(), keys.tensor(), values.tensor(), bench.state(kvBase), scale);
            return bench.liveRows(out);
        }

        @Override
        double[] expected(Precision p, int sequence, int row) {
            int d = h.headDim;
            int entries = kvBase[sequence] + row + 1;
            double[] out = new double[h.heads * d];
            double[] scores = new double[entries];
            for (int head = 0; head < h.heads; head++) {
                int kvHead = head / (h.heads / h.kvHeads);
                double largest = Double.NEGATIVE_INFINITY;
                for (int t = 0; t < entries; t++) {
                    double dot = 0;
                    for (int i = 0; i < d; i++) {
                        dot = p.of(
                                dot + p.of((double) q[sequence][row][head * d + i] * k[sequence][t][kvHead * d + i]));
                    }
                    scores[t] = p.of(scale * dot);
                    largest = Math.max(largest, scores[t]);
                }
                double total = 0;
                for (int t = 0; t < entries; t++) {
                    scores[t] = p.of(Math.exp(p.of(scores[t] - largest)));
                    total = p.of(total + scores[t]);
                }
                for (int i = 0; i < d; i++) {
                    double sum = 0;
                    for (int t = 0; t < entries; t++) {
                        sum = p.of(sum + p.of(scores[t] * v[sequence][t][kvHead * d + i]));
                    }
                    out[head * d + i] = p.of(sum / total);
                }
            }
            return out;
        }

        @Override
        DType outputType() {
            return dtype;
        }

        @Override
        Scale scale() {
            return Scale.ABSOLUTE;
        }
    }
}
