package io.sjd2.model;

/// Cosines and sines of rotary positions.
final class RopeTable {
    private RopeTable() {}

    /// `[length, headDim / 2, 2]`: cosine and sine of `position * theta^(-2i / headDim)`.
    ///
    /// Frequencies and angles are rounded to f32 as the published implementations round them: at position 2,400 the angle's
    /// f32 rounding moves a sine by 1e-4, more than the tolerance on logits, so being more exact would be further off.
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
