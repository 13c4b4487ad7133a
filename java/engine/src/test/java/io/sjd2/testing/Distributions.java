package io.sjd2.testing;

import java.util.Arrays;
import java.util.SplittableRandom;

/// Probability laws for tests of samplers; all rows sum to 1 up to rounding.
public final class Distributions {
    private Distributions() {}

    /// `p[i]` proportional to `(i + 1)^-exponent`.
    public static double[] zipf(int cells, double exponent) {
        double[] p = new double[cells];
        for (int i = 0; i < cells; i++) {
            p[i] = Math.pow(i + 1.0, -exponent);
        }
        return normalised(p);
    }

    /// A mixture with the uniform law: `(1 - share) p + share / cells`.
    public static double[] flattened(double[] p, double share) {
        double[] out = new double[p.length];
        for (int i = 0; i < p.length; i++) {
            out[i] = (1 - share) * p[i] + share / p.length;
        }
        return out;
    }

    /// Softmax of `sharpness` times standard normals of `seed`: a law without order in its ids.
    public static double[] random(int cells, double sharpness, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        double[] p = new double[cells];
        for (int i = 0; i < cells; i++) {
            p[i] = Math.exp(sharpness * random.nextGaussian());
        }
        return normalised(p);
    }

    /// The uniform law.
    public static double[] uniform(int cells) {
        double[] p = new double[cells];
        Arrays.fill(p, 1.0 / cells);
        return p;
    }

    /// `weights` divided by their sum, in a new array.
    public static double[] normalised(double[] weights) {
        double sum = Arrays.stream(weights).sum();
        return Arrays.stream(weights).map(w -> w / sum).toArray();
    }

    /// Half the sum of absolute differences: the largest difference in the probability of any event.
    public static double totalVariation(double[] p, double[] q) {
        double sum = 0;
        for (int i = 0; i < p.length; i++) {
            sum += Math.abs(p[i] - q[i]);
        }
        return sum / 2;
    }
}
