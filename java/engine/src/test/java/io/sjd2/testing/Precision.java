package io.sjd2.testing;

/// Arithmetic that naive loops of tests are written in: every intermediate result goes through {@link #of}.
///
/// Sums, products, quotients and square roots of two floats computed in double and then rounded are what float
/// arithmetic gives, because 53 bits are more than twice 24 plus 2; exponentials come out correctly rounded.
public enum Precision {
    /// What errors are measured against.
    F64 {
        @Override
        public double of(double x) {
            return x;
        }
    },
    /// What an obvious loop over floats computes.
    F32 {
        @Override
        public double of(double x) {
            return (float) x;
        }
    };

    /// `x` rounded to this precision.
    public abstract double of(double x);
}
