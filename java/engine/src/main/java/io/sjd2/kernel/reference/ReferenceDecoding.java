package io.sjd2.kernel.reference;

import io.sjd2.kernel.DecoderKind;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.DraftKind;
import io.sjd2.kernel.Purpose;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The decode operations of {@link io.sjd2.kernel.Kernels}, as plain loops with f64 sums: what the native ones are held
/// to.
///
/// Signatures are those of the interface. Everything lives in host memory, so a {@link StateBlock}'s mirror is its
/// memory. Source of every rule: `docs/decoding.md`, section by section as named at the methods.
public final class ReferenceDecoding {
    /// `status` of an image whose logits were NaN, +infinity or all -infinity (`SJD2_IMAGE_NAN_LOGITS`).
    public static final int NAN_LOGITS = 1;

    private static final DraftKind[] KINDS = DraftKind.values();
    private static final DecoderKind[] DECODERS = DecoderKind.values();

    private static final int TOKEN = 0;
    private static final int KIND = 1;
    private static final int LEVEL = 2;
    private static final int AGE = 3;

    private ReferenceDecoding() {}

    /// See {@link io.sjd2.kernel.Kernels#windowInput}. Source: `docs/decoding.md`, "The loop" and "z-path".
    public static void windowInput(Tensor input, WindowState window, DraftEmbeddings embeddings, StateBlock state) {
        int hidden = Math.toIntExact(input.dim(2));
        for (int image = 0; image < state.images(); image++) {
            if (liveRows(state, image) > 0) {
                prepareSlots(image, window, embeddings, state, hidden);
                gatherInput(image, input, window, embeddings, state, hidden);
            }
        }
    }

    private static void prepareSlots(
            int image, WindowState window, DraftEmbeddings embeddings, StateBlock state, int hidden) {
        int rows = liveRows(state, image);
        int committed = state.get(image, ImageField.COMMITTED);
        int levels = state.get(image, ImageField.LEVELS);
        Tensor drafts = window.drafts();
        for (int slot = 0; slot < rows; slot++) {
            int position = committed + slot;
            long draft = draftIndex(state, image, position);
            DraftKind kind = KINDS[drafts.getInt(draft + KIND)];
            if (kind == DraftKind.NONE) {
                int forced = forcedToken(window, position);
                if (forced >= 0) {
                    drafts.setInt(draft + TOKEN, forced);
                    drafts.setInt(draft + KIND, DraftKind.FORCED.ordinal());
                    drafts.setInt(draft + LEVEL, 0);
                } else if (levels > 0) {
                    drafts.setInt(draft + LEVEL, levels);
                    startNoise(image, position, window, noiseOf(embeddings), state, hidden, levels);
                } else if (slot < rows - 1) {
                    int word = word(state, image, position, Purpose.INIT, 0);
                    drafts.setInt(draft + TOKEN, Philox.uniformBelow(word, window.codes()));
                    drafts.setInt(draft + KIND, DraftKind.UNIFORM.ordinal());
                }
            } else if (kind == DraftKind.ROW && drafts.getInt(draft + LEVEL) > 0) {
                denoise(image, position, window, embeddings, state, hidden);
            }
        }
    }

    private static void startNoise(
            int image,
            int position,
            WindowState window,
            DraftEmbeddings.Noise noise,
            StateBlock state,
            int hidden,
            int level) {
        double[] normals = new double[hidden];
        Philox.normals(
                normals, seed(state, image), state.get(image, ImageField.INDEX), position, Purpose.NOISE.streamHigh(0));
        Tensor z = noisy(window);
        long first = ringIndex(state, image, position) * hidden;
        float lambda = noise.lambda().getFloat(level);
        for (int d = 0; d < hidden; d++) {
            z.setFloat(first + d, lambda * (float) normals[d]);
        }
    }

