package io.sjd2.vq;

/// Finds the nearest of a fixed set of points. The least squared distance is the least of `|c|^2 / 2 - x.c`; the lower
/// index wins a tie. Additions run in one fixed order without fused operations, so the answer is the same on every
/// machine. Not thread-safe: it reuses its scores.
final class NearestCenter {
    private final int count;
    private final int dimensions;
    /// `[dimensions][count]`: the inner loop runs over points side by side. One array per dimension, because the JIT
    /// vectorises loops over several arrays only while all of them use the same index.
    private final float[][] rows;
    /// `[count]`
    private final float[] halfNorms;

    private final float[] scores;

    /// @param centers `[count, dimensions]`, read now and not kept
    NearestCenter(float[] centers, int count, int dimensions) {
        this.count = count;
        this.dimensions = dimensions;
        this.rows = new float[dimensions][count];
        this.halfNorms = new float[count];
        this.scores = new float[count];
        for (int center = 0; center < count; center++) {
            double squared = 0;
            for (int d = 0; d < dimensions; d++) {
                float value = centers[center * dimensions + d];
                squared += (double) value * value;
                rows[d][center] = value;
            }
            halfNorms[center] = (float) (squared / 2);
        }
    }

    private NearestCenter(NearestCenter other) {
        this.count = other.count;
        this.dimensions = other.dimensions;
        this.rows = other.rows;
        this.halfNorms = other.halfNorms;
        this.scores = new float[count];
    }

    /// A search over the same points for another thread.
    NearestCenter fork() {
        return new NearestCenter(this);
    }

    /// The point nearest to `values[at .. at + dimensions)`.
    int find(float[] values, int at) {
        System.arraycopy(halfNorms, 0, scores, 0, count);
        int d = 0;
        for (; d + 4 <= dimensions; d += 4) {
            subtractFour(values, at + d, rows[d], rows[d + 1], rows[d + 2], rows[d + 3], scores, count);
        }
        for (; d < dimensions; d++) {
            float value = values[at + d];
            float[] row = rows[d];
            for (int center = 0; center < count; center++) {
                scores[center] -= value * row[center];
            }
        }
        return lowest();
    }

    /// Four dimensions per pass over the scores, which is what the loop would otherwise wait for.
    private static void subtractFour(
            float[] values, int at, float[] row0, float[] row1, float[] row2, float[] row3, float[] out, int count) {
        float v0 = values[at];
        float v1 = values[at + 1];
        float v2 = values[at + 2];
        float v3 = values[at + 3];
        for (int center = 0; center < count; center++) {
            out[center] -= (v0 * row0[center] + v1 * row1[center]) + (v2 * row2[center] + v3 * row3[center]);
        }
    }

    private int lowest() {
        float least = Float.POSITIVE_INFINITY;
        for (float score : scores) {
            least = Math.min(least, score);
        }
        int best = 0;
        while (scores[best] != least) {
            best++;
        }
        return best;
    }
}
