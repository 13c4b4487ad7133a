package io.sjd2.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ChiSquareTest {
    private static final double[] LAW = Distributions.zipf(64, 1.1);
    private static final int TRIALS = 400_000;
    private static final double ALPHA = 1e-6;

    /// Closed forms: Q(1, x) = exp(-x); Q(1/2, x) = erfc(sqrt x), by C's erfc; Q(2, x) = (1 + x) exp(-x).
    @ParameterizedTest
    @CsvSource({
        "1, 0.5, 0.6065306597126334",
        "1, 30, 9.357622968840175e-14",
        "0.5, 1.92072941034706, 0.05",
        "0.5, 11.96413355, 9.999272182089353e-7",
        "2, 3, 0.19914827347145578",
        "2, 0.25, 0.9735009788392561"
    })
    void upperGammaMatchesClosedForms(double a, double x, double expected) {
        assertThat(ChiSquare.upperGamma(a, x)).isCloseTo(expected, within(expected * 1e-11));
    }

    @Test
    void logGammaMatchesFactorials() {
        double logFactorial = 0;
        for (int n = 1; n <= 170; n++) {
            assertThat(ChiSquare.logGamma(n)).as("logGamma(%d)", n).isCloseTo(logFactorial, within(1e-11 * (1 + n)));
            logFactorial += Math.log(n);
        }
        assertThat(ChiSquare.logGamma(0.5)).isCloseTo(Math.log(Math.PI) / 2, within(1e-13));
    }

    @Test
    void quantileInvertsTheTail() {
        for (double degrees : new double[] {1, 7, 63, 1000}) {
            double x = ChiSquare.quantile(degrees, ALPHA);
            assertThat(ChiSquare.upperGamma(degrees / 2, x / 2)).isCloseTo(ALPHA, within(1e-12));
        }
    }

    @Test
    void drawsFromTheLawFit() {
        ChiSquare.assertFits(LAW, draws(LAW, TRIALS, 7), ALPHA);
        ChiSquare.assertFits(Distributions.uniform(1000), draws(Distributions.uniform(1000), 3000, 8), ALPHA);
    }

    @Test
    void aSmallShiftIsCaughtAsThePowerSays() {
        double[] shifted = Distributions.flattened(LAW, 0.03);
        assertThat(Distributions.totalVariation(LAW, shifted)).isBetween(0.008, 0.02);
        assertThat(ChiSquare.power(LAW, shifted, TRIALS, ALPHA)).isGreaterThan(0.999);
        assertThatThrownBy(() -> ChiSquare.assertFits(LAW, draws(shifted, TRIALS, 9), ALPHA))
                .isInstanceOf(AssertionError.class)
                .hasMessageContaining("do not fit");
    }

    @Test
    void anImpossibleDrawIsCaught() {
        assertThatThrownBy(() -> ChiSquare.assertFits(new double[] {0.5, 0, 0.5}, new long[] {500, 1, 499}, ALPHA))
                .isInstanceOf(AssertionError.class)
                .hasMessageContaining("cell 1");
    }

    /// p-values of true draws are uniform: neither too many nor too few are small.
    @Test
    void pValuesAreUniformUnderTheLaw() {
        int below = 0;
        int runs = 2000;
        for (int i = 0; i < runs; i++) {
            if (ChiSquare.test(LAW, draws(LAW, 2000, 1000 + i)).pValue() < 0.1) {
                below++;
            }
        }
        assertThat(below).isBetween(130, 270); // binomial(2000, 0.1), five standard deviations of 13.4
    }

    private static long[] draws(double[] law, int trials, long seed) {
        double[] cdf = law.clone();
        for (int i = 1; i < cdf.length; i++) {
            cdf[i] += cdf[i - 1];
        }
        SplittableRandom random = new SplittableRandom(seed);
        long[] counts = new long[law.length];
        for (int t = 0; t < trials; t++) {
            int at = Arrays.binarySearch(cdf, random.nextDouble());
            counts[Math.min(at >= 0 ? at + 1 : -at - 1, law.length - 1)]++;
        }
        return counts;
    }
}