    /// One step down the schedule, toward the token predicted last: `z' = r z + (1 - r) norm(E[token])`.
    private static void denoise(
            int image, int position, WindowState window, DraftEmbeddings embeddings, StateBlock state, int hidden) {
        DraftEmbeddings.Noise noise = noiseOf(embeddings);
        long draft = draftIndex(state, image, position);
        int level = window.drafts().getInt(draft + LEVEL);
        double keep = (double) noise.lambda().getFloat(level) / noise.lambda().getFloat(level + 1);
        long row = tableRow(embeddings, window.drafts().getInt(draft + TOKEN)) * hidden;
        Tensor z = noisy(window);
        long first = ringIndex(state, image, position) * hidden;
        for (int d = 0; d < hidden; d++) {
            double clean = ((double) embeddings.table().getFloat(row + d)
                            - noise.mean().getFloat(d))
                    / noise.std().getFloat(d);
            z.setFloat(first + d, (float) (keep * z.getFloat(first + d) + (1 - keep) * clean));
        }
    }

    private static void gatherInput(
            int image, Tensor input, WindowState window, DraftEmbeddings embeddings, StateBlock state, int hidden) {
        int rows = liveRows(state, image);
        int committed = state.get(image, ImageField.COMMITTED);
        long maxLength = window.tokens().dim(1);
        for (int row = committed == 0 ? 1 : 0; row < rows; row++) {
            long out = ((long) image * state.maxWindow() + row) * hidden;
            if (row == 0) {
                copyEmbedding(
                        input, out, embeddings, window.tokens().getInt(image * maxLength + committed - 1), hidden);
                continue;
            }
            int position = committed + row - 1;
            long draft = draftIndex(state, image, position);
            int level = window.drafts().getInt(draft + LEVEL);
            if (level == 0) {
                copyEmbedding(input, out, embeddings, window.drafts().getInt(draft + TOKEN), hidden);
                continue;
            }
            DraftEmbeddings.Noise noise = noiseOf(embeddings);
            Tensor z = noisy(window);
            long first = ringIndex(state, image, position) * hidden;
            double alpha = noise.alpha().getFloat(level);
            for (int d = 0; d < hidden; d++) {
                double mixed = noise.mean().getFloat(d) + noise.std().getFloat(d) * (alpha * z.getFloat(first + d));
                input.setFloat(out + d, (float) (mixed + noise.levelEmbed().getFloat((long) level * hidden + d)));
            }
        }
    }

    private static void copyEmbedding(Tensor input, long out, DraftEmbeddings embeddings, int token, int hidden) {
        long row = tableRow(embeddings, token) * hidden;
        for (int d = 0; d < hidden; d++) {
            input.setFloat(out + d, embeddings.table().getFloat(row + d));
        }
    }

    /// See {@link io.sjd2.kernel.Kernels#targetProbs}. Source: `docs/decoding.md`, "From logits to a target".
    public static void targetProbs(WindowState window, Tensor logits, StateBlock state) {
        int codes = window.codes();
        float[] scores = new float[codes];
        float[] unconditional = new float[codes];
        float[] probs = new float[codes];
        for (int image = 0; image < state.images(); image++) {
            int rows = liveRows(state, image);
            int committed = state.get(image, ImageField.COMMITTED);
            int cond = state.get(image, ImageField.COND);
            int uncond = state.get(image, ImageField.UNCOND);
            float guidance = state.getFloat(image, ImageField.GUIDANCE);
            int half = state.get(image, ImageField.ITERATION) & 1;
            for (int row = 0; row < rows; row++) {
                int position = committed + row;
                if (forcedToken(window, position) >= 0) {
                    continue;
                }
                readRow(scores, logits, (long) cond * state.maxWindow() + row);
                if (uncond >= 0) {
                    readRow(unconditional, logits, (long) uncond * state.maxWindow() + row);
                    for (int c = 0; c < codes; c++) {
                        scores[c] = unconditional[c] + guidance * (scores[c] - unconditional[c]);
                    }
                }
                boolean usable = filter(
                        probs,
                        scores,
                        state.getFloat(image, ImageField.TEMPERATURE),
                        state.get(image, ImageField.TOP_K),
                        state.getFloat(image, ImageField.TOP_P));
                if (usable) {
                    writeRow(window.probs(), probRow(state, image, half, position), probs);
                } else {
                    state.set(image, ImageField.STATUS, NAN_LOGITS);
                }
            }
        }
    }

