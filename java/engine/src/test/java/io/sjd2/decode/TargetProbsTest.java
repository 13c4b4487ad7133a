package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.function.LongFunction;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The selection without sorting keeps what sorting keeps, whatever the logits look like and whoever computes beside
/// it.
class TargetProbsTest {
    private static final String NAMES = "io.sjd2.decode.DecodeBackends#everyKernel";

    @AfterAll
    static void restore() {
        DecodeBackends.backToTheBest();
    }

    /// Shapes of logits that a selection by halving could stumble over.
    enum Shape {
        NORMAL(random -> (float) (4 * random.nextGaussian())),
        COARSE(random -> random.nextInt(5)),
        CONSTANT(random -> 1.25f),
        TWO_VALUES(random -> random.nextInt(2) * 1e-3f),
        MASKED(random -> random.nextInt(3) == 0 ? Float.NEGATIVE_INFINITY : (float) random.nextGaussian()),
        WILD(random -> random.nextInt(50) == 0 ? 1e30f * random.nextFloat() : -1e-30f * random.nextFloat()),
        TINY(random -> random.nextInt(1000) * Float.MIN_VALUE),
        OUTLIER_BELOW(random -> random.nextInt(20) == 0 ? -3e38f : (float) random.nextGaussian());

        private final java.util.function.ToDoubleFunction<SplittableRandom> draw;

        Shape(java.util.function.ToDoubleFunction<SplittableRandom> draw) {
            this.draw = draw;
        }

        float[] logits(int n, long seed) {
            SplittableRandom random = new SplittableRandom(seed);
            float[] out = new float[n];
            for (int i = 0; i < n; i++) {
                out[i] = (float) draw.applyAsDouble(random);
            }
            // At least one finite logit, however short the row.
            out[n / 2] = Float.isInfinite(out[n / 2]) ? 0.5f : out[n / 2];
            return out;
        }
    }

    /// One image of `rows` rows in a window that starts at `committed`.
    private static final class Case implements AutoCloseable {
        final Backend backend;
        final Arena arena = Arena.ofConfined();
        final StateBlock state;
        final WindowState window;
        final Tensor logits;
        final int codes;
        final int rows;

        Case(String backendName, int threads, int rows, int codes, int committed) {
            this.backend = DecodeBackends.open(backendName, threads);
            this.codes = codes;
            this.rows = rows;
            state = new StateBlock(backend, arena, 1, 1, rows);
            window = WindowState.allocate(backend, arena, 1, rows, committed + rows, codes, 1, false, false);
            logits = backend.allocate(arena, DType.F32, 1, rows, codes);
            state.set(0, ImageField.LENGTH, committed + rows);
            state.set(0, ImageField.COMMITTED, committed);
            state.set(0, ImageField.WINDOW, rows);
            state.set(0, ImageField.UNCOND, -1);
            state.setFloat(0, ImageField.TEMPERATURE, 1);
            state.setFloat(0, ImageField.TOP_P, 1);
            state.setFloat(0, ImageField.GUIDANCE, 1);
            state.set(0, SequenceField.ROWS, rows);
        }

        /// Targets of all rows, `[rows][codes]` in the order of rows.
        float[][] run(float[]... values) {
            float[] flat = new float[rows * codes];
            for (int r = 0; r < rows; r++) {
                System.arraycopy(values[r], 0, flat, r * codes, codes);
            }
            SamplingFixturesTest.upload(backend, arena, logits, flat);
            state.push();
            backend.kernels().targetProbs(window, logits, state);
            state.pull();
            float[] probs = SamplingFixturesTest.download(backend, arena, window.probs());
            float[][] out = new float[rows][];
            int committed = state.get(0, ImageField.COMMITTED);
            for (int r = 0; r < rows; r++) {
                int at = (committed + r) % rows * codes;
                out[r] = Arrays.copyOfRange(probs, at, at + codes);
            }
            return out;
        }

