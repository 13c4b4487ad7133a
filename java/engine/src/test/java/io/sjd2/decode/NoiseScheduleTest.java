package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.sjd2.decode.NoiseSchedule.Pair;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class NoiseScheduleTest {
    @Test
    void gridAndPairsAreTheRecordedOnes() {
        for (JsonObject c : Golden.objects(Golden.read("schedule.json").get("cases"))) {
            int n = c.get("n").getAsInt();
            NoiseSchedule schedule = new NoiseSchedule(
                    n,
                    c.get("sigma_min").getAsDouble(),
                    c.get("sigma_max").getAsDouble(),
                    c.get("rho").getAsDouble(),
                    Pair.VARIANCE_PRESERVING);
            double[] lambda = Golden.doubles(c.get("sigma"));
            double[] alpha = Golden.doubles(c.get("vp_alpha"));
            double[] sigma = Golden.doubles(c.get("vp_sigma"));
            for (int i = 0; i < n; i++) {
                // The fixture counts down from pure noise; levels count down to clean.
                int level = n - i;
                assertThat(schedule.lambda(level)).isCloseTo(lambda[i], within(1e-12 * lambda[i]));
                assertThat(schedule.alpha(level)).isCloseTo(alpha[i], within(1e-12));
                assertThat(schedule.sigma(level)).isCloseTo(sigma[i], within(1e-12));
            }
            assertThat(schedule.lambda(0)).isZero();
            assertThat(schedule.alpha(0)).isEqualTo(1);
            assertThat(schedule.sigma(0)).isZero();
        }
    }

    @Test
    void oneStepIsTheRecordedOne() {
        for (JsonObject c : Golden.objects(Golden.read("ddim.json").get("single_steps"))) {
            double alpha = c.get("alpha").getAsDouble();
            double alphaNext = c.get("alpha_next").getAsDouble();
            double[] next = step(
                    Golden.doubles(c.get("e")),
                    Golden.doubles(c.get("e0")),
                    alpha,
                    c.get("sigma").getAsDouble() / alpha,
                    alphaNext,
                    c.get("sigma_next").getAsDouble() / alphaNext);
            double[] expected = Golden.doubles(c.get("e_next"));
            for (int d = 0; d < next.length; d++) {
                assertThat(next[d]).isCloseTo(expected[d], within(1e-12));
            }
        }
    }

    @Test
    void aTrajectoryEndsOnTheLastPrediction() {
        JsonObject c = Golden.read("ddim.json").getAsJsonObject("trajectory");
        int n = c.get("n").getAsInt();
        NoiseSchedule schedule = new NoiseSchedule(n, 0.002, 80, 7, Pair.VARIANCE_PRESERVING);
        double[] e = Golden.doubles(c.get("start"));
        JsonArray predictions = c.getAsJsonArray("e0_predictions");
        JsonArray states = c.getAsJsonArray("states");
        for (int i = 0; i < n; i++) {
            int level = n - i;
            e = step(
                    e,
                    Golden.doubles(predictions.get(i)),
                    schedule.alpha(level),
                    schedule.lambda(level),
                    schedule.alpha(level - 1),
                    schedule.lambda(level - 1));
            double[] expected = Golden.doubles(states.get(i));
            for (int d = 0; d < e.length; d++) {
                assertThat(e[d]).isCloseTo(expected[d], within(1e-11));
            }
        }
        assertThat(e).isEqualTo(Golden.doubles(predictions.get(n - 1)));
    }

    /// The rule of the engine: a lerp in `z = e / alpha`.
    private static double[] step(
            double[] e, double[] prediction, double alpha, double lambda, double alphaNext, double lambdaNext) {
        double keep = lambdaNext / lambda;
        double[] out = new double[e.length];
        for (int d = 0; d < out.length; d++) {
            out[d] = alphaNext * (keep * (e[d] / alpha) + (1 - keep) * prediction[d]);
        }
        return out;
    }

    @ParameterizedTest
    @EnumSource(Pair.class)
    void lambdaIsTheRatioOfThePairAndAscends(Pair pair) {
        NoiseSchedule schedule = new NoiseSchedule(8, 0.5, 30, 7, pair);
        for (int level = 1; level <= 8; level++) {
            assertThat(schedule.sigma(level) / schedule.alpha(level))
                    .isCloseTo(schedule.lambda(level), within(1e-12 * schedule.lambda(level)));
            assertThat(schedule.lambda(level)).isGreaterThan(schedule.lambda(level - 1));
        }
        assertThat(schedule.lambda(8)).isEqualTo(30);
        assertThat(schedule.lambda(1)).isCloseTo(0.5, within(1e-12));
        assertThat(schedule.lambdas()).hasSize(9).startsWith(0f);
        assertThat(schedule.alphas()).hasSize(9).startsWith(1f);
    }

    @Test
    void aSingleLevelIsPureNoise() {
        assertThat(NoiseSchedule.withLevels(1).lambda(1)).isEqualTo(NoiseSchedule.DEFAULT_LAMBDA_MAX);
    }

    @Test
    void mistakesAreNamed() {
        assertThatThrownBy(() -> NoiseSchedule.withLevels(0)).hasMessageContaining("levels is 0");
        assertThatThrownBy(() -> new NoiseSchedule(3, 2, 1, 7, Pair.FLOW_MATCHING)).hasMessageContaining("from 2.0 to 1.0");
        assertThatThrownBy(() -> new NoiseSchedule(3, 1, 2, 0, Pair.FLOW_MATCHING)).hasMessageContaining("rho is 0.0");
        assertThatThrownBy(() -> NoiseSchedule.withLevels(3).lambda(4)).hasMessageContaining("expected 0 to 3");
    }

    @Test
    void embeddingStatisticsAreTheRecordedOnes() {
        JsonObject c = Golden.read("embedding_norm.json");
        float[] table = Golden.rows(c.get("table"));
        double[] mean = Golden.doubles(c.get("mean"));
        double[] std = Golden.doubles(c.get("std_population"));
        int hidden = mean.length;
        int[] ids = Golden.ints(c.get("ids"));
        EmbeddingNorm norm = EmbeddingNorm.of(table, hidden, ids);
        for (int d = 0; d < hidden; d++) {
            assertThat(norm.mean()[d]).isCloseTo(mean[d], within(1e-12));
            assertThat(norm.std()[d]).isCloseTo(std[d], within(1e-12));
        }
        for (int r = 0; r < 4; r++) {
            double[] row = new double[hidden];
            for (int d = 0; d < hidden; d++) {
                row[d] = table[ids[r] * hidden + d];
            }
            double[] expected = Golden.doubles(c.getAsJsonArray("normalised_first_4").get(r));
            double[] actual = norm.normalise(row);
            for (int d = 0; d < hidden; d++) {
                assertThat(actual[d]).isCloseTo(expected[d], within(1e-11));
            }
        }
        JsonObject back = c.getAsJsonObject("denormalise");
        for (int r = 0; r < back.getAsJsonArray("input").size(); r++) {
            double[] expected = Golden.doubles(back.getAsJsonArray("output").get(r));
            double[] actual = norm.denormalise(Golden.doubles(back.getAsJsonArray("input").get(r)));
            for (int d = 0; d < hidden; d++) {
                assertThat(actual[d]).isCloseTo(expected[d], within(1e-11));
            }
        }
    }

    @Test
    void sinusoidsAreTheRecordedOnes() {
        JsonObject c = Golden.read("timestep_embedding.json");
        double[] steps = Golden.doubles(c.get("timesteps"));
        for (int i = 0; i < steps.length; i++) {
            double[] actual =
                    Sinusoids.of(steps[i], c.get("dim").getAsInt(), c.get("max_period").getAsDouble());
            double[] expected = Golden.doubles(c.getAsJsonArray("values").get(i));
            for (int d = 0; d < expected.length; d++) {
                assertThat(actual[d]).isCloseTo(expected[d], within(1e-10));
            }
        }
        assertThatThrownBy(() -> Sinusoids.of(1, 3, 10)).hasMessageContaining("dim is 3");
    }
}