    /// Temperature, top-k, top-p and softmax of one row.
    ///
    /// @param probs   `[codes]`, overwritten
    /// @param scores  `[codes]` guided logits; divided by the temperature on return
    /// @return false if a score is NaN or +infinity, or none is finite; `probs` is then undefined
    static boolean filter(float[] probs, float[] scores, float temperature, int topK, float topP) {
        int codes = scores.length;
        float max = Float.NEGATIVE_INFINITY;
        for (int c = 0; c < codes; c++) {
            scores[c] /= temperature;
            if (Float.isNaN(scores[c])) {
                return false;
            }
            max = Math.max(max, scores[c]);
        }
        if (Float.isInfinite(max)) {
            return false;
        }
        float threshold = Float.NEGATIVE_INFINITY;
        if (topK > 0 && topK < codes) {
            float[] sorted = scores.clone();
            Arrays.sort(sorted);
            threshold = sorted[codes - topK];
        }
        double[] weights = new double[codes];
        double total = 0;
        for (int c = 0; c < codes; c++) {
            weights[c] = scores[c] >= threshold ? Math.exp((double) scores[c] - max) : 0;
            total += weights[c];
        }
        if (topP < 1) {
            total = keepNucleus(weights, total, topP);
        }
        for (int c = 0; c < codes; c++) {
            probs[c] = (float) (weights[c] / total);
        }
        return true;
    }

    /// Zeroes every weight that has at least `topP` of the mass before it in descending order; returns the mass kept.
    private static double keepNucleus(double[] weights, double total, float topP) {
        Integer[] order = new Integer[weights.length];
        Arrays.setAll(order, i -> i);
        // The sort is stable, so equal weights stay in the order of their ids.
        Arrays.sort(order, (a, b) -> Double.compare(weights[b], weights[a]));
        double before = 0;
        double kept = 0;
        for (int i = 0; i < order.length; i++) {
            double weight = weights[order[i]];
            if (i == 0 || before < topP * total) {
                kept += weight;
            } else {
                weights[order[i]] = 0;
            }
            before += weight;
        }
        return kept;
    }

    /// See {@link io.sjd2.kernel.Kernels#verify}. Source: `docs/decoding.md`, "Committing" and "Redrawing".
    public static void verify(WindowState window, StateBlock state) {
        float[] p = new float[window.codes()];
        float[] q = new float[window.codes()];
        for (int image = 0; image < state.images(); image++) {
            int committed = 0;
            if (liveRows(state, image) > 0) {
                boolean stalled = isFrontTested(image, window, state);
                committed = commit(image, window, state, p, q);
                stalled &= committed == 1 && !isFrontKept(image, window, state);
                redraw(image, committed, window, state, p, q);
                restart(image, committed, stalled, window, state);
            }
            advance(image, committed, window, state);
        }
        advanceSequences(state);
    }

    /// Writes the tokens of the longest valid prefix; returns how many.
    private static int commit(int image, WindowState window, StateBlock state, float[] p, float[] q) {
        int rows = liveRows(state, image);
        int first = state.get(image, ImageField.COMMITTED);
        long maxLength = window.tokens().dim(1);
        Tensor drafts = window.drafts();
        DecoderKind decoder = decoder(state, image);
        add(state, image, ImageField.FRONT_LEVEL, drafts.getInt(draftIndex(state, image, first) + LEVEL));
        for (int row = 0; row < rows; row++) {
            int position = first + row;
            if (row > 0) {
                // Row `row` saw slot `row - 1`: behind a noisy input, no target is conditioned on committed tokens.
                int inputLevel = drafts.getInt(draftIndex(state, image, position - 1) + LEVEL);
                if (inputLevel > 0 || decoder == DecoderKind.SEQUENTIAL) {
                    return row;
                }
            }
            long draft = draftIndex(state, image, position);
            int token = drafts.getInt(draft + TOKEN);
            DraftKind kind = KINDS[drafts.getInt(draft + KIND)];
            if (kind == DraftKind.FORCED) {
                window.tokens().setInt(image * maxLength + position, token);
                continue;
            }
            loadTarget(p, window, state, image, position);
            int chosen = switch (decoder) {
                case SEQUENTIAL -> sequentialDraw(p, state, image, position);
                case GREEDY -> argmax(p);
                case EXACT -> gumbelArgmax(p, state, image, position);
                case INDEPENDENT, MAXIMAL, GUMBEL -> rejectionSample(p, q, kind, token, window, state, image, position);
            };
            window.tokens().setInt(image * maxLength + position, chosen);
            boolean kept = kind != DraftKind.NONE && chosen == token;
            if (kind != DraftKind.NONE) {
                add(state, image, ImageField.TESTED, 1);
                add(state, image, ImageField.KEPT, kept ? 1 : 0);
            }
            if (!kept) {
                return row + 1;
            }
        }
        return rows;
    }

