package io.sjd2.testing;

import java.util.Arrays;
import java.util.Comparator;
import java.util.Locale;
import java.util.stream.IntStream;

/// Pearson's goodness-of-fit test with pooled small cells and an exact tail probability.
///
/// A test that uses it states its false-alarm rate `alpha`, its power (see {@link #power}) and a mutant that must fail.
public final class ChiSquare {
    /// Cells are pooled until each expects at least this many counts; the usual limit for the chi-square approximation.
    private static final double SMALLEST_EXPECTATION = 5;

    private static final double EPSILON = 1e-16;
    private static final int MAX_TERMS = 100_000;

    private ChiSquare() {}

    /// What the test found.
    ///
    /// @param statistic         sum of `(count - expected)^2 / expected` over the pooled cells
    /// @param degreesOfFreedom  pooled cells less one
    /// @param pValue            probability of a statistic at least as large under the law
    public record Result(double statistic, int degreesOfFreedom, double pValue) {}

    /// Fails unless `counts` look like draws from `probs`.
    ///
    /// @param probs   the law, `[cells]`; sums to 1 within 1e-4 (it is normalised)
    /// @param counts  how often each cell was drawn, `[cells]`
    /// @param alpha   probability of failing although the law holds
    /// @throws AssertionError if the p-value is below `alpha`, or a cell of probability zero was drawn
    public static void assertFits(double[] probs, long[] counts, double alpha) {
        for (int i = 0; i < probs.length && i < counts.length; i++) {
            if (probs[i] == 0 && counts[i] > 0) {
                throw new AssertionError("cell " + i + " has probability 0 and was drawn " + counts[i] + " times");
            }
        }
        Result result = test(probs, counts);
        if (!(result.pValue >= alpha)) {
            throw new AssertionError(String.format(
                    Locale.ROOT,
                    "counts do not fit the law: chi-square %.1f with %d degrees of freedom, p = %.3g < alpha = %.3g;"
                            + " worst cell %s",
                    result.statistic,
                    result.degreesOfFreedom,
                    result.pValue,
                    alpha,
                    worstCell(probs, counts)));
        }
    }

    /// The statistic and its p-value. Cells of probability zero are left out.
    ///
    /// @throws IllegalArgumentException if lengths differ, a probability is negative or NaN, or their sum is not 1
    public static Result test(double[] probs, long[] counts) {
        if (probs.length != counts.length) {
            throw new IllegalArgumentException(
                    "counts has " + counts.length + " cells, expected as many as probs: " + probs.length);
        }
        double mass = 0;
        for (double p : probs) {
            if (!(p >= 0)) {
                throw new IllegalArgumentException("probability " + p + " is not >= 0");
            }
            mass += p;
        }
        if (Math.abs(mass - 1) > 1e-4) {
            throw new IllegalArgumentException("probabilities sum to " + mass + ", expected 1");
        }
        long total = Arrays.stream(counts).sum();
        int[] order = IntStream.range(0, probs.length)
                .filter(i -> probs[i] > 0)
                .boxed()
                .sorted(Comparator.comparingDouble(i -> probs[i]))
                .mapToInt(Integer::intValue)
                .toArray();
        double statistic = 0;
        int cells = 0;
        double expected = 0;
        double observed = 0;
        double remaining = total;
        for (int i : order) {
            expected += probs[i] / mass * total;
            observed += counts[i];
            remaining -= probs[i] / mass * total;
            // The last cells join the pool too when what is left could not stand on its own.
            boolean last = i == order[order.length - 1];
            if (last || (expected >= SMALLEST_EXPECTATION && remaining >= SMALLEST_EXPECTATION)) {
                statistic += (observed - expected) * (observed - expected) / expected;
                cells++;
                expected = 0;
                observed = 0;
            }
        }
        int degrees = cells - 1;
        if (degrees < 1) {
            return new Result(0, 0, 1);
        }
        return new Result(statistic, degrees, upperGamma(degrees / 2.0, statistic / 2));
    }

