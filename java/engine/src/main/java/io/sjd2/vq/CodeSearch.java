package io.sjd2.vq;

import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// Finds the code nearest to each latent pixel.
///
/// The least distance is the greatest of `z.e - |e|^2 / 2`, a matrix product. It is computed in f32; whatever comes
/// within its error of the best is compared again in f64, so that the answer is the same on every backend. Of equal
/// distances the lowest code wins.
final class CodeSearch {
    /// Of scores at a time: they stay in cache, and take no fresh memory to speak of.
    private static final long SCORE_BYTES = 4L << 20;
    /// Of the magnitude of the terms: several times what a sum of a few hundred f32 products is off by.
    private static final double MARGIN = 1e-5;

    private final Backend backend;
    private final float[] table;
    private final int codes;
    private final int width;
    private final boolean normalised;
    private final Tensor packed;
    private final Tensor bias;
    private final double largestNorm;

    /// @param table  `[codes, width]`, of length 1 each if `normalised`
    /// @param owner  owns the packed table
    CodeSearch(Backend backend, Arena owner, float[] table, int codes, int width, boolean normalised) {
        this.backend = backend;
        this.table = table;
        this.codes = codes;
        this.width = width;
        this.normalised = normalised;
        this.packed = backend.allocate(owner, DType.F32, backend.kernels().packedElements(codes, width, DType.F32));
        float[] half = new float[codes];
        double largest = 0;
        for (int code = 0; code < codes; code++) {
            double squared = squared(table, code * width);
            half[code] = (float) (-squared / 2);
            largest = Math.max(largest, squared);
        }
        this.largestNorm = Math.sqrt(largest);
        this.bias = backend.allocate(owner, DType.F32, codes);
        backend.upload(bias, MemorySegment.ofArray(half));
        try (Arena stage = Arena.ofShared()) {
            Tensor rows = backend.allocate(stage, DType.F32, codes, width);
            backend.upload(rows, MemorySegment.ofArray(table));
            backend.kernels().packWeights(packed, rows, 0, codes);
            backend.synchronize();
        }
    }

    private double squared(float[] values, int at) {
        double sum = 0;
        for (int i = 0; i < width; i++) {
            sum += (double) values[at + i] * values[at + i];
        }
        return sum;
    }

    /// @param latent `[pixels, width]`; normalised in place where the codes are
    int[] find(float[] latent) {
        int pixels = latent.length / width;
        if (normalised) {
            for (int p = 0; p < pixels; p++) {
                normalise(latent, p * width, width);
            }
        }
        int[] found = new int[pixels];
        int block = (int) Math.max(1, Math.min(pixels, SCORE_BYTES / 4 / codes));
        float[] scores = new float[block * codes];
        try (Arena arena = Arena.ofShared()) {
            Tensor z = backend.allocate(arena, DType.F32, block, width);
            Tensor out = backend.allocate(arena, DType.F32, block, codes);
            for (int first = 0; first < pixels; first += block) {
                int rows = Math.min(block, pixels - first);
                backend.upload(
                        z.rows(0, rows), MemorySegment.ofArray(latent).asSlice(4L * first * width, 4L * rows * width));
                backend.kernels().matmul(out.rows(0, rows), z.rows(0, rows), packed, bias, null, false);
                backend.download(MemorySegment.ofArray(scores).asSlice(0, 4L * rows * codes), out.rows(0, rows));
                for (int r = 0; r < rows; r++) {
                    found[first + r] = best(latent, (first + r) * width, scores, r * codes);
                }
            }
        }
        return found;
    }

    private int best(float[] latent, int z, float[] scores, int at) {
        double length = Math.sqrt(squared(latent, z));
        double margin = MARGIN * largestNorm * (length + largestNorm);
        // One pass: whatever comes near the best so far is compared exactly, so the few that were near a lesser one,
        // too.
        double threshold = Double.NEGATIVE_INFINITY;
        int best = 0;
        double least = Double.POSITIVE_INFINITY;
        for (int code = 0; code < codes; code++) {
            float score = scores[at + code];
            if (score >= threshold) {
                threshold = Math.max(threshold, score - margin);
                double distance = 0;
                for (int i = 0; i < width; i++) {
                    double d = (double) latent[z + i] - table[code * width + i];
                    distance += d * d;
                }
                if (distance < least) {
                    least = distance;
                    best = code;
                }
            }
        }
        return best;
    }

    /// Divides by the length, or by 1e-12 if that is more.
    static void normalise(float[] values, int at, int width) {
        double sum = 0;
        for (int i = 0; i < width; i++) {
            sum += (double) values[at + i] * values[at + i];
        }
        double length = Math.max(Math.sqrt(sum), 1e-12);
        for (int i = 0; i < width; i++) {
            values[at + i] = (float) (values[at + i] / length);
        }
    }
}
