package io.sjd2.testing;

import io.sjd2.tensor.DType;
import java.util.SplittableRandom;

/// Seeded generators of test data. One seed for the whole run, `-Dsjd2.test.seed`; every failure names it.
public final class Randoms {
    private static final long SEED = Long.getLong("sjd2.test.seed", 20_261_123L);

    private Randoms() {}

    /// The run's seed, for messages.
    public static long seed() {
        return SEED;
    }

    /// A generator of its own for every purpose, whatever else runs before it.
    public static SplittableRandom of(String purpose) {
        long hash = SEED;
        for (int i = 0; i < purpose.length(); i++) {
            hash = hash * 0x100000001b3L + purpose.charAt(i);
        }
        return new SplittableRandom(hash);
    }

    /// Standard normals times `deviation`, as a tensor of `dtype` holds them.
    public static float[] normals(SplittableRandom random, int n, double deviation, DType dtype) {
        float[] out = new float[n];
        for (int i = 0; i < n; i++) {
            out[i] = (float) Tolerance.round(dtype, deviation * random.nextGaussian());
        }
        return out;
    }
}
