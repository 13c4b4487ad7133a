package io.sjd2.model;

import io.sjd2.model.TransformerConfig.Grid;

/// Cosines and sines of rotary positions.
final class RopeTable {
    private RopeTable() {}

    /// The table of a model for sequences of up to `length` cache entries.
    static float[] of(TransformerConfig config, int length) {
        Grid plane = config.rope().plane();
        return plane == null
                ? standard(length, config.headDim(), config.rope().theta())
                : plane(
                        plane,
                        config.rope().conditionRows(),
                        config.headDim(),
                        config.rope().theta());
    }

    /// Rows of a table of {@link #of}.
    static int rows(TransformerConfig config, int length) {
        Grid plane = config.rope().plane();
        return plane == null ? length : config.rope().conditionRows() + plane.cells();
    }

    /// `[conditionRows + cells, headDim / 2, 2]`: zero for the condition, whose queries and keys so become zero; then
    /// the row of a cell turns the first half of the pairs and its column the second, by `theta^(-2j / (headDim /
    /// 2))`.
    static float[] plane(Grid plane, int conditionRows, int headDim, double theta) {
        int quarter = headDim / 4;
        float[] inverse = new float[quarter];
        for (int j = 0; j < quarter; j++) {
            inverse[j] = (float) (1.0 / Math.pow(theta, (2.0 * j) / (headDim / 2.0)));
        }
        float[] table = new float[Math.multiplyExact((conditionRows + plane.cells()) * 2, headDim / 2)];
        for (int cell = 0; cell < plane.cells(); cell++) {
            for (int j = 0; j < 2 * quarter; j++) {
                int along = j < quarter ? cell / plane.width() : cell % plane.width();
                float angle = along * inverse[j % quarter];
                int at = ((conditionRows + cell) * (headDim / 2) + j) * 2;
                table[at] = (float) Math.cos(angle);
                table[at + 1] = (float) Math.sin(angle);
            }
        }
        return table;
    }

    /// `[length, headDim / 2, 2]`: cosine and sine of `position * theta^(-2i / headDim)`.
    ///
    /// Frequencies and angles are rounded to f32 as the published implementations round them: at position 2,400 the
    /// angle's f32 rounding moves a sine by 1e-4, more than the tolerance on logits, so being more exact would be
    /// further off.
    static float[] standard(int length, int headDim, double theta) {
        int half = headDim / 2;
        float[] inverse = new float[half];
        for (int i = 0; i < half; i++) {
            inverse[i] = (float) (1.0 / Math.pow(theta, (2.0 * i) / headDim));
        }
        float[] table = new float[Math.multiplyExact(Math.multiplyExact(length, half), 2)];
        for (int p = 0; p < length; p++) {
            for (int i = 0; i < half; i++) {
                float angle = p * inverse[i];
                int at = (p * half + i) * 2;
                table[at] = (float) Math.cos(angle);
                table[at + 1] = (float) Math.sin(angle);
            }
        }
        return table;
    }
}