    private static void redraw(int image, int committed, WindowState window, StateBlock state, float[] p, float[] q) {
        int rows = liveRows(state, image);
        int first = state.get(image, ImageField.COMMITTED);
        Tensor drafts = window.drafts();
        DecoderKind decoder = decoder(state, image);
        for (int row = committed; row < rows && decoder != DecoderKind.SEQUENTIAL; row++) {
            int position = first + row;
            long draft = draftIndex(state, image, position);
            if (row < rows - 1) {
                drafts.setInt(draft + AGE, drafts.getInt(draft + AGE) + 1);
            }
            DraftKind kind = KINDS[drafts.getInt(draft + KIND)];
            if (kind == DraftKind.FORCED) {
                continue;
            }
            int token = drafts.getInt(draft + TOKEN);
            loadTarget(p, window, state, image, position);
            int chosen = switch (decoder) {
                case GREEDY -> argmax(p);
                case EXACT, GUMBEL -> gumbelArgmax(p, state, image, position);
                case MAXIMAL -> rejectionSample(p, q, kind, token, window, state, image, position);
                case INDEPENDENT, SEQUENTIAL -> inverseCdf(p, uniform(state, image, position, Purpose.DRAW));
            };
            if (kind != DraftKind.NONE) {
                add(state, image, ImageField.TAIL, 1);
                add(state, image, ImageField.TAIL_KEPT, chosen == token ? 1 : 0);
            }
            drafts.setInt(draft + TOKEN, chosen);
            drafts.setInt(draft + KIND, DraftKind.ROW.ordinal());
            drafts.setInt(draft + LEVEL, Math.max(0, drafts.getInt(draft + LEVEL) - 1));
        }
    }

    /// Whether the first slot holds a clean draft, with others behind it.
    private static boolean isFrontTested(int image, WindowState window, StateBlock state) {
        long draft = draftIndex(state, image, state.get(image, ImageField.COMMITTED));
        DraftKind kind = KINDS[window.drafts().getInt(draft + KIND)];
        return liveRows(state, image) > 1
                && decoder(state, image) != DecoderKind.SEQUENTIAL
                && (kind == DraftKind.UNIFORM || kind == DraftKind.ROW)
                && window.drafts().getInt(draft + LEVEL) == 0;
    }

    private static boolean isFrontKept(int image, WindowState window, StateBlock state) {
        int first = state.get(image, ImageField.COMMITTED);
        int token = window.tokens().getInt(image * window.tokens().dim(1) + first);
        return token == window.drafts().getInt(draftIndex(state, image, first) + TOKEN);
    }

    /// Noise again behind the prefix once enough passes in a row have failed at their first draft. Source:
    /// `docs/decoding.md`, "Restarting a stalled window".
    private static void restart(int image, int committed, boolean stalled, WindowState window, StateBlock state) {
        int limit = state.get(image, ImageField.RESTART);
        int stalls = stalled ? state.get(image, ImageField.STALLS) + 1 : 0;
        boolean restarts = limit > 0 && stalls >= limit;
        state.set(image, ImageField.STALLS, restarts ? 0 : stalls);
        if (!restarts) {
            return;
        }
        add(state, image, ImageField.RESTARTS, 1);
        int first = state.get(image, ImageField.COMMITTED);
        for (int position = first + committed; position < first + liveRows(state, image); position++) {
            if (window.drafts().getInt(draftIndex(state, image, position) + KIND) != DraftKind.FORCED.ordinal()) {
                makeFresh(image, position, window, state);
            }
        }
    }

