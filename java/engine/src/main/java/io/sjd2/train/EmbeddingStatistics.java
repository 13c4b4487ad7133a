package io.sjd2.train;

import io.sjd2.tensor.Tensor;
import java.util.Arrays;

/// Normalisation of embeddings: mean per dimension, one standard deviation for all of them.
///
/// One deviation instead of one per dimension keeps the geometry of the table, on which a noisy embedding is read.
/// Source: docs/decoding.md, "Fine-tuning that worked".
final class EmbeddingStatistics {
    private EmbeddingStatistics() {}

    /// @param rows `[codes, hidden_size]`, f32
    /// @return mean and standard deviation, `[hidden_size]` each
    static float[][] of(Tensor rows) {
        int codes = Math.toIntExact(rows.dim(0));
        int hidden = Math.toIntExact(rows.dim(1));
        float[] values = rows.toFloats();
        double[] sums = new double[hidden];
        for (int i = 0; i < values.length; i++) {
            sums[i % hidden] += values[i];
        }
        float[] mean = new float[hidden];
        for (int d = 0; d < hidden; d++) {
            mean[d] = (float) (sums[d] / codes);
        }
        double squares = 0;
        for (int i = 0; i < values.length; i++) {
            double x = values[i] - sums[i % hidden] / codes;
            squares += x * x;
        }
        float[] std = new float[hidden];
        Arrays.fill(std, (float) Math.sqrt(squares / values.length));
        return new float[][] {mean, std};
    }
}
