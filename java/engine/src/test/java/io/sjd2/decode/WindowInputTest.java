package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.DraftKind;
import io.sjd2.kernel.Purpose;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.WindowState;
import io.sjd2.kernel.reference.Philox;
import io.sjd2.model.NoiseSchedule;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/// What slots start as, how noise is taken off them, and what the model gets to see.
class WindowInputTest {
    private static final String NAMES = "io.sjd2.decode.DecodeBackends#everyInstructionSet";

    @AfterAll
    static void restore() {
        DecodeBackends.backToTheBest();
    }

    @Test
    void oneLerpInZIsTheRecordedStep() {
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

    /// The engine's rule: `z = e / alpha`, `z' = r z + (1 - r) prediction`.
    private static double[] step(
            double[] e, double[] prediction, double alpha, double lambda, double alphaNext, double lambdaNext) {
        double keep = lambdaNext / lambda;
        double[] out = new double[e.length];
        for (int d = 0; d < out.length; d++) {
            out[d] = alphaNext * (keep * (e[d] / alpha) + (1 - keep) * prediction[d]);
        }
        return out;
    }

    @Test
    void theGridAndItsPairsAreTheRecordedOnes() {
        for (JsonObject c : Golden.objects(Golden.read("schedule.json").get("cases"))) {
            int n = c.get("n").getAsInt();
            NoiseSchedule schedule = NoiseSchedule.karras(
                    n,
                    c.get("sigma_min").getAsDouble(),
                    c.get("sigma_max").getAsDouble(),
                    c.get("rho").getAsDouble());
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
            assertThat(schedule.alpha(0)).isEqualTo(1);
            assertThat(schedule.sigma(0)).isZero();
        }
    }

    /// One image whose slot 0 is noisy, at the position that row 1 sees.
    private static final class Slots implements AutoCloseable {
        final Backend backend;
        final Arena arena = Arena.ofConfined();
        final StateBlock state;
        final WindowState window;
        final Tensor input;
        final int hidden;

        Slots(String backendName, int rows, int codes, int hidden, int levels, boolean forced) {
            this.backend = DecodeBackends.open(backendName);
            this.hidden = hidden;
            state = new StateBlock(backend, arena, 1, 1, rows);
            window = WindowState.allocate(backend, arena, 1, rows, 50, codes, hidden, levels > 0, forced);
            input = backend.allocate(arena, DType.F32, 1, rows, hidden);
            state.set(0, ImageField.SEED_LOW, 77);
            state.set(0, ImageField.INDEX, 5);
            state.set(0, ImageField.LENGTH, 50);
            state.set(0, ImageField.WINDOW, rows);
            state.set(0, ImageField.LEVELS, levels);
            state.push();
        }

        Tensor tensor(float... values) {
            Tensor t = backend.allocate(arena, DType.F32, values.length);
            SamplingFixturesTest.upload(backend, arena, t, values);
            return t;
        }

        /// As the last verification left it: predicted to be `token`, lowered to `level`.
        void predicted(int slot, int token, int level) {
            window.drafts().setInt(slot * 4L, token);
            window.drafts().setInt(slot * 4L + 1, DraftKind.ROW.ordinal());
            window.drafts().setInt(slot * 4L + 2, level);
        }

        float[] run(DraftEmbeddings embeddings) {
            backend.kernels().windowInput(input, window, embeddings, state);
            backend.synchronize();
            return SamplingFixturesTest.download(backend, arena, input);
        }

        @Override
        public void close() {
            backend.close();
            arena.close();
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void normalisationIsTheRecordedOne(String backend) {
        JsonObject c = Golden.read("embedding_norm.json");
        int hidden = Golden.doubles(c.get("mean")).length;
        int[] ids = Golden.ints(c.get("ids"));
        try (Slots slots = new Slots(backend, 2, 48, hidden, 2, false)) {
            Tensor table = slots.tensor(Golden.rows(c.get("table"))).view(48, hidden);
            for (int r = 0; r < 4; r++) {
                // From z = 0 with r = 1/2, one step leaves half the normalised embedding; alpha 2 shows it whole, and
                // statistics of another space, mean 0 and deviation 1, cannot be told to the operation: undo them.
                DraftEmbeddings embeddings = embeddings(slots, table, c, new float[] {0, 1, 2}, new float[] {1, 2, 1});
                zero(slots);
                slots.predicted(0, ids[r], 1);
                float[] input = slots.run(embeddings);
                double[] mean = Golden.doubles(c.get("mean"));
                double[] std = Golden.doubles(c.get("std_population"));
                double[] expected =
                        Golden.doubles(c.getAsJsonArray("normalised_first_4").get(r));
                for (int d = 0; d < hidden; d++) {
                    assertThat(2.0 * slots.window.noisy().getFloat(d)).isCloseTo(expected[d], within(2e-6));
                    assertThat((input[hidden + d] - mean[d]) / std[d]).isCloseTo(expected[d], within(1e-5));
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void denormalisationIsTheRecordedOne(String backend) {
        JsonObject c = Golden.read("embedding_norm.json");
        int hidden = Golden.doubles(c.get("mean")).length;
        JsonArray inputs = c.getAsJsonObject("denormalise").getAsJsonArray("input");
        JsonArray outputs = c.getAsJsonObject("denormalise").getAsJsonArray("output");
        try (Slots slots = new Slots(backend, 2, 48, hidden, 2, false)) {
            Tensor table = slots.tensor(Golden.rows(c.get("table"))).view(48, hidden);
            for (int r = 0; r < inputs.size(); r++) {
                // lambda[1] = lambda[2] takes nothing of the prediction, alpha 1 shows z as it is.
                DraftEmbeddings embeddings = embeddings(slots, table, c, new float[] {0, 2, 2}, new float[] {1, 1, 1});
                slots.window.noisy().rows(0, 1).view(2, hidden).rows(0, 1).fill(Golden.floats(inputs.get(r)));
                slots.predicted(0, 3, 1);
                float[] input = slots.run(embeddings);
                double[] expected = Golden.doubles(outputs.get(r));
                for (int d = 0; d < hidden; d++) {
                    assertThat((double) input[hidden + d]).isCloseTo(expected[d], within(2e-6));
                }
            }
        }
    }

    private static DraftEmbeddings embeddings(Slots slots, Tensor table, JsonObject c, float[] lambda, float[] alpha) {
        return new DraftEmbeddings(
                table,
                null,
                new DraftEmbeddings.Noise(
                        slots.tensor(Golden.floats(c.get("mean"))),
                        slots.tensor(Golden.floats(c.get("std_population"))),
                        slots.backend.allocate(slots.arena, DType.F32, 3, slots.hidden),
                        slots.tensor(lambda),
                        slots.tensor(alpha)));
    }

    private static void zero(Slots slots) {
        slots.window.noisy().data().fill((byte) 0);
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void noiseWalksDownTheScheduleToTheCleanEmbedding(String backend) {
        int hidden = 21;
        int codes = 9;
        int levels = 3;
        NoiseSchedule schedule = NoiseSchedule.karras(levels, 0.5, 30, 7);
        float[] table = random(codes * hidden, 1);
        float[] mean = random(hidden, 2);
        float[] std = new float[hidden];
        float[] level = random((levels + 1) * hidden, 4);
        float[] lambda = new float[levels + 1];
        float[] alpha = new float[levels + 1];
        for (int l = 0; l <= levels; l++) {
            lambda[l] = (float) schedule.lambda(l);
            alpha[l] = (float) schedule.alpha(l);
        }
        for (int d = 0; d < hidden; d++) {
            std[d] = 0.5f + d * 0.1f;
        }
        try (Slots slots = new Slots(backend, 3, codes, hidden, levels, false)) {
            DraftEmbeddings embeddings = new DraftEmbeddings(
                    slots.tensor(table).view(codes, hidden),
                    null,
                    new DraftEmbeddings.Noise(
                            slots.tensor(mean),
                            slots.tensor(std),
                            slots.tensor(level).view(levels + 1, hidden),
                            slots.tensor(lambda),
                            slots.tensor(alpha)));
            double[] z = new double[hidden];
            Philox.normals(z, 77, 5, 1, Purpose.NOISE.streamHigh(0));
            for (int d = 0; d < hidden; d++) {
                z[d] *= lambda[levels];
            }
            float[] input = slots.run(embeddings);
            for (int l = levels; l >= 1; l--) {
                for (int d = 0; d < hidden; d++) {
                    double expected = mean[d] + std[d] * alpha[l] * z[d] + level[l * hidden + d];
                    assertThat((double) input[2 * hidden + d])
                            .as("level %d, dimension %d", l, d)
                            .isCloseTo(expected, within(1e-5 * (1 + Math.abs(expected))));
                }
                int token = l + 2;
                slots.predicted(0, token, l - 1);
                slots.predicted(1, token, l - 1);
                for (int d = 0; d < hidden; d++) {
                    double r = (double) lambda[l - 1] / lambda[l];
                    z[d] = r * z[d] + (1 - r) * (table[token * hidden + d] - mean[d]) / std[d];
                }
                input = slots.run(embeddings);
            }
            for (int d = 0; d < hidden; d++) {
                assertThat(input[2 * hidden + d]).as("clean input").isEqualTo(table[3 * hidden + d]);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"reference,F32", "reference,BF16", "cpu,F32", "cpu,BF16"})
    void cleanSlotsShowTheirRowsOfTheTable(String backend, DType dtype) {
        int hidden = 19;
        int codes = 7;
        int[] forcedAt = new int[50];
        java.util.Arrays.fill(forcedAt, -1);
        forcedAt[1] = codes + 1;
        int[] rowOf = {4, 0, 2, 8, 6, 5, 1, 3, 9};
        try (Slots slots = new Slots(backend, 4, codes, hidden, 0, true)) {
            Tensor table =
                    slots.backend.allocate(slots.arena, dtype, 10, hidden).fill(random(10 * hidden, 9));
            Tensor rows = slots.backend.allocate(slots.arena, DType.I32, rowOf.length);
            for (int i = 0; i < rowOf.length; i++) {
                rows.setInt(i, rowOf[i]);
            }
            for (int i = 0; i < forcedAt.length; i++) {
                slots.window.forced().setInt(i, forcedAt[i]);
            }
            float[] input = slots.run(new DraftEmbeddings(table, rows, null));
            int[] tokens = new int[4];
            for (int s = 0; s < 4; s++) {
                tokens[s] = slots.window.drafts().getInt(s * 4L);
            }
            for (int s : new int[] {0, 2}) {
                int word = Philox.word(77, 5, s, Purpose.INIT.streamHigh(0), 0);
                assertThat(tokens[s]).isEqualTo((int) ((word & 0xffffffffL) * codes >>> 32));
                assertThat(slots.window.drafts().getInt(s * 4L + 1)).isEqualTo(DraftKind.UNIFORM.ordinal());
            }
            assertThat(tokens[1]).isEqualTo(codes + 1);
            assertThat(slots.window.drafts().getInt(4 + 1)).isEqualTo(DraftKind.FORCED.ordinal());
            // The last slot is predicted but not shown: it needs no token yet.
            assertThat(slots.window.drafts().getInt(3 * 4 + 1)).isEqualTo(DraftKind.NONE.ordinal());
            for (int row = 1; row < 4; row++) {
                for (int d = 0; d < hidden; d++) {
                    assertThat(input[row * hidden + d])
                            .isEqualTo(table.getFloat((long) rowOf[tokens[row - 1]] * hidden + d));
                }
            }
        }
    }

    private static float[] random(int n, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        float[] out = new float[n];
        for (int i = 0; i < n; i++) {
            out[i] = (float) random.nextGaussian();
        }
        return out;
    }
}