    private static void makeFresh(int image, int position, WindowState window, StateBlock state) {
        long draft = draftIndex(state, image, position);
        window.drafts().setInt(draft + TOKEN, 0);
        window.drafts().setInt(draft + KIND, DraftKind.NONE.ordinal());
        window.drafts().setInt(draft + LEVEL, state.get(image, ImageField.LEVELS));
        window.drafts().setInt(draft + AGE, 0);
    }

    private static void advance(int image, int committed, WindowState window, StateBlock state) {
        int first = state.get(image, ImageField.COMMITTED);
        for (int position = first; position < first + committed; position++) {
            makeFresh(image, position, window, state);
        }
        state.set(image, ImageField.ACCEPTED, committed);
        if (committed > 0) {
            state.set(image, ImageField.COMMITTED, first + committed);
            add(state, image, ImageField.ITERATION, 1);
        }
    }

    private static void advanceSequences(StateBlock state) {
        for (int sequence = 0; sequence < state.batch(); sequence++) {
            int image = state.get(sequence, SequenceField.IMAGE);
            if (image >= 0) {
                int committed = state.get(image, ImageField.ACCEPTED);
                state.set(sequence, SequenceField.KV_LEN, state.get(sequence, SequenceField.KV_LEN) + committed);
                state.set(sequence, SequenceField.POSITION, state.get(sequence, SequenceField.POSITION) + committed);
                state.set(sequence, SequenceField.ROWS, liveRows(state, image));
            }
        }
    }

    /// Keeps the draft with probability `min(1, p/q)`, else draws from what `p` has and `q` has not; a slot without a
    /// token gets a draw from `p`. Source: `docs/decoding.md`, "The rejection test".
    private static int rejectionSample(
            float[] p,
            float[] q,
            DraftKind kind,
            int token,
            WindowState window,
            StateBlock state,
            int image,
            int position) {
        if (kind == DraftKind.NONE) {
            return inverseCdf(p, uniform(state, image, position, Purpose.DRAW));
        }
        if (kind == DraftKind.UNIFORM) {
            Arrays.fill(q, 1f / q.length);
        } else {
            int previous = (state.get(image, ImageField.ITERATION) & 1) ^ 1;
            readRow(q, window.probs(), probRow(state, image, previous, position));
        }
        if (accepts(p[token], q[token], uniform(state, image, position, Purpose.ACCEPT))) {
            return token;
        }
        return residualDraw(p, q, uniform(state, image, position, Purpose.RESIDUAL));
    }

    /// `u < min(1, p/q)` without the division: a draft of target probability 0 never passes, one of draft probability 0
    /// passes whenever the target allows it. The f64 product of two f32 numbers is exact.
    private static boolean accepts(float p, float q, float uniform) {
        return (double) uniform * q < p;
    }

    /// Inverse CDF of `max(p - q, 0)`, in id order. Never post-processed: `p` and `q` are final distributions.
    private static int residualDraw(float[] p, float[] q, float uniform) {
        double total = 0;
        for (int c = 0; c < p.length; c++) {
            total += Math.max(0, (double) p[c] - q[c]);
        }
        if (total == 0) {
            // p = q cannot fail the test; kept so that the operation is total.
            return inverseCdf(p, uniform);
        }
        double threshold = uniform * total;
        double sum = 0;
        int last = 0;
        for (int c = 0; c < p.length; c++) {
            double excess = Math.max(0, (double) p[c] - q[c]);
            sum += excess;
            if (sum > threshold) {
                return c;
            }
            last = excess > 0 ? c : last;
        }
        return last;
    }

    /// Smallest `j` with `p_0 + .. + p_j > uniform`; the last code of positive probability where rounding left the sum
    /// short.
    static int inverseCdf(float[] p, float uniform) {
        double sum = 0;
        int last = 0;
        for (int c = 0; c < p.length; c++) {
            sum += p[c];
            if (sum > uniform) {
                return c;
            }
            last = p[c] > 0 ? c : last;
        }
        return last;
    }

    private static int argmax(float[] p) {
        int best = 0;
        for (int c = 1; c < p.length; c++) {
            best = p[c] > p[best] ? c : best;
        }
        return best;
    }

