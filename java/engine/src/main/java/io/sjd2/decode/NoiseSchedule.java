package io.sjd2.decode;

/// The levels that a noisy slot walks down: `lambda = sigma / alpha` per level, ascending, level 0 clean.
///
/// An input at level `l` is `alpha[l] e + sigma[l] noise` in normalised embedding space. The loop keeps `z = e / alpha`,
/// for which one step is `z' = r z + (1 - r) prediction` with `r = lambda[l-1] / lambda[l]`; the pair's kind only rescales
/// what the network sees. Source: `docs/decoding.md`, "Noise schedule" and "z-path".
///
/// @param levels     `N`, at least 1
/// @param lambdaMin  `lambda` of level 1, > 0; unused when `levels` is 1
/// @param lambdaMax  `lambda` of level `N`, above `lambdaMin`
/// @param rho        spacing of the Karras grid, > 0; larger puts more levels at the clean end
/// @param pair       how `lambda` splits into `alpha` and `sigma`
public record NoiseSchedule(int levels, double lambdaMin, double lambdaMax, double rho, Pair pair) {
    /// The grid of inference that measured best; see `docs/decoding.md`, "Measured on a small trained model".
    public static final double DEFAULT_LAMBDA_MIN = 0.5;

    public static final double DEFAULT_LAMBDA_MAX = 30;
    public static final double DEFAULT_RHO = 7;

    /// @throws IllegalArgumentException naming the parameter, its value and what is allowed
    public NoiseSchedule {
        if (levels < 1) {
            throw new IllegalArgumentException("noise schedule: levels is " + levels + ", expected at least 1");
        }
        if (!(lambdaMin > 0) || !(lambdaMax > lambdaMin) || Double.isInfinite(lambdaMax)) {
            throw new IllegalArgumentException("noise schedule: lambda runs from " + lambdaMin + " to " + lambdaMax
                    + ", expected 0 < lambda_min < lambda_max");
        }
        if (!(rho > 0) || Double.isInfinite(rho)) {
            throw new IllegalArgumentException("noise schedule: rho is " + rho + ", expected a finite number > 0");
        }
    }

    /// The default grid with `levels` levels, variance preserving.
    public static NoiseSchedule withLevels(int levels) {
        return new NoiseSchedule(levels, DEFAULT_LAMBDA_MIN, DEFAULT_LAMBDA_MAX, DEFAULT_RHO, Pair.VARIANCE_PRESERVING);
    }

    /// `sigma / alpha` of a level; 0 at level 0.
    ///
    /// @param level  0 to {@link #levels}
    public double lambda(int level) {
        if (level < 0 || level > levels) {
            throw new IllegalArgumentException("noise level is " + level + ", expected 0 to " + levels);
        }
        if (level == 0) {
            return 0;
        }
        return karras(levels - level, levels, lambdaMin, lambdaMax, rho);
    }

    /// Entry `i` of the descending Karras grid of `n` values: linear in `lambda^(1/rho)`.
    /// Source: `docs/decoding.md`, "Noise schedule".
    static double karras(int i, int n, double min, double max, double rho) {
        if (n == 1 || i == 0) {
            return max;
        }
        double from = Math.pow(max, 1 / rho);
        double to = Math.pow(min, 1 / rho);
        return Math.pow(from + (double) i / (n - 1) * (to - from), rho);
    }

    /// Scale of the clean embedding at a level; 1 at level 0.
    public double alpha(int level) {
        return pair.alpha(lambda(level));
    }

    /// Scale of the noise at a level; 0 at level 0.
    public double sigma(int level) {
        return pair.sigma(lambda(level));
    }

    /// `[levels + 1]` {@link #lambda} of every level, for the device.
    public float[] lambdas() {
        float[] out = new float[levels + 1];
        for (int level = 0; level <= levels; level++) {
            out[level] = (float) lambda(level);
        }
        return out;
    }

    /// `[levels + 1]` {@link #alpha} of every level, for the device.
    public float[] alphas() {
        float[] out = new float[levels + 1];
        for (int level = 0; level <= levels; level++) {
            out[level] = (float) alpha(level);
        }
        return out;
    }

    /// How `lambda` splits into the scale of the embedding and that of the noise.
    public enum Pair {
        /// `alpha = 1 / sqrt(1 + lambda^2)`: unit variance at every level, so noise looks like an embedding in scale.
        VARIANCE_PRESERVING {
            @Override
            public double alpha(double lambda) {
                return 1 / Math.sqrt(1 + lambda * lambda);
            }
        },
        /// `alpha = 1 / (1 + lambda)`: a straight line from embedding to noise.
        FLOW_MATCHING {
            @Override
            public double alpha(double lambda) {
                return 1 / (1 + lambda);
            }
        };

        /// Scale of the clean embedding.
        public abstract double alpha(double lambda);

        /// Scale of the noise.
        public double sigma(double lambda) {
            return lambda * alpha(lambda);
        }
    }
}
