package io.sjd2.decode;

/// Sinusoidal features of a scalar, such as a noise level or its `log(sigma / alpha)`: what a level embedding is made of.
public final class Sinusoids {
    private Sinusoids() {}

    /// `[cos(t f_i), sin(t f_i)]` with `f_i = maxPeriod^(-i / half)`, `half = dim / 2`.
    ///
    /// @param t    the scalar, in the units that the embedding was trained with
    /// @param dim  even, at least 2
    /// @return `[dim]`, cosines first
    /// @throws IllegalArgumentException if `dim` is odd or below 2
    public static double[] of(double t, int dim, double maxPeriod) {
        if (dim < 2 || dim % 2 != 0) {
            throw new IllegalArgumentException("sinusoids: dim is " + dim + ", expected an even number from 2 on");
        }
        int half = dim / 2;
        double[] out = new double[dim];
        for (int i = 0; i < half; i++) {
            double frequency = Math.pow(maxPeriod, -(double) i / half);
            out[i] = Math.cos(t * frequency);
            out[half + i] = Math.sin(t * frequency);
        }
        return out;
    }
}