    /// `argmax(log p + gumbel)`, found as the winner of the race `argmin(E / p)` with `E = -log u` exponential:
    /// `log p - log(-log u) = -log(E / p)`, one logarithm instead of three. Ties go to the lower id.
    private static int gumbelArgmax(float[] p, StateBlock state, int image, int position) {
        int[] words = new int[4];
        long seed = seed(state, image);
        int index = state.get(image, ImageField.INDEX);
        int best = 0;
        double bestTime = Double.POSITIVE_INFINITY;
        for (int c = 0; c < p.length; c++) {
            if ((c & 3) == 0) {
                Philox.block(words, seed, c >>> 2, index, position, Purpose.GUMBEL.streamHigh(0));
            }
            if (p[c] > 0) {
                double time = -Math.log(Philox.uniformOpen(words[c & 3])) / p[c];
                if (time < bestTime) {
                    bestTime = time;
                    best = c;
                }
            }
        }
        return best;
    }

    private static int sequentialDraw(float[] p, StateBlock state, int image, int position) {
        if (state.get(image, ImageField.SAMPLER) == 0) {
            return gumbelArgmax(p, state, image, position);
        }
        // One stream for the whole picture, element = position: the layout that sequential samplers publish.
        int word = Philox.word(
                seed(state, image), state.get(image, ImageField.INDEX), 0, Purpose.SEQUENTIAL.streamHigh(0), position);
        return inverseCdf(p, Philox.uniform24(word));
    }

    /// See {@link io.sjd2.kernel.Kernels#verifyGiven}. Source: `docs/decoding.md`, "The rejection test".
    public static void verifyGiven(
            Tensor result, Tensor residual, Tensor draft, Tensor q, Tensor p, Tensor uniforms, float resampleUniform) {
        int rows = Math.toIntExact(draft.elements());
        int codes = Math.toIntExact(p.dim(1));
        float[] pRow = new float[codes];
        float[] qRow = new float[codes];
        int accepted = 0;
        int produced = 0;
        for (int row = 0; row < rows && produced == accepted; row++) {
            readRow(pRow, p, row);
            readRow(qRow, q, row);
            int token = draft.getInt(row);
            if (accepts(pRow[token], qRow[token], uniforms.getFloat(row))) {
                accepted++;
            } else {
                double total = 0;
                for (int c = 0; c < codes; c++) {
                    total += Math.max(0, (double) pRow[c] - qRow[c]);
                }
                for (int c = 0; c < codes; c++) {
                    double excess = Math.max(0, (double) pRow[c] - qRow[c]);
                    residual.setFloat(c, total > 0 ? (float) (excess / total) : pRow[c]);
                }
                token = residualDraw(pRow, qRow, resampleUniform);
            }
            result.setInt(2 + produced, token);
            produced++;
        }
        result.setInt(0, accepted);
        result.setInt(1, produced);
    }

    /// See {@link io.sjd2.kernel.Kernels#drawGiven}.
    public static void drawGiven(Tensor out, Tensor p, Tensor uniforms) {
        float[] row = new float[Math.toIntExact(p.dim(1))];
        for (int r = 0; r < p.dim(0); r++) {
            readRow(row, p, r);
            out.setInt(r, inverseCdf(row, uniforms.getFloat(r)));
        }
    }

    /// See {@link io.sjd2.kernel.Kernels#logLikelihood}.
    public static void logLikelihood(Tensor out, Tensor logits, Tensor targets) {
        float[] row = new float[Math.toIntExact(logits.dim(1))];
        for (int r = 0; r < logits.dim(0); r++) {
            readRow(row, logits, r);
            double max = Double.NEGATIVE_INFINITY;
            for (float value : row) {
                max = Math.max(max, value);
            }
            double total = 0;
            for (float value : row) {
                total += Math.exp(value - max);
            }
            out.setFloat(r, (float) (row[targets.getInt(r)] - max - Math.log(total)));
        }
    }

