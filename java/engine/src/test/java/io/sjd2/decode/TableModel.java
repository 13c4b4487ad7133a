package io.sjd2.decode;

import java.util.SplittableRandom;

/// A next-symbol model given by a rule instead of weights: logits as a function of everything to the left.
///
/// Symbols below {@link #codes} are sampled codes, those from there on structural tokens; a noisy input becomes a
/// symbol from
/// {@link #NOISY} on. A model may make anything of those: nothing may be committed that saw one.
interface TableModel {
    /// The first symbol that stands for a noisy input.
    int NOISY = 1000;

    /// Noisy symbols that a model tells apart.
    int NOISY_SYMBOLS = 8;

    int codes();

    /// @param out      `[codes]` logits, overwritten
    /// @param history  symbols to the left, prompt excluded
    /// @param n        how many of them count
    /// @param salt     0 for a sequence with its prompt, 1 for one without
    void logits(float[] out, int[] history, int n, int salt);

    /// Independent normal logits for every history, noisy symbols included.
    static TableModel everyHistory(int codes, double sharpness, long seed) {
        return new TableModel() {
            @Override
            public int codes() {
                return codes;
            }

            @Override
            public void logits(float[] out, int[] history, int n, int salt) {
                long hash = mix(seed * 31 + salt);
                for (int i = 0; i < n; i++) {
                    hash = mix(hash ^ (history[i] + 1));
                }
                for (int c = 0; c < codes; c++) {
                    out[c] = (float) (sharpness * normal(mix(hash + c)));
                }
            }
        };
    }

    /// A picture of rows of `width`: logits from the left and the upper neighbour, whose influence is `coupling`.
    ///
    /// @param coupling  standard deviation of each neighbour's contribution
    static TableModel grid(int codes, int width, double coupling, long seed) {
        int symbols = codes + NOISY_SYMBOLS + 2;
        float[][] left = normals(symbols, codes, coupling, seed);
        float[][] up = normals(symbols, codes, coupling, seed + 1);
        float[][] prompt = normals(2, codes, coupling, seed + 2);
        return new TableModel() {
            @Override
            public int codes() {
                return codes;
            }

            @Override
            public void logits(float[] out, int[] history, int n, int salt) {
                float[] fromLeft = left[n % width == 0 ? symbols - 1 : row(history[n - 1])];
                float[] fromUp = up[n < width ? symbols - 1 : row(history[n - width])];
                for (int c = 0; c < codes; c++) {
                    out[c] = fromLeft[c] + fromUp[c] + 0.3f * prompt[salt][c];
                }
            }

            private int row(int symbol) {
                return symbol < codes ? symbol : symbol < NOISY ? symbols - 2 : codes + symbol - NOISY;
            }
        };
    }

    private static float[][] normals(int rows, int columns, double scale, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        float[][] out = new float[rows][columns];
        for (float[] row : out) {
            for (int c = 0; c < columns; c++) {
                row[c] = (float) (scale * random.nextGaussian());
            }
        }
        return out;
    }

    /// The finaliser of splitmix64.
    private static long mix(long value) {
        long z = value + 0x9E3779B97F4A7C15L;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /// Roughly normal, from a hash: the sum of four uniforms, centred and scaled to unit variance.
    private static double normal(long hash) {
        double sum = 0;
        for (int i = 0; i < 4; i++) {
            sum += ((hash >>> (16 * i)) & 0xffff) / 65536.0;
        }
        return (sum - 2) * Math.sqrt(3);
    }
}
