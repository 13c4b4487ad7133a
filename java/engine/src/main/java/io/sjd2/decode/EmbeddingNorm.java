package io.sjd2.decode;

/// Mean and standard deviation of the image tokens' embeddings, per dimension: the space in which noise has unit variance.
///
/// @param mean  `[hidden_size]`
/// @param std   `[hidden_size]`, population convention (divided by the number of rows)
public record EmbeddingNorm(double[] mean, double[] std) {
    /// @throws IllegalArgumentException if the lengths differ
    public EmbeddingNorm {
        if (mean.length != std.length) {
            throw new IllegalArgumentException(
                    "std is [" + std.length + "], expected [hidden_size=" + mean.length + "] as mean");
        }
    }

    /// Statistics over some rows of a table.
    ///
    /// @param table   `[vocab_size, hidden_size]` row-major
    /// @param hidden  width of a row
    /// @param rows    the rows that count: those of the image tokens
    /// @throws IllegalArgumentException if no row is given or one lies outside the table
    public static EmbeddingNorm of(float[] table, int hidden, int[] rows) {
        if (rows.length == 0) {
            throw new IllegalArgumentException("no rows to normalise over");
        }
        double[] mean = new double[hidden];
        double[] std = new double[hidden];
        for (int row : rows) {
            if (row < 0 || (row + 1L) * hidden > table.length) {
                throw new IllegalArgumentException(
                        "row " + row + " is outside of a table of " + table.length / hidden + " rows");
            }
            for (int d = 0; d < hidden; d++) {
                mean[d] += table[row * hidden + d] / (double) rows.length;
            }
        }
        // Two passes: the mean is often large against the deviation.
        for (int row : rows) {
            for (int d = 0; d < hidden; d++) {
                double centred = table[row * hidden + d] - mean[d];
                std[d] += centred * centred / rows.length;
            }
        }
        for (int d = 0; d < hidden; d++) {
            std[d] = Math.sqrt(std[d]);
        }
        return new EmbeddingNorm(mean, std);
    }

    /// `(e - mean) / std` of one embedding.
    public double[] normalise(double[] embedding) {
        double[] out = new double[embedding.length];
        for (int d = 0; d < out.length; d++) {
            out[d] = (embedding[d] - mean[d]) / std[d];
        }
        return out;
    }

    /// `x std + mean`, the way back.
    public double[] denormalise(double[] normalised) {
        double[] out = new double[normalised.length];
        for (int d = 0; d < out.length; d++) {
            out[d] = normalised[d] * std[d] + mean[d];
        }
        return out;
    }
}