    /// See {@link io.sjd2.kernel.Kernels#philoxWords}.
    public static void philoxWords(Tensor out, long seed, int image, int streamLow, int streamHigh) {
        int[] words = new int[4];
        for (int i = 0; i < out.elements(); i++) {
            if ((i & 3) == 0) {
                Philox.block(words, seed, i >>> 2, image, streamLow, streamHigh);
            }
            out.setInt(i, words[i & 3]);
        }
    }

    /// See {@link io.sjd2.kernel.Kernels#philoxNormals}.
    public static void philoxNormals(Tensor out, long seed, int image, int streamLow, int streamHigh) {
        double[] normals = new double[Math.toIntExact(out.elements())];
        Philox.normals(normals, seed, image, streamLow, streamHigh);
        for (int i = 0; i < normals.length; i++) {
            out.setFloat(i, (float) normals[i]);
        }
    }

    /// Rows of the pass that image `image` takes part in: none once it is finished or failed.
    private static int liveRows(StateBlock state, int image) {
        if (state.get(image, ImageField.STATUS) != 0) {
            return 0;
        }
        int left = state.get(image, ImageField.LENGTH) - state.get(image, ImageField.COMMITTED);
        return Math.min(state.get(image, ImageField.WINDOW), left);
    }

    private static void loadTarget(float[] p, WindowState window, StateBlock state, int image, int position) {
        int half = state.get(image, ImageField.ITERATION) & 1;
        readRow(p, window.probs(), probRow(state, image, half, position));
    }

    private static float uniform(StateBlock state, int image, int position, Purpose purpose) {
        return Philox.uniform24(word(state, image, position, purpose, state.get(image, ImageField.ITERATION)));
    }

    private static int word(StateBlock state, int image, int position, Purpose purpose, int iteration) {
        return Philox.word(
                seed(state, image), state.get(image, ImageField.INDEX), position, purpose.streamHigh(iteration), 0);
    }

    private static long seed(StateBlock state, int image) {
        return (long) state.get(image, ImageField.SEED_HIGH) << 32
                | (state.get(image, ImageField.SEED_LOW) & 0xffffffffL);
    }

    private static DecoderKind decoder(StateBlock state, int image) {
        return DECODERS[state.get(image, ImageField.DECODER)];
    }

    private static void add(StateBlock state, int image, ImageField field, int amount) {
        state.set(image, field, state.get(image, field) + amount);
    }

    private static int forcedToken(WindowState window, int position) {
        @Nullable Tensor forced = window.forced();
        return forced == null ? -1 : forced.getInt(position);
    }

    private static long ringIndex(StateBlock state, int image, int position) {
        return (long) image * state.maxWindow() + position % state.maxWindow();
    }

    private static long draftIndex(StateBlock state, int image, int position) {
        return ringIndex(state, image, position) * WindowState.DRAFT_INTS;
    }

    private static long probRow(StateBlock state, int image, int half, int position) {
        return ((long) image * 2 + half) * state.maxWindow() + position % state.maxWindow();
    }

    private static long tableRow(DraftEmbeddings embeddings, int token) {
        @Nullable Tensor rows = embeddings.tokenRows();
        return rows == null ? token : rows.getInt(token);
    }

    private static DraftEmbeddings.Noise noiseOf(DraftEmbeddings embeddings) {
        DraftEmbeddings.@Nullable Noise noise = embeddings.noise();
        if (noise == null) {
            throw new IllegalArgumentException("windowInput: embeddings.noise is null, but an image has levels > 0");
        }
        return noise;
    }

    private static Tensor noisy(WindowState window) {
        @Nullable Tensor z = window.noisy();
        if (z == null) {
            throw new IllegalArgumentException("windowInput: window.noisy is null, but an image has levels > 0");
        }
        return z;
    }

    private static void readRow(float[] out, Tensor source, long row) {
        MemorySegment.copy(
                source.data(), ValueLayout.JAVA_FLOAT_UNALIGNED, row * out.length * Float.BYTES, out, 0, out.length);
    }

    private static void writeRow(Tensor target, long row, float[] values) {
        MemorySegment.copy(
                values,
                0,
                target.data(),
                ValueLayout.JAVA_FLOAT_UNALIGNED,
                row * values.length * Float.BYTES,
                values.length);
    }
}
