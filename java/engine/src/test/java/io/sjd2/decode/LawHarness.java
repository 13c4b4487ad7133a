package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/// A model small enough that the law of whole pictures is known exactly, and tallies of what a decoder makes of it.
///
/// Four codes, five positions, an independent random table for every history: 1024 pictures. Source:
/// `docs/decoding.md`, "The exact-law harness".
final class LawHarness {
    static final int CODES = 4;
    static final int LENGTH = 5;
    static final int CELLS = 1 << (2 * LENGTH);

    private static final int BATCH = 4096;
    private static final TableModel MODEL = TableModel.everyHistory(CODES, 1, 20);

    private LawHarness() {}

    /// Counts per picture, the picture's codes being the cell's base-4 digits, and passes needed.
    record Tally(long[] counts, double tokensPerPass) {}

    /// Decodes `trials` pictures, rounded up to whole batches.
    static Tally tally(Backend backend, DecodeOptions options, int[] forced, int trials, long seed) {
        long[] counts = new long[CELLS];
        long passes = 0;
        long images = 0;
        boolean guided = options.sampling().guided();
        try (Arena arena = Arena.ofConfined()) {
            TableForward forward = new TableForward(backend, arena, MODEL, guided ? 2 * BATCH : BATCH, BATCH, LENGTH);
            Decoder decoder = new Decoder(forward);
            for (int first = 0; first < trials; first += BATCH) {
                List<DecodeRequest.Image> batch = new ArrayList<>();
                for (int i = 0; i < BATCH; i++) {
                    batch.add(new DecodeRequest.Image(seed, first + i, i, guided ? BATCH + i : -1));
                }
                DecodeResult result =
                        decoder.decode(new DecodeRequest(LENGTH, forced, batch), options, DecodeListener.NONE);
                for (int[] tokens : result.tokens()) {
                    counts[cell(tokens)]++;
                }
                images += BATCH;
                passes += result.statistics().images().stream()
                        .mapToInt(DecodeResult.ImageStatistics::passes)
                        .sum();
            }
        }
        return new Tally(counts, (double) images * LENGTH / passes);
    }

    private static int cell(int[] tokens) {
        int cell = 0;
        for (int token : tokens) {
            // A forced token carries no information; it counts as digit 0.
            cell = cell * CODES + (token < CODES ? token : 0);
        }
        return cell;
    }

    /// The exact law of the pictures: softmax after guidance, temperature, top-k and top-p, written independently of
    /// the operations under test.
    static double[] law(SamplingOptions sampling, int[] forced) {
        double[] law = new double[CELLS];
        fill(law, sampling, forced, new int[LENGTH], 0, 0, 1);
        return law;
    }

    private static void fill(
            double[] law, SamplingOptions sampling, int[] forced, int[] history, int n, int cell, double mass) {
        if (n == LENGTH) {
            law[cell] = mass;
            return;
        }
        if (forced != null && forced[n] >= 0) {
            history[n] = forced[n];
            fill(law, sampling, forced, history, n + 1, cell * CODES, mass);
            return;
        }
        double[] probs = target(sampling, history, n);
        for (int c = 0; c < CODES; c++) {
            if (probs[c] > 0) {
                history[n] = c;
                fill(law, sampling, forced, history, n + 1, cell * CODES + c, mass * probs[c]);
            }
        }
    }

    private static double[] target(SamplingOptions sampling, int[] history, int n) {
        float[] conditional = new float[CODES];
        float[] unconditional = new float[CODES];
        MODEL.logits(conditional, history, n, 0);
        MODEL.logits(unconditional, history, n, 1);
        double[] weights = new double[CODES];
        for (int c = 0; c < CODES; c++) {
            double guided = unconditional[c] + sampling.guidance() * ((double) conditional[c] - unconditional[c]);
            weights[c] = Math.exp(guided / sampling.temperature());
        }
        Integer[] order = {0, 1, 2, 3};
        Arrays.sort(order, Comparator.comparingDouble(c -> -weights[c]));
        int keep = sampling.topK() == 0 ? CODES : Math.min(sampling.topK(), CODES);
        for (int i = keep; i < CODES; i++) {
            weights[order[i]] = 0;
        }
        double total = Arrays.stream(weights).sum();
        double before = 0;
        for (int c : order) {
            double weight = weights[c];
            if (before / total >= sampling.topP()) {
                weights[c] = 0;
            }
            before += weight;
        }
        double kept = Arrays.stream(weights).sum();
        return Arrays.stream(weights).map(w -> w / kept).toArray();
    }
}