        @Override
        public void close() {
            backend.close();
            arena.close();
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void topKKeepsWhatASortKeeps(String name) {
        for (int codes : new int[] {1, 2, 15, 16, 17, 31, 100, 513, 4099}) {
            try (Case c = new Case(name, 2, 1, codes, 0)) {
                for (Shape shape : Shape.values()) {
                    float[] logits = shape.logits(codes, codes);
                    for (int k : new int[] {1, 2, 7, codes / 2, codes - 1, codes}) {
                        if (k < 1) {
                            continue;
                        }
                        c.state.set(0, ImageField.TOP_K, k);
                        float[] sorted = logits.clone();
                        Arrays.sort(sorted);
                        float threshold = sorted[Math.max(0, codes - k)];
                        assertFits(c.run(logits)[0], logits, i -> logits[(int) i] >= threshold, shape + " top-k " + k);
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void topPKeepsWhatASortKeeps(String name) {
        for (int codes : new int[] {1, 3, 16, 40, 1025}) {
            try (Case c = new Case(name, 2, 1, codes, 0)) {
                for (Shape shape : Shape.values()) {
                    float[] logits = shape.logits(codes, codes + 1);
                    for (float p : new float[] {1e-6f, 0.123f, 0.61f, 0.9371f, 0.99997f}) {
                        c.state.setFloat(0, ImageField.TOP_P, p);
                        boolean[] kept = nucleus(logits, p);
                        assertFits(
                                c.run(logits)[0], logits, i -> kept[(int) i], shape + " top-p " + p + " of " + codes);
                    }
                }
            }
        }
    }

    private static boolean[] nucleus(float[] logits, float p) {
        int n = logits.length;
        double[] weights = new double[n];
        double max = Double.NEGATIVE_INFINITY;
        for (float l : logits) {
            max = Math.max(max, l);
        }
        double total = 0;
        for (int i = 0; i < n; i++) {
            weights[i] = Math.exp(logits[i] - max);
            total += weights[i];
        }
        Integer[] order = new Integer[n];
        Arrays.setAll(order, i -> i);
        // By weight, not by logit: what differs by less than its exponential shows is a tie, and goes to the lower id.
        Arrays.sort(order, (a, b) -> Double.compare(weights[b], weights[a]));
        boolean[] kept = new boolean[n];
        double before = 0;
        for (int i = 0; i < n; i++) {
            kept[order[i]] = i == 0 || before < p * total;
            before += weights[order[i]];
        }
        return kept;
    }

    private static void assertFits(float[] probs, float[] logits, LongFunction<Boolean> kept, String what) {
        double max = Double.NEGATIVE_INFINITY;
        for (float l : logits) {
            max = Math.max(max, l);
        }
        double total = 0;
        for (int i = 0; i < probs.length; i++) {
            total += kept.apply(i) ? Math.exp(logits[i] - max) : 0;
        }
        for (int i = 0; i < probs.length; i++) {
            double expected = kept.apply(i) ? Math.exp(logits[i] - max) / total : 0;
            // Exponent and quotient are f32: a few units in the last place, more where logits are far below the
            // largest,
            // since their distance to it is rounded before it is exponentiated.
            double slack = expected * 1e-6 * (1 + Math.min(100, max - logits[i])) + 1e-38;
            assertThat((double) probs[i])
                    .as("%s of %d, code %d", what, probs.length, i)
                    .isCloseTo(expected, within(slack));
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void aRowDoesNotDependOnItsCompanyOrOnThreads(String name) {
        int codes = 777;
        int rows = 23;
        float[][] logits = new float[rows][];
        for (int r = 0; r < rows; r++) {
            logits[r] = Shape.NORMAL.logits(codes, r);
        }
        float[][] together;
        try (Case c = new Case(name, 3, rows, codes, 5)) {
            filters(c);
            together = c.run(logits);
        }
        for (int r = 0; r < rows; r += 5) {
            try (Case c = new Case(name, 1, 1, codes, 0)) {
                filters(c);
                assertThat(c.run(logits[r])[0]).as("row %d", r).isEqualTo(together[r]);
            }
        }
    }

    private static void filters(Case c) {
        c.state.set(0, ImageField.TOP_K, 90);
        c.state.setFloat(0, ImageField.TOP_P, 0.9f);
        c.state.setFloat(0, ImageField.TEMPERATURE, 1.3f);
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void unusableLogitsSetTheStatusOfTheirImage(String name) {
        for (int codes : new int[] {3, 16, 35}) {
            for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
                for (int at : new int[] {0, codes - 1}) {
                    try (Case c = new Case(name, 2, 2, codes, 0)) {
                        float[] logits = Shape.NORMAL.logits(codes, 3);
                        c.run(logits, logits);
                        assertThat(c.state.get(0, ImageField.STATUS)).isZero();
                        float[] broken = logits.clone();
                        broken[at] = bad;
                        c.run(logits, broken);
                        assertThat(c.state.get(0, ImageField.STATUS))
                                .as("%s at %d", bad, at)
                                .isEqualTo(1);
                    }
                }
            }
            try (Case c = new Case(name, 2, 1, codes, 0)) {
                float[] masked = new float[codes];
                Arrays.fill(masked, Float.NEGATIVE_INFINITY);
                c.run(masked);
                assertThat(c.state.get(0, ImageField.STATUS))
                        .as("nothing finite")
                        .isEqualTo(1);
            }
        }
    }
}
