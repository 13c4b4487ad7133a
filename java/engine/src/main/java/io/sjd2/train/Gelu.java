package io.sjd2.train;

/// GELU in its exact form: `x Phi(x)`, where `Phi` is the normal distribution function. Source: arXiv:1606.08415,
/// section 2.
final class Gelu {
    /// Where `Phi` is 0 or 1 to within 1e-16.
    private static final double FAR = 8.3;

    private static final double INVERSE_ROOT_TWO_PI = 1 / Math.sqrt(2 * Math.PI);

    private Gelu() {}

    /// The normal distribution function, to about 1e-15.
    static double phi(double x) {
        if (x >= FAR) {
            return 1;
        }
        if (x <= -FAR) {
            return 0;
        }
        // Phi(x) = 1/2 + pdf(x) (x + x^3/3 + x^5/15 + ...): all terms have the sign of x, so that nothing cancels.
        double term = x;
        double sum = x;
        for (int k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) {
            term *= x * x / k;
            sum += term;
        }
        return 0.5 + sum * density(x);
    }

    private static double density(double x) {
        return INVERSE_ROOT_TWO_PI * Math.exp(-x * x / 2);
    }

    /// Of `x Phi(x)`.
    static double derivative(double x) {
        return phi(x) + x * density(x);
    }
}
