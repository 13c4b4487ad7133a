package io.sjd2.kernel.reference;

/// Philox4x32-10 and what is made of its words: uniforms, Gumbel races and normals.
///
/// Key = (seed low, seed high); element `e` of a stream is word `e mod 4` of the block with counter
/// (`e div 4`, image, stream low, stream high). Source: `docs/decoding.md`, "Randomness"; the known answers are
/// fixtures.
public final class Philox {
    private static final int MULTIPLIER_0 = 0xD2511F53;
    private static final int MULTIPLIER_1 = 0xCD9E8D57;
    private static final int KEY_STEP_0 = 0x9E3779B9;
    private static final int KEY_STEP_1 = 0xBB67AE85;
    private static final int ROUNDS = 10;

    private static final double TWO_POW_MINUS_32 = 0x1p-32;
    private static final float TWO_POW_MINUS_24 = 0x1p-24f;

    private Philox() {}

    /// The four words of one block.
    ///
    /// @param out  `[4]`, overwritten
    public static void block(int[] out, long seed, int counter0, int counter1, int counter2, int counter3) {
        int key0 = (int) seed;
        int key1 = (int) (seed >>> 32);
        int c0 = counter0;
        int c1 = counter1;
        int c2 = counter2;
        int c3 = counter3;
        for (int round = 0; round < ROUNDS; round++) {
            long product0 = (MULTIPLIER_0 & 0xffffffffL) * (c0 & 0xffffffffL);
            long product1 = (MULTIPLIER_1 & 0xffffffffL) * (c2 & 0xffffffffL);
            c0 = (int) (product1 >>> 32) ^ c1 ^ key0;
            c1 = (int) product1;
            c2 = (int) (product0 >>> 32) ^ c3 ^ key1;
            c3 = (int) product0;
            key0 += KEY_STEP_0;
            key1 += KEY_STEP_1;
        }
        out[0] = c0;
        out[1] = c1;
        out[2] = c2;
        out[3] = c3;
    }

    /// One element of a stream, an unsigned word.
    public static int word(long seed, int image, int streamLow, int streamHigh, int element) {
        int[] out = new int[4];
        block(out, seed, element >>> 2, image, streamLow, streamHigh);
        return out[element & 3];
    }

    /// In [0, 1), a multiple of 2^-24: exact in f32, so that every backend tests against the same number.
    public static float uniform24(int word) {
        return (word >>> 8) * TWO_POW_MINUS_24;
    }

    /// In (0, 1): `(word + 0.5) 2^-32`, exact in f64.
    public static double uniformOpen(int word) {
        return ((word & 0xffffffffL) + 0.5) * TWO_POW_MINUS_32;
    }

    /// Uniform over `[0, n)`: the high half of `word * n`. Its bias, below `n 2^-32`, is far under what f32 resolves.
    public static int uniformBelow(int word, int n) {
        return (int) (((word & 0xffffffffL) * n) >>> 32);
    }

    /// Elements `[0, out.length)` of a stream as standard normals: Box-Muller on word pairs, in f64.
    public static void normals(double[] out, long seed, int image, int streamLow, int streamHigh) {
        int[] words = new int[4];
        for (int i = 0; i < out.length; i += 2) {
            if ((i & 3) == 0) {
                block(words, seed, i >>> 2, image, streamLow, streamHigh);
            }
            double radius = Math.sqrt(-2 * Math.log(uniformOpen(words[i & 3])));
            double angle = 2 * Math.PI * uniformOpen(words[(i & 3) + 1]);
            out[i] = radius * Math.cos(angle);
            if (i + 1 < out.length) {
                out[i + 1] = radius * Math.sin(angle);
            }
        }
    }
}
