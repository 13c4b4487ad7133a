package io.sjd2.kernel.reference;

/// The error function in f64, which the Java library lacks.
final class ErrorFunction {
    /// Beyond this `1 - |erf|` is below half a unit in the last place of 1.
    private static final double SATURATED = 6;
    /// Where the series needs more digits than it has, and the continued fraction already converges fast.
    private static final double SERIES_LIMIT = 2;

    private static final int FRACTION_TERMS = 120;

    private ErrorFunction() {}

    /// `2 / sqrt(pi)` times the integral of `exp(-t^2)` from 0 to `x`; absolute error below 1e-15.
    static double erf(double x) {
        double a = Math.abs(x);
        if (Double.isNaN(x)) {
            return x;
        }
        if (a > SATURATED) {
            return Math.signum(x);
        }
        double value = a <= SERIES_LIMIT ? series(a) : 1 - fraction(a);
        return x < 0 ? -value : value;
    }

    /// `2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!!`: all terms positive, so nothing cancels.
    private static double series(double x) {
        double term = x;
        double sum = x;
        for (int n = 1; term > sum * 1e-18; n++) {
            term *= 2 * x * x / (2 * n + 1);
            sum += term;
        }
        return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
    }

    /// `erfc(x) = exp(-x^2) / sqrt(pi) / (x + 1/2 / (x + 1 / (x + 3/2 / (x + ...))))`, evaluated from the inside.
    private static double fraction(double x) {
        double tail = x;
        for (int n = FRACTION_TERMS; n >= 1; n--) {
            tail = x + n / 2.0 / tail;
        }
        return Math.exp(-x * x) / Math.sqrt(Math.PI) / tail;
    }
}
