package io.sjd2.kernel.reference;

import io.sjd2.kernel.Convolution;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.KernelArguments;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.PictureArguments;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Each operation as its contract reads, in f64 from the first load to the last store. `include/sjd2/kernels.h` states
/// the formulas; decoding is in {@link ReferenceDecoding}, image tokenisers are in
/// {@link ReferencePictures}.
final class ReferenceKernels implements Kernels {
    private static final int BAD_ARGUMENT = -1;
    private static final int BAD_SHAPE = -2;

    @Override
    public long packedElements(long nOut, long nIn, DType dtype) {
        KernelArguments.packedElements(nOut, nIn, dtype);
        return nOut * nIn;
    }

    @Override
    public void packWeights(Tensor dst, Tensor src, long firstRow, long nOut) {
        long nIn = src.dim(-1);
        KernelArguments.packWeights(dst, src, firstRow, nOut, nOut * nIn);
        for (long i = 0; i < src.elements(); i++) {
            dst.setFloat(firstRow * nIn + i, src.getFloat(i));
        }
    }

    @Override
    public void convert(Tensor dst, Tensor src) {
        KernelArguments.convert(dst, src);
        for (long i = 0; i < src.elements(); i++) {
            dst.setFloat(i, src.getFloat(i));
        }
    }

    @Override
    public void embed(Tensor out, Tensor table, Tensor ids) {
        KernelArguments.embed(out, table, ids);
        long hidden = table.dim(1);
        for (long r = 0; r < ids.elements(); r++) {
            if (ids.getInt(r) < 0 || ids.getInt(r) >= table.dim(0)) {
                throw new KernelException(
                        "embed on reference failed: id " + ids.getInt(r) + " in row " + r + " is outside of [0, "
                                + table.dim(0) + ")",
                        BAD_ARGUMENT);
            }
        }
        for (long r = 0; r < ids.elements(); r++) {
            for (long i = 0; i < hidden; i++) {
                out.setFloat(r * hidden + i, table.getFloat(ids.getInt(r) * hidden + i));
            }
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
        long window = state.maxWindow();
        long hidden = x.dim(2);
        for (int b = 0; b < state.batch(); b++) {
            int rows = liveRows(state, b);
            if (rows == 0) {
                continue;
            }
            int image = state.get(b, SequenceField.IMAGE);
            if (image < 0 || image >= state.images()) {
                throw new KernelException(
                        "sequenceInput on reference failed: sequence " + b + " belongs to image " + image
                                + ", expected one of [0, " + state.images() + ")",
                        BAD_ARGUMENT);
            }
            int committed = state.get(image, ImageField.COMMITTED);
            for (int w = 0; w < rows; w++) {
                boolean fromPrompt = committed == 0 && w == 0;
                long position = committed + w;
                for (long i = 0; i < hidden; i++) {
                    double value = fromPrompt
                            ? lastPrompt.getFloat(b * hidden + i)
                            : windowInput.getFloat((image * window + w) * hidden + i);
                    if (rowEmbed != null && columnEmbed != null) {
                        long width = columnEmbed.dim(0);
                        if (position / width >= rowEmbed.dim(0)) {
                            throw new KernelException(
                                    "sequenceInput on reference failed: position " + position
                                            + " is outside of a grid of " + rowEmbed.dim(0) + " x " + width,
                                    BAD_SHAPE);
                        }
                        value += rowEmbed.getFloat(position / width * hidden + i);
                        value += columnEmbed.getFloat(position % width * hidden + i);
                    }
                    x.setFloat((b * window + w) * hidden + i, (float) value);
                }
            }
        }
    }

    @Override
    public void rmsNorm(Tensor out, Tensor x, Tensor weight, @Nullable StateBlock state, float eps) {
        KernelArguments.rmsNorm(out, x, weight, state, eps);
        long hidden = weight.elements();
        forEachRow(x, state, row -> {
            double scale = inverseRms(x, row * hidden, hidden, eps);
            for (long i = 0; i < hidden; i++) {
                out.setFloat(row * hidden + i, (float) (x.getFloat(row * hidden + i) * scale * weight.getFloat(i)));
            }
        });
    }

    @Override
    public void rmsNormAdd(Tensor x, Tensor delta, Tensor weight, @Nullable StateBlock state, float eps) {
        KernelArguments.rmsNormAdd(x, delta, weight, state, eps);
        long hidden = weight.elements();
        forEachRow(x, state, row -> {
            double scale = inverseRms(delta, row * hidden, hidden, eps);
            for (long i = 0; i < hidden; i++) {
                long at = row * hidden + i;
                x.setFloat(at, (float) (x.getFloat(at) + delta.getFloat(at) * scale * weight.getFloat(i)));
            }
        });
    }

    private static double inverseRms(Tensor x, long first, long n, float eps) {
        double sum = 0;
        for (long i = 0; i < n; i++) {
            double v = x.getFloat(first + i);
            sum += v * v;
        }
        return 1 / Math.sqrt(sum / n + eps);
    }

    @Override
    public void round(Tensor out, Tensor x, @Nullable StateBlock state) {
        KernelArguments.round(out, x, state);
        long n = x.dim(-1);
        forEachRow(x, state, row -> {
            for (long i = 0; i < n; i++) {
                out.setFloat(row * n + i, x.getFloat(row * n + i));
            }
        });
    }

    @Override
    public void matmul(
            Tensor out, Tensor x, Tensor w, @Nullable Tensor bias, @Nullable StateBlock state, boolean accumulate) {
        long nOut = out.dim(-1);
        int nIn = Math.toIntExact(x.dim(-1));
        KernelArguments.matmul(out, x, w, bias, state, nOut * nIn);
        double[] row = new double[nIn];
        forEachRow(out, state, r -> {
            for (int k = 0; k < nIn; k++) {
                row[k] = x.getFloat(r * nIn + k);
            }
            for (long n = 0; n < nOut; n++) {
                double sum = accumulate ? out.getFloat(r * nOut + n) : 0;
                if (bias != null) {
                    sum += bias.getFloat(n);
                }
                for (int k = 0; k < nIn; k++) {
                    sum += row[k] * w.getFloat(n * nIn + k);
                }
                out.setFloat(r * nOut + n, (float) sum);
            }
        });
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
        int heads = (int) q.dim(2);
        int headDim = (int) q.dim(3);
        int kvHeads = (int) kCache.dim(2);
        long window = state.maxWindow();
        long capacity = kCache.dim(1);
        requireRoom(state, capacity, rope.dim(0));
        double[] head = new double[headDim];
        for (int b = 0; b < state.batch(); b++) {
            for (int w = 0; w < liveRows(state, b); w++) {
                long row = b * window + w;
                long entry = b * capacity + state.get(b, SequenceField.KV_LEN) + w;
                long position = state.get(b, SequenceField.POSITION) + w;
                for (int h = 0; h < heads + 2 * kvHeads; h++) {
                    for (int i = 0; i < headDim; i++) {
                        head[i] = qkv.getFloat((row * (heads + 2 * kvHeads) + h) * headDim + i);
                    }
                    if (h < heads) {
                        if (qkNorm != null) {
                            layerNorm(head, qkNorm.qWeight(), qkNorm.qBias(), h, heads, qkNorm.eps());
                        }
                        rotate(head, rope, position, pairs);
                        store(q, (row * heads + h) * headDim, head);
                    } else if (h < heads + kvHeads) {
                        int kvHead = h - heads;
                        if (qkNorm != null) {
                            layerNorm(head, qkNorm.kWeight(), qkNorm.kBias(), kvHead, kvHeads, qkNorm.eps());
                        }
                        rotate(head, rope, position, pairs);
                        store(kCache, (entry * kvHeads + kvHead) * headDim, head);
                    } else {
                        store(vCache, (entry * kvHeads + h - heads - kvHeads) * headDim, head);
                    }
                }
            }
        }
    }

    private static void requireRoom(StateBlock state, long capacity, long ropeLength) {
        for (int b = 0; b < state.batch(); b++) {
            int rows = liveRows(state, b);
            long kvLen = state.get(b, SequenceField.KV_LEN);
            long position = state.get(b, SequenceField.POSITION);
            if (rows > 0 && (kvLen < 0 || kvLen + rows > capacity || position < 0 || position + rows > ropeLength)) {
                throw new KernelException(
                        "ropeAppend on reference failed: sequence " + b + " has " + rows + " rows behind kv_len "
                                + kvLen
                                + " and position " + position + ", the cache has " + capacity
                                + " entries and the rotary table "
                                + ropeLength,
                        BAD_SHAPE);
            }
        }
    }

    private static void layerNorm(double[] head, Tensor weight, Tensor bias, int h, int heads, float eps) {
        double mean = 0;
        for (double v : head) {
            mean += v;
        }
        mean /= head.length;
        double variance = 0;
        for (double v : head) {
            variance += (v - mean) * (v - mean);
        }
        double scale = 1 / Math.sqrt(variance / head.length + eps);
        long row = h / (heads / weight.dim(0)) * head.length;
        for (int i = 0; i < head.length; i++) {
            head[i] = (head[i] - mean) * scale * weight.getFloat(row + i) + bias.getFloat(row + i);
        }
    }

    private static void rotate(double[] head, Tensor rope, long position, RopePairs pairs) {
        int half = head.length / 2;
        for (int i = 0; i < half; i++) {
            double cos = rope.getFloat((position * half + i) * 2);
            double sin = rope.getFloat((position * half + i) * 2 + 1);
            int first = pairs == RopePairs.HALF_SPLIT ? i : 2 * i;
            int second = pairs == RopePairs.HALF_SPLIT ? i + half : 2 * i + 1;
            double a = head[first];
            double b = head[second];
            head[first] = a * cos - b * sin;
            head[second] = b * cos + a * sin;
        }
    }

    private static void store(Tensor dst, long first, double[] values) {
        for (int i = 0; i < values.length; i++) {
            dst.setFloat(first + i, (float) values[i]);
        }
    }

    @Override
    public void attention(Tensor out, Tensor q, Tensor k, Tensor v, StateBlock state, float scale) {
        KernelArguments.attention(out, q, k, v, state, scale);
        int heads = (int) q.dim(2);
        int headDim = (int) q.dim(3);
        int kvHeads = (int) k.dim(2);
        int capacity = Math.toIntExact(k.dim(1));
        double[] scores = new double[capacity];
        double[] sum = new double[headDim];
        for (int b = 0; b < state.batch(); b++) {
            for (int w = 0; w < liveRows(state, b); w++) {
                int entries = state.get(b, SequenceField.KV_LEN) + w + 1;
                if (entries < 1 || entries > capacity) {
                    throw new KernelException(
                            "attention on reference failed: row " + w + " of sequence " + b + " sees " + entries
                                    + " entries, the cache has " + capacity,
                            BAD_SHAPE);
                }
                for (int h = 0; h < heads; h++) {
                    long query = (((long) b * state.maxWindow() + w) * heads + h) * headDim;
                    int kvHead = h / (heads / kvHeads);
                    double largest = Double.NEGATIVE_INFINITY;
                    for (int t = 0; t < entries; t++) {
                        long key = (((long) b * capacity + t) * kvHeads + kvHead) * headDim;
                        double dot = 0;
                        for (int i = 0; i < headDim; i++) {
                            dot += (double) q.getFloat(query + i) * k.getFloat(key + i);
                        }
                        scores[t] = scale * dot;
                        largest = Math.max(largest, scores[t]);
                    }
                    double total = 0;
                    Arrays.fill(sum, 0);
                    for (int t = 0; t < entries; t++) {
                        double weight = Math.exp(scores[t] - largest);
                        long value = (((long) b * capacity + t) * kvHeads + kvHead) * headDim;
                        total += weight;
                        for (int i = 0; i < headDim; i++) {
                            sum[i] += weight * v.getFloat(value + i);
                        }
                    }
                    for (int i = 0; i < headDim; i++) {
                        out.setFloat(query + i, (float) (sum[i] / total));
                    }
                }
            }
        }
    }

    @Override
    public void swiglu(Tensor out, Tensor gateUp, @Nullable StateBlock state) {
        KernelArguments.swiglu(out, gateUp, state);
        long n = out.dim(-1);
        forEachRow(out, state, row -> {
            for (long i = 0; i < n; i++) {
                double gate = gateUp.getFloat(row * 2 * n + i);
                double up = gateUp.getFloat(row * 2 * n + n + i);
                out.setFloat(row * n + i, (float) (gate / (1 + Math.exp(-gate)) * up));
            }
        });
    }

    @Override
    public void gelu(Tensor out, Tensor x, @Nullable StateBlock state, boolean tanhForm) {
        KernelArguments.gelu(out, x, state);
        long n = x.dim(-1);
        forEachRow(x, state, row -> {
            for (long i = 0; i < n; i++) {
                double v = x.getFloat(row * n + i);
                double value = tanhForm
                        ? v / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)))
                        : v / 2 * (1 + ErrorFunction.erf(v / Math.sqrt(2)));
                out.setFloat(row * n + i, (float) value);
            }
        });
    }

    @Override
    public void windowInput(Tensor input, WindowState window, DraftEmbeddings embeddings, StateBlock state) {
        KernelArguments.windowInput(input, window, embeddings, state);
        ReferenceDecoding.windowInput(input, window, embeddings, state);
    }

    @Override
    public void targetProbs(WindowState window, Tensor logits, StateBlock state) {
        KernelArguments.targetProbs(window, logits, state);
        ReferenceDecoding.targetProbs(window, logits, state);
    }

    @Override
    public void verify(WindowState window, StateBlock state) {
        KernelArguments.verify(window, state);
        ReferenceDecoding.verify(window, state);
    }

    @Override
    public void verifyGiven(
            Tensor result, Tensor residual, Tensor draft, Tensor q, Tensor p, Tensor uniforms, float resampleUniform) {
        KernelArguments.verifyGiven(result, residual, draft, q, p, uniforms);
        ReferenceDecoding.verifyGiven(result, residual, draft, q, p, uniforms, resampleUniform);
    }

    @Override
    public void drawGiven(Tensor out, Tensor p, Tensor uniforms) {
        KernelArguments.drawGiven(out, p, uniforms);
        ReferenceDecoding.drawGiven(out, p, uniforms);
    }

    @Override
    public void logLikelihood(Tensor out, Tensor logits, Tensor targets) {
        KernelArguments.logLikelihood(out, logits, targets);
        ReferenceDecoding.logLikelihood(out, logits, targets);
    }

    @Override
    public void philoxWords(Tensor out, long seed, int image, int streamLow, int streamHigh) {
        KernelArguments.philoxWords(out);
        ReferenceDecoding.philoxWords(out, seed, image, streamLow, streamHigh);
    }

    @Override
    public void philoxNormals(Tensor out, long seed, int image, int streamLow, int streamHigh) {
        KernelArguments.philoxNormals(out);
        ReferenceDecoding.philoxNormals(out, seed, image, streamLow, streamHigh);
    }

    @Override
    public long packedConvElements(long nOut, long nIn, long taps, DType dtype) {
        PictureArguments.packedConvElements(nOut, nIn, taps, dtype);
        return nOut * nIn * taps;
    }

    @Override
    public void packConv(Tensor dst, Tensor src, long firstRow, long nOut) {
        PictureArguments.packConv(dst, src, firstRow, nOut);
        long row = src.dim(1) * src.dim(2);
        PictureArguments.packed("packConv", "dst", dst, nOut, src.dim(1), src.dim(2), nOut * row);
        for (long i = 0; i < src.elements(); i++) {
            dst.setFloat(firstRow * row + i, src.getFloat(i));
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
        long packed = out.dim(-1) * x.dim(-1) * convolution.taps();
        PictureArguments.conv(out, moments, x, norm, map, w, bias, convolution, packed);
        ReferencePictures.conv(out, moments, x, norm, map, w, bias, convolution);
    }

    @Override
    public void groupNorm(Tensor norm, Tensor moments, Tensor weight, Tensor bias, int groups, float eps) {
        PictureArguments.groupNorm(norm, moments, weight, bias, groups, eps);
        ReferencePictures.groupNorm(norm, moments, weight, bias, groups, eps);
    }

    @Override
    public void vqAttention(Tensor out, Tensor qkv, DType dtype, float scale) {
        PictureArguments.vqAttention(out, qkv, dtype, scale);
        ReferencePictures.vqAttention(out, qkv, dtype, scale);
    }

    private interface RowBody {
        void run(long row);
    }

    /// Every live row of a `[batch, window, n]` tensor, or every row where no state says which live.
    private static void forEachRow(Tensor t, @Nullable StateBlock state, RowBody body) {
        if (state == null) {
            for (long row = 0; row < t.elements() / t.dim(-1); row++) {
                body.run(row);
            }
            return;
        }
        for (int b = 0; b < state.batch(); b++) {
            for (int w = 0; w < liveRows(state, b); w++) {
                body.run((long) b * state.maxWindow() + w);
            }
        }
    }

    private static int liveRows(StateBlock state, int sequence) {
        int rows = state.get(sequence, SequenceField.ROWS);
        if (rows < 0 || rows > state.maxWindow()) {
            throw new KernelException(
                    "sequence " + sequence + " has " + rows + " live rows, expected 0 to " + state.maxWindow(),
                    BAD_SHAPE);
        }
        return rows;
    }
}
