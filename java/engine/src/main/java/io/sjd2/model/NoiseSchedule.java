package io.sjd2.model;

/// A grid of noise levels `N .. 1` and the clean level 0, by the ratio `lambda = sigma / alpha`.
///
/// Denoising works on `z = e / alpha`, where one step is a lerp that depends on `lambda` alone (`docs/decoding.md`);
/// alpha only scales what the network sees. The pair is variance preserving: `alpha = 1 / sqrt(1 + lambda^2)`.
public final class NoiseSchedule {
    private final double[] lambda;

    private NoiseSchedule(double[] lambda) {
        this.lambda = lambda;
    }

    /// Karras grid: `lambda_i = (max^(1/rho) + i/(N-1) (min^(1/rho) - max^(1/rho)))^rho` for `i = 0 .. N-1`, level
    /// `N - i`; a single level is `max`.
    ///
    /// @param levels  N >= 0; 0 has only the clean level
    public static NoiseSchedule karras(int levels, double min, double max, double rho) {
        if (levels < 0 || levels > 100_000) {
            throw new IllegalArgumentException("levels is " + levels + ", expected 0 to 100000");
        }
        if (!(min > 0 && max >= min && max < 1e9 && rho > 0)) {
            throw new IllegalArgumentException("noise grid: expected 0 < min <= max and rho > 0, got min " + min
                    + ", max " + max + ", rho " + rho);
        }
        double[] lambda = new double[levels + 1];
        double from = Math.pow(max, 1 / rho);
        double to = Math.pow(min, 1 / rho);
        for (int i = 0; i < levels; i++) {
            double share = levels == 1 ? 0 : (double) i / (levels - 1);
            lambda[levels - i] = Math.pow(from + share * (to - from), rho);
        }
        return new NoiseSchedule(lambda);
    }

    /// N.
    public int levels() {
        return lambda.length - 1;
    }

    /// `sigma / alpha` of a level; 0 at level 0.
    public double lambda(int level) {
        return lambda[level];
    }

    /// Share of the clean embedding, variance preserving.
    public double alpha(int level) {
        return 1 / Math.sqrt(1 + lambda[level] * lambda[level]);
    }

    /// Share of the noise, variance preserving.
    public double sigma(int level) {
        return lambda[level] * alpha(level);
    }

    /// One step down from `level`: `z' = r z + (1 - r) e0`, `r = lambda[level - 1] / lambda[level]`.
    public double ratio(int level) {
        return lambda[level - 1] / lambda[level];
    }

    float[] lambdas() {
        float[] out = new float[lambda.length];
        for (int l = 0; l < out.length; l++) {
            out[l] = (float) lambda(l);
        }
        return out;
    }

    float[] alphas() {
        float[] out = new float[lambda.length];
        for (int l = 0; l < out.length; l++) {
            out[l] = (float) alpha(l);
        }
        return out;
    }
}
