package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/// Intervals are judged by how often they cover the truth.
class EstimateTest {
    /// Experiments per case. At a true coverage of 95 % the observed one has a standard deviation of 0.5 %, so that the
    /// bounds of 93 % and 97 % are four of them away: a false alarm in about 15,000 cases.
    private static final int EXPERIMENTS = 2_000;

    private static final double LEAST = 0.93;
    private static final double MOST = 0.97;

    private interface Experiment {
        boolean covered(SplittableRandom random);
    }

    private static double coverage(Experiment experiment) {
        int covered = 0;
        for (int i = 0; i < EXPERIMENTS; i++) {
            covered += experiment.covered(new SplittableRandom(1_000 + i)) ? 1 : 0;
        }
        return (double) covered / EXPERIMENTS;
    }

    private static double[] normals(SplittableRandom random, int count, double mean, double sd) {
        double[] values = new double[count];
        Arrays.setAll(values, i -> mean + sd * random.nextGaussian());
        return values;
    }

    @Test
    void meanOfKnownNumbers() {
        Estimate estimate = Estimate.mean(new double[] {1, 2, 3, 4});
        assertThat(estimate.value()).isEqualTo(2.5);
        // sd 1.2910, t(3) 3.1824
        assertThat(estimate.high() - 2.5).isCloseTo(3.1824 * 1.2910 / 2, within(0.03));
        assertThat(estimate.low()).isCloseTo(5 - estimate.high(), within(1e-12));
    }

    @Test
    void meanCoversTheTruthWithFewAndManySamples() {
        for (int n : new int[] {2, 3, 5, 30}) {
            assertThat(coverage(r -> Estimate.mean(normals(r, n, 3, 2)).covers(3)))
                    .as("%d samples", n)
                    .isBetween(LEAST, MOST);
        }
    }

    @Test
    void ratioCoversTheTruthWhereBothSidesVaryTogether() {
        assertThat(coverage(r -> {
                    double[] denominator = normals(r, 40, 10, 2);
                    double[] numerator = new double[40];
                    Arrays.setAll(numerator, i -> 3 * denominator[i] + r.nextGaussian());
                    return Estimate.ratio(numerator, denominator).covers(3);
                }))
                .isBetween(LEAST, MOST);
    }

    @Test
    void constantFactorsCancelInAProduct() {
        double[] a = {1, 2, 3};
        Estimate one = Estimate.product(new double[][] {a, {5, 5, 5}}, new double[][] {a, {5, 5, 5}});
        assertThat(one.value()).isCloseTo(1, within(1e-12));
        assertThat(one.high() - one.low()).isCloseTo(0, within(1e-12));
    }

    @Test
    void shareCoversTheTruthForObjectsThatFailTogether() {
        // Three objects a picture; half the pictures fail or succeed as a whole.
        assertThat(coverage(r -> {
                    double[] right = new double[100];
                    double[] of = new double[100];
                    for (int i = 0; i < 100; i++) {
                        boolean together = r.nextBoolean();
                        boolean all = r.nextDouble() < 0.8;
                        of[i] = 3;
                        for (int j = 0; j < 3; j++) {
                            right[i] += together ? (all ? 1 : 0) : (r.nextDouble() < 0.8 ? 1 : 0);
                        }
                    }
                    return Estimate.share(right, of).covers(0.8);
                }))
                .isBetween(LEAST, MOST);
    }

    @Test
    void independentObjectsCountedAsPicturesWouldHideTheSpread() {
        // Negative control: the interval that ignores pictures misses far too often.
        double naive = coverage(r -> {
            double[] right = new double[300];
            double[] of = new double[300];
            for (int i = 0; i < 300; i += 3) {
                double all = r.nextDouble() < 0.8 ? 1 : 0;
                Arrays.fill(right, i, i + 3, all);
            }
            Arrays.fill(of, 1);
            return Estimate.share(right, of).covers(0.8);
        });
        assertThat(naive).isLessThan(0.85);
    }

    @Test
    void perfectShareIsNotCertain() {
        double[] ones = new double[50];
        Arrays.fill(ones, 1);
        Estimate estimate = Estimate.share(ones, ones);
        assertThat(estimate.value()).isEqualTo(1);
        assertThat(estimate.high()).isEqualTo(1);
        assertThat(estimate.low()).isCloseTo(1 / (1 + 1.96 * 1.96 / 50), within(1e-3));
    }

    @Test
    void oneSampleHasNoInterval() {
        assertThat(Estimate.mean(new double[] {3}).low()).isNaN();
        assertThat(Estimate.ratio(new double[] {3}, new double[] {2}).value()).isEqualTo(1.5);
        assertThat(Estimate.mean(new double[0]).value()).isNaN();
        assertThat(Estimate.share(new double[0], new double[0]).value()).isNaN();
        assertThat(Estimate.NONE.toJson()).containsEntry("value", null).containsEntry("value_ci", null);
    }

    @Test
    void arraysMustBelongTogether() {
        assertThatThrownBy(() -> Estimate.ratio(new double[2], new double[3]))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("2 and 3");
    }

    @Test
    void studentMatchesTheTables() {
        assertThat(Estimate.student975(1)).isCloseTo(12.706, within(0.001));
        assertThat(Estimate.student975(2)).isCloseTo(4.303, within(0.001));
        assertThat(Estimate.student975(3)).isCloseTo(3.182, within(0.05));
        assertThat(Estimate.student975(10)).isCloseTo(2.228, within(0.001));
        assertThat(Estimate.student975(199)).isCloseTo(1.972, within(0.001));
    }
}