    /// Probability that a test of `trials` draws at `alpha` notices that the law is `actual` rather than `assumed`:
    /// the tail of a non-central chi-square, by its normal approximation.
    public static double power(double[] assumed, double[] actual, long trials, double alpha) {
        double shift = 0;
        int cells = 0;
        for (int i = 0; i < assumed.length; i++) {
            if (assumed[i] > 0) {
                double d = actual[i] - assumed[i];
                shift += d * d / assumed[i];
                cells++;
            }
        }
        shift *= trials;
        double degrees = cells - 1.0;
        double critical = quantile(degrees, alpha);
        double mean = degrees + shift;
        double deviation = Math.sqrt(2 * (degrees + 2 * shift));
        return normalTail((critical - mean) / deviation);
    }

    /// Smallest statistic whose p-value is at most `alpha`.
    public static double quantile(double degrees, double alpha) {
        double low = 0;
        double high = degrees + 10;
        while (upperGamma(degrees / 2, high / 2) > alpha) {
            high *= 2;
        }
        for (int i = 0; i < 200; i++) {
            double middle = (low + high) / 2;
            if (upperGamma(degrees / 2, middle / 2) > alpha) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return high;
    }

    /// Probability that a standard normal exceeds `x`.
    public static double normalTail(double x) {
        double tail = upperGamma(0.5, x * x / 2) / 2;
        return x >= 0 ? tail : 1 - tail;
    }

    /// The regularised upper incomplete gamma function `Q(a, x)`: by its series below `a + 1`, by Lentz' evaluation of
    /// its continued fraction above.
    static double upperGamma(double a, double x) {
        if (!(a > 0) || !(x >= 0)) {
            throw new IllegalArgumentException("Q(a, x) is defined for a > 0 and x >= 0, not a = " + a + ", x = " + x);
        }
        if (x == 0) {
            return 1;
        }
        double scale = Math.exp(a * Math.log(x) - x - logGamma(a));
        if (x < a + 1) {
            double term = 1 / a;
            double sum = term;
            for (int n = 1; n < MAX_TERMS && term > sum * EPSILON; n++) {
                term *= x / (a + n);
                sum += term;
            }
            return Math.max(0, 1 - sum * scale);
        }
        double tiny = 1e-300;
        double b = x + 1 - a;
        double c = 1 / tiny;
        double d = 1 / b;
        double fraction = d;
        for (int n = 1; n < MAX_TERMS; n++) {
            double numerator = -n * (n - a);
            b += 2;
            d = numerator * d + b;
            d = 1 / (Math.abs(d) < tiny ? tiny : d);
            c = b + numerator / c;
            c = Math.abs(c) < tiny ? tiny : c;
            double factor = d * c;
            fraction *= factor;
            if (Math.abs(factor - 1) < EPSILON) {
                break;
            }
        }
        return scale * fraction;
    }

    /// `log Gamma(a)`: Stirling's series after moving the argument above 15.
    static double logGamma(double a) {
        double product = 1;
        double x = a;
        double logProduct = 0;
        while (x < 15) {
            product *= x;
            x += 1;
            if (product > 1e200) {
                logProduct += Math.log(product);
                product = 1;
            }
        }
        logProduct += Math.log(product);
        double inverse = 1 / x;
        double square = inverse * inverse;
        double series = inverse
                * (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260 - square * (1.0 / 1680 - square / 1188))));
        return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series - logProduct;
    }

    private static String worstCell(double[] probs, long[] counts) {
        long total = Arrays.stream(counts).sum();
        int worst = 0;
        double largest = -1;
        for (int i = 0; i < probs.length; i++) {
            double expected = probs[i] * total;
            double share = expected > 0 ? (counts[i] - expected) * (counts[i] - expected) / expected : 0;
            if (share > largest) {
                largest = share;
                worst = i;
            }
        }
        return String.format(
                Locale.ROOT, "%d: drawn %d times, expected %.1f", worst, counts[worst], probs[worst] * total);
    }
}
