package io.sjd2.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;

import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.testing.GuardedTensor;
import io.sjd2.testing.OperationsReport;
import io.sjd2.testing.Precision;
import io.sjd2.testing.Randoms;
import io.sjd2.testing.Tolerance;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// What every backend's operations for image tokenisers must do, on the reference and on every instruction set.
///
/// Where operands are rounded to bf16 on their way in, a value beside a rounding boundary may fall on either side of
/// it; results may then differ by a few such steps of one operand, which {@link #assertNear} allows and nothing more.
class PictureKernelsTest {
    private static final double BF16_STEP = 0x1p-8;
    private static final int ROUNDINGS = 4;

    /// One convolution. `pixels` is `[n, frames, height, width, channels]` of the input, `out` the extents of the
    /// output.
    record Case(DType dtype, int[] in, int[] out, Convolution c, boolean norm, int[] map, boolean bias) {
        static Case of(DType dtype, Convolution c, int outChannels, int... in) {
            int[] out = {
                in[0],
                (in[1] * c.enlargeFrames() + c.padFrames() - c.kernelFrames()) / c.strideFrames() + 1,
                in[2] * c.enlargeSpace() / c.strideHeight(),
                in[3] * c.enlargeSpace() / c.strideWidth(),
                outChannels
            };
            return new Case(dtype, in, out, c, false, new int[0], false);
        }

        Case normed() {
            return new Case(dtype, in, out, c, true, map, bias);
        }

        Case biased() {
            return new Case(dtype, in, out, c, norm, map, true);
        }

        Case mapped(int height, int width) {
            return new Case(dtype, in, out, c, norm, new int[] {height, width}, bias);
        }

        boolean rounds() {
            return dtype == DType.BF16 && (norm || c.swish() || map.length > 0);
        }

        static int product(int[] extents) {
            int n = 1;
            for (int extent : extents) {
                n *= extent;
            }
            return n;
        }

        @Override
        public String toString() {
            return dtype.label() + " " + List.of(in[0], in[1], in[2], in[3], in[4]) + " to "
                    + List.of(out[1], out[2], out[3], out[4]) + " " + c + (norm ? " norm" : "")
                    + (map.length > 0 ? " map " + map[0] + "x" + map[1] : "") + (bias ? " bias" : "");
        }
    }

    /// What one case works on.
    private record Data(float[] x, float[] norm, float[] map, float[] w, float[] bias, float[] before) {
        static Data of(Case c) {
            SplittableRandom random = Randoms.of("conv " + c);
            int channels = c.in[4];
            int fan = channels * c.c.taps();
            return new Data(
                    Randoms.normals(random, Case.product(c.in), 1, c.rounds() ? DType.F32 : c.dtype),
                    c.norm ? Randoms.normals(random, c.in[0] * 3 * channels, 1, DType.F32) : new float[0],
                    c.map.length > 0
                            ? Randoms.normals(random, c.in[0] * c.map[0] * c.map[1] * 2 * channels, 1, DType.F32)
                            : new float[0],
                    Randoms.normals(random, c.out[4] * fan, 1 / Math.sqrt(fan), c.dtype),
                    c.bias ? Randoms.normals(random, c.out[4], 1, DType.F32) : new float[0],
                    Randoms.normals(random, Case.product(c.out), 1, DType.F32));
        }
    }

    static List<Case> cases() {
        List<Case> cases = new ArrayList<>();
        for (DType t : new DType[] {DType.F32, DType.BF16}) {
            cases.add(Case.of(t, Convolution.same(1), 1, 1, 1, 1, 1, 1));
            cases.add(Case.of(t, Convolution.same(3), 3, 1, 1, 5, 7, 2));
            cases.add(Case.of(t, Convolution.same(3), 17, 2, 1, 19, 50, 5).biased());
            cases.add(Case.of(t, Convolution.same(3), 33, 1, 1, 17, 97, 33)
                    .normed()
                    .biased());
            cases.add(Case.of(t, Convolution.same(3).activated().added(), 40, 2, 1, 6, 31, 64)
                    .normed()
                    .biased());
            cases.add(
                    Case.of(t, Convolution.same(1).added(), 48, 1, 1, 3, 18, 96).normed());
            cases.add(Case.of(t, Convolution.same(1).activated(), 20, 1, 1, 2, 16, 31));
            cases.add(Case.of(t, Convolution.same(5), 7, 1, 1, 9, 13, 3));
            cases.add(Case.of(t, Convolution.enlarging(), 16, 1, 1, 9, 25, 32).biased());
            cases.add(Case.of(t, Convolution.enlarging(), 35, 2, 1, 3, 5, 7));
            cases.add(Case.of(t, Convolution.halving(), 18, 1, 1, 36, 100, 33).biased());
            cases.add(Case.of(t, Convolution.halving(), 5, 2, 1, 7, 9, 3));
            cases.add(Case.of(t, Convolution.same(3).activated(), 12, 2, 1, 12, 20, 6)
                    .normed()
                    .mapped(3, 5));
            cases.add(
                    Case.of(t, Convolution.same(1), 9, 1, 1, 6, 10, 40).normed().mapped(6, 10));
            cases.add(
                    Case.of(t, Convolution.causal(3, 3, 1, 2), 4, 2, 2, 5, 6, 4).biased());
            cases.add(Case.of(t, Convolution.causal(3, 3, 1, 1).activated(), 6, 2, 3, 4, 5, 4)
                    .normed());
            cases.add(Case.of(t, Convolution.causal(4, 3, 2, 1), 8, 1, 4, 6, 5, 8));
            cases.add(
                    Case.of(t, Convolution.causal(3, 1, 1, 1), 5, 1, 1, 7, 3, 4).biased());
        }
        return cases;
    }

    private static Stream<String> backends() {
        return Stream.concat(Stream.of("reference"), CpuLibrary.get().availableIsas().stream());
    }

    private static Stream<Object[]> casesOnBackends() {
        return backends().flatMap(b -> cases().stream().map(c -> new Object[] {b, c}));
    }

    private static Backend open(String name, int threads) {
        if (name.equals("reference")) {
            return Backends.open(name, threads);
        }
        CpuLibrary.get().selectIsa(name);
        return Backends.open("cpu", threads);
    }

    @AfterAll
    static void goBackToTheBest() {
        CpuLibrary.get().selectIsa("");
        OperationsReport.write();
    }

    /// What a convolution wrote.
    private record Result(byte[] out, byte[] moments) {}

    private static Result run(Backend backend, Case c, Data d) {
        Kernels kernels = backend.kernels();
        try (Arena arena = Arena.ofConfined()) {
            int channels = c.in[4];
            int outChannels = c.out[4];
            long packed = kernels.packedConvElements(outChannels, channels, c.c.taps(), c.dtype);
            GuardedTensor w = GuardedTensor.aligned("w", backend, arena, c.dtype, new float[(int) packed], packed);
            Tensor src = GuardedTensor.of("src", backend, arena, c.dtype, d.w, outChannels, channels, c.c.taps())
                    .tensor();
            int half = outChannels / 2;
            kernels.packConv(w.tensor(), src.rows(0, half), 0, outChannels);
            kernels.packConv(w.tensor(), src.rows(half, outChannels - half), half, outChannels);
            GuardedTensor out = floats("out", backend, arena, d.before, longs(c.out));
            GuardedTensor moments =
                    floats("moments", backend, arena, new float[c.out[0] * 2 * outChannels], c.out[0], 2, outChannels);
            GuardedTensor x = floats("x", backend, arena, d.x, longs(c.in));
            GuardedTensor norm = c.norm ? floats("norm", backend, arena, d.norm, c.in[0], 3, channels) : null;
            GuardedTensor map = c.map.length > 0
                    ? floats("map", backend, arena, d.map, c.in[0], c.map[0], c.map[1], 2L * channels)
                    : null;
            GuardedTensor bias = c.bias ? floats("bias", backend, arena, d.bias, outChannels) : null;
            kernels.conv(
                    out.tensor(),
                    moments.tensor(),
                    x.tensor(),
                    tensor(norm),
                    tensor(map),
                    w.tensor(),
                    tensor(bias),
                    c.c);
            backend.synchronize();
            assertThat(w.content()).hasSize(w.initial().length);
            byte[] first = out.content();
            if (!c.c.accumulate()) {
                kernels.conv(out.tensor(), null, x.tensor(), tensor(norm), tensor(map), w.tensor(), tensor(bias), c.c);
                backend.synchronize();
                assertThat(out.content()).as("%s again, without moments", c).isEqualTo(first);
            }
            return new Result(first, moments.content());
        }
    }

    private static GuardedTensor floats(String name, Backend backend, Arena arena, float[] values, long... shape) {
        return GuardedTensor.of(name, backend, arena, DType.F32, values, shape);
    }

    private static @Nullable Tensor tensor(@Nullable GuardedTensor guarded) {
        return guarded == null ? null : guarded.tensor();
    }

    private static long[] longs(int[] extents) {
        long[] out = new long[extents.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = extents[i];
        }
        return out;
    }

    /// The formula, output by output; also notes the largest product of each sum.
    private static double[] naive(Case c, Data d, Precision p, double @Nullable [] largest) {
        int channels = c.in[4];
        int outChannels = c.out[4];
        Convolution k = c.c;
        double[] v = new double[d.x.length];
        for (int i = 0; i < v.length; i++) {
            v[i] = input(c, d, i, p);
        }
        double[] out = new double[Case.product(c.out)];
        for (int at = 0; at < out.length; at++) {
            int o = at % outChannels;
            int column = at / outChannels % c.out[3];
            int row = at / outChannels / c.out[3] % c.out[2];
            int frame = at / outChannels / c.out[3] / c.out[2] % c.out[1];
            int n = at / outChannels / c.out[3] / c.out[2] / c.out[1];
            double sum = 0;
            for (int i = 0; i < k.kernelFrames(); i++) {
                int f = Math.floorDiv(frame * k.strideFrames() + i - k.padFrames(), k.enlargeFrames());
                for (int j = 0; j < k.kernelHeight(); j++) {
                    int y = Math.floorDiv(row * k.strideHeight() + j - k.padHeight(), k.enlargeSpace());
                    for (int l = 0; l < k.kernelWidth(); l++) {
                        int x = Math.floorDiv(column * k.strideWidth() + l - k.padWidth(), k.enlargeSpace());
                        if (f < 0 || y < 0 || x < 0 || f >= c.in[1] || y >= c.in[2] || x >= c.in[3]) {
                            continue;
                        }
                        int pixel = ((n * c.in[1] + f) * c.in[2] + y) * c.in[3] + x;
                        int tap = (i * k.kernelHeight() + j) * k.kernelWidth() + l;
                        for (int channel = 0; channel < channels; channel++) {
                            double product = p.of(
                                    d.w[(o * channels + channel) * k.taps() + tap] * v[pixel * channels + channel]);
                            sum = p.of(sum + product);
                            if (largest != null) {
                                largest[at] = Math.max(largest[at], Math.abs(product));
                            }
                        }
                    }
                }
            }
            sum = c.bias ? p.of(sum + d.bias[o]) : sum;
            out[at] = k.accumulate() ? p.of(sum + d.before[at]) : sum;
        }
        return out;
    }

    private static double input(Case c, Data d, int at, Precision p) {
        int channels = c.in[4];
        int channel = at % channels;
        int x = at / channels % c.in[3];
        int y = at / channels / c.in[3] % c.in[2];
        int n = at / channels / c.in[3] / c.in[2] / c.in[1];
        double v = d.x[at];
        if (c.norm) {
            int of = n * 3 * channels + channel;
            v = p.of(p.of(v - d.norm[of]) * d.norm[of + channels]);
            v = p.of(v + d.norm[of + 2 * channels]);
        }
        if (c.map.length > 0) {
            int cell = (n * c.map[0] + y * c.map[0] / c.in[2]) * c.map[1] + x * c.map[1] / c.in[3];
            v = p.of(p.of(v * d.map[cell * 2 * channels + channel]) + d.map[(cell * 2 + 1) * channels + channel]);
        }
        if (c.c.swish()) {
            v = p.of(v * p.of(1 / p.of(1 + p.of(Math.exp(-v)))));
        }
        return c.rounds() ? Tolerance.round(DType.BF16, v) : v;
    }

    @ParameterizedTest
    @MethodSource("casesOnBackends")
    void convolutionsAreTheirFormula(String name, Case c) {
        Data d = Data.of(c);
        double[] largest = new double[Case.product(c.out)];
        double[] exact = naive(c, d, Precision.F64, largest);
        double[] single = naive(c, d, Precision.F32, null);
        Result result;
        try (Backend backend = open(name, 2)) {
            result = run(backend, c, d);
            double[] actual = GuardedTensor.decode(DType.F32, result.out);
            assertNear("conv", backend.name(), c.dtype, c.rounds() ? largest : null, exact, single, actual, c);
            assertMoments(c, actual, GuardedTensor.decode(DType.F32, result.moments));
        }
        for (int threads : new int[] {1, 5}) {
            try (Backend backend = open(name, threads)) {
                Result again = run(backend, c, d);
                assertThat(again.out)
                        .as("%s %s on %d threads", name, c, threads)
                        .isEqualTo(result.out);
                assertThat(again.moments)
                        .as("moments of %s %s on %d threads", name, c, threads)
                        .isEqualTo(result.moments);
            }
        }
    }

    /// The tolerance of every kernel, and a few rounding steps of the operands where these were rounded.
    private static void assertNear(
            String operation,
            String backend,
            DType dtype,
            double @Nullable [] largestProducts,
            double[] exact,
            double[] single,
            double[] actual,
            Object what) {
        if (largestProducts == null) {
            Tolerance tolerance = new Tolerance(DType.F32, Tolerance.Scale.ABSOLUTE);
            tolerance.add("outputs", exact, single, actual);
            OperationsReport.add(operation, backend, dtype, tolerance.kernelUlps());
            tolerance.assertMet(backend + " " + what);
            return;
        }
        double scale = 0;
        for (double value : exact) {
            scale = Math.max(scale, Math.abs(value));
        }
        for (int i = 0; i < exact.length; i++) {
            assertThat(Math.abs(actual[i] - exact[i]))
                    .as("%s %s output %d: got %s, exactly %s", backend, what, i, actual[i], exact[i])
                    .isLessThanOrEqualTo(ROUNDINGS * BF16_STEP * largestProducts[i] + 1e-5 * scale);
        }
    }

    private static void assertMoments(Case c, double[] out, double[] moments) {
        int channels = c.out[4];
        int pixels = out.length / channels / c.out[0];
        for (int n = 0; n < c.out[0]; n++) {
            for (int channel = 0; channel < channels; channel++) {
                double mean = 0;
                double square = 0;
                for (int p = 0; p < pixels; p++) {
                    mean += out[(n * pixels + p) * channels + channel] / pixels;
                }
                for (int p = 0; p < pixels; p++) {
                    double distance = out[(n * pixels + p) * channels + channel] - mean;
                    square += distance * distance / pixels;
                }
                double unit = 1e-6 * (Math.abs(mean) + Math.sqrt(square));
                assertThat(moments[n * 2 * channels + channel])
                        .as("%s: mean of picture %d, channel %d", c, n, channel)
                        .isCloseTo(mean, offset(unit));
                assertThat(moments[(n * 2 + 1) * channels + channel])
                        .as("%s: variance of picture %d, channel %d", c, n, channel)
                        .isCloseTo(square, offset(4e-6 * square + unit * unit));
            }
        }
    }

    /// Sums of squares would lose this variance in f32.
    @ParameterizedTest
    @MethodSource("backends")
    void momentsSurviveALargeMean(String name) {
        Case c = Case.of(DType.F32, Convolution.same(3), 8, 1, 1, 40, 60, 4).biased();
        Data d = Data.of(c);
        for (int i = 0; i < d.bias.length; i++) {
            d.bias[i] = 3000 + i;
        }
        try (Backend backend = open(name, 2)) {
            Result result = run(backend, c, d);
            assertMoments(
                    c, GuardedTensor.decode(DType.F32, result.out), GuardedTensor.decode(DType.F32, result.moments));
        }
    }

    @ParameterizedTest
    @MethodSource("backends")
    void aPictureNeverDependsOnTheOneBesideIt(String name) {
        Case pair = Case.of(DType.F32, Convolution.same(3).activated(), 24, 2, 1, 20, 52, 8)
                .normed();
        Case one = Case.of(DType.F32, Convolution.same(3).activated(), 24, 1, 1, 20, 52, 8)
                .normed();
        Data both = Data.of(pair);
        try (Backend backend = open(name, 2)) {
            byte[] together = run(backend, pair, both).out;
            int half = together.length / 2;
            for (int n = 0; n < 2; n++) {
                int from = n * both.x.length / 2;
                Data alone = new Data(
                        Arrays.copyOfRange(both.x, from, from + both.x.length / 2),
                        Arrays.copyOfRange(both.norm, n * 24, (n + 1) * 24),
                        new float[0],
                        both.w,
                        new float[0],
                        Arrays.copyOf(both.before, both.before.length / 2));
                assertThat(run(backend, one, alone).out)
                        .isEqualTo(Arrays.copyOfRange(together, n * half, (n + 1) * half));
            }
        }
    }

    @ParameterizedTest
    @MethodSource("backends")
    void groupsAreNormalisedTogether(String name) {
        try (Backend backend = open(name, 2);
                Arena arena = Arena.ofConfined()) {
            for (int[] shape : new int[][] {{1, 1, 1}, {2, 6, 3}, {1, 64, 32}, {3, 70, 7}}) {
                int n = shape[0];
                int channels = shape[1];
                int groups = shape[2];
                int size = channels / groups;
                SplittableRandom random = Randoms.of("group norm " + channels);
                float[] moments = Randoms.normals(random, n * 2 * channels, 1, DType.F32);
                for (int i = 0; i < moments.length; i++) {
                    moments[i] = i / channels % 2 == 1 ? Math.abs(moments[i]) : moments[i];
                }
                float[] weight = Randoms.normals(random, channels, 1, DType.F32);
                float[] bias = Randoms.normals(random, channels, 1, DType.F32);
                float eps = 1e-6f;
                GuardedTensor norm = floats("norm", backend, arena, new float[n * 3 * channels], n, 3, channels);
                backend.kernels()
                        .groupNorm(
                                norm.tensor(),
                                floats("moments", backend, arena, moments, n, 2, channels)
                                        .tensor(),
                                floats("weight", backend, arena, weight, channels)
                                        .tensor(),
                                floats("bias", backend, arena, bias, channels).tensor(),
                                groups,
                                eps);
                backend.synchronize();
                double[] actual = GuardedTensor.decode(DType.F32, norm.content());
                for (int i = 0; i < n * channels; i++) {
                    int picture = i / channels;
                    int c = i % channels;
                    // E[x^2] - E[x]^2 over the group, in f64
                    double mean = 0;
                    double square = 0;
                    for (int member = c / size * size; member < (c / size + 1) * size; member++) {
                        double m = moments[picture * 2 * channels + member];
                        mean += m / size;
                        square += (moments[(picture * 2 + 1) * channels + member] + m * m) / size;
                    }
                    double factor = weight[c] / Math.sqrt(square - mean * mean + eps);
                    int at = picture * 3 * channels + c;
                    assertThat(actual[at]).isCloseTo(mean, offset(1e-6));
                    assertThat(actual[at + channels]).isCloseTo(factor, offset(1e-6 * Math.abs(factor)));
                    assertThat(actual[at + 2 * channels]).isEqualTo(bias[c]);
                }
            }
        }
    }

    private static Stream<Object[]> attentions() {
        List<int[]> shapes = List.of(
                new int[] {1, 1, 1}, new int[] {2, 5, 3}, new int[] {1, 48, 32}, new int[] {2, 67, 70}, new int[] {
                    1, 600, 17
                });
        return backends()
                .flatMap(b -> shapes.stream()
                        .flatMap(s ->
                                Stream.of(DType.F32, DType.BF16).map(t -> new Object[] {b, t, s[0], s[1], s[2]})));
    }

    @ParameterizedTest
    @MethodSource("attentions")
    void everyPositionAttendsToAll(String name, DType t, int n, int positions, int channels) {
        String what = "attention " + t + " " + positions + " x " + channels;
        float[] qkv = Randoms.normals(Randoms.of(what), n * positions * 3 * channels, 1, t);
        float scale = (float) (1.5 / Math.sqrt(channels));
        double[] largest = new double[n * positions * channels];
        double[] exact = attend(qkv, n, positions, channels, scale, t, Precision.F64, largest);
        double[] single = attend(qkv, n, positions, channels, scale, t, Precision.F32, null);
        byte[] first = null;
        for (int threads : new int[] {2, 1, 5}) {
            try (Backend backend = open(name, threads);
                    Arena arena = Arena.ofConfined()) {
                GuardedTensor out =
                        floats("out", backend, arena, new float[n * positions * channels], n, positions, channels);
                GuardedTensor in = floats("qkv", backend, arena, qkv, n, positions, 3L * channels);
                backend.kernels().vqAttention(out.tensor(), in.tensor(), t, scale);
                backend.synchronize();
                byte[] bytes = out.content();
                double[] actual = GuardedTensor.decode(DType.F32, bytes);
                double[] products = t == DType.BF16 ? largest : null;
                assertNear("vqAttention", backend.name(), t, products, exact, single, actual, what);
                assertThat(first == null ? bytes : first).isEqualTo(bytes);
                first = bytes;
            }
        }
    }

    private static double[] attend(
            float[] qkv,
            int n,
            int positions,
            int channels,
            float scale,
            DType t,
            Precision p,
            double @Nullable [] largest) {
        double[] out = new double[n * positions * channels];
        double[] weights = new double[positions];
        for (int row = 0; row < n * positions; row++) {
            int first = row / positions * positions;
            double top = Double.NEGATIVE_INFINITY;
            for (int j = 0; j < positions; j++) {
                double dot = 0;
                for (int c = 0; c < channels; c++) {
                    dot = p.of(dot
                            + p.of((double) qkv[row * 3 * channels + c] * qkv[((first + j) * 3 + 1) * channels + c]));
                }
                weights[j] = p.of(dot * scale);
                top = Math.max(top, weights[j]);
            }
            double total = 0;
            for (int j = 0; j < positions; j++) {
                weights[j] = p.of(Math.exp(p.of(weights[j] - top)));
                total = p.of(total + weights[j]);
            }
            for (int j = 0; j < positions; j++) {
                double weight = p.of(weights[j] / total);
                weight = t == DType.BF16 ? Tolerance.round(DType.BF16, weight) : weight;
                for (int c = 0; c < channels; c++) {
                    double product = p.of(weight * qkv[((first + j) * 3 + 2) * channels + c]);
                    out[row * channels + c] = p.of(out[row * channels + c] + product);
                    if (largest != null) {
                        largest[row * channels + c] = Math.max(largest[row * channels + c], Math.abs(product));
                    }
                }
            }
        }
        return out;
    }

    private static void refuses(String argument, ThrowingCallable call) {
        assertThatThrownBy(call).isInstanceOf(IllegalArgumentException.class).hasMessageContaining(argument);
    }

    @ParameterizedTest
    @MethodSource("backends")
    void wrongPicturesAreRefusedByTheNameOfTheArgument(String name) {
        try (Backend backend = open(name, 1);
                Arena arena = Arena.ofConfined()) {
            Kernels k = backend.kernels();
            Convolution same = Convolution.same(3);
            Tensor x = backend.allocate(arena, DType.F32, 1, 1, 4, 4, 2);
            Tensor out = backend.allocate(arena, DType.F32, 1, 1, 4, 4, 3);
            Tensor w = backend.allocate(arena, DType.F32, k.packedConvElements(3, 2, 9, DType.F32));
            Tensor small = backend.allocate(arena, DType.F32, 5);
            Tensor ints = backend.allocate(arena, DType.I32, 1, 1, 4, 4, 2);
            refuses("conv: x is i32", () -> k.conv(out, null, ints, null, null, w, null, same));
            refuses("conv: x is f32[5]", () -> k.conv(out, null, small, null, null, w, null, same));
            refuses("conv: w is f32[5]", () -> k.conv(out, null, x, null, null, small, null, same));
            refuses("conv: moments is f32[5]", () -> k.conv(out, small, x, null, null, w, null, same));
            refuses("conv: norm is f32[5]", () -> k.conv(out, null, x, small, null, w, null, same));
            refuses("conv: map is f32[5]", () -> k.conv(out, null, x, null, small, w, null, same));
            refuses("conv: bias is f32[5]", () -> k.conv(out, null, x, null, null, w, small, same));
            Tensor square = backend.allocate(arena, DType.F32, k.packedConvElements(2, 2, 9, DType.F32));
            refuses("conv: out overlaps x", () -> k.conv(x, null, x, null, null, square, null, same));
            refuses("packConv: src is f32[5]", () -> k.packConv(w, small, 0, 3));
            refuses("packConv: rows 1 to 4", () -> k.packConv(w, backend.allocate(arena, DType.F32, 3, 2, 9), 1, 3));
            refuses(
                    "packConv: dst is f32[5]",
                    () -> k.packConv(small, backend.allocate(arena, DType.F32, 3, 2, 9), 0, 3));
            refuses("packedConvElements: [n_out=0", () -> k.packedConvElements(0, 1, 1, DType.F32));
            Tensor moments = backend.allocate(arena, DType.F32, 1, 2, 6);
            Tensor norm = backend.allocate(arena, DType.F32, 1, 3, 6);
            Tensor six = backend.allocate(arena, DType.F32, 6);
            refuses("groupNorm: groups is 4", () -> k.groupNorm(norm, moments, six, six, 4, 0));
            refuses("groupNorm: weight is f32[5]", () -> k.groupNorm(norm, moments, small, six, 2, 0));
            refuses("groupNorm: eps is NaN", () -> k.groupNorm(norm, moments, six, six, 2, Float.NaN));
            Tensor row = backend.allocate(arena, DType.F32, 1, 4, 2);
            Tensor qkv = backend.allocate(arena, DType.F32, 1, 4, 6);
            refuses("vqAttention: qkv is f32[1, 4, 2]", () -> k.vqAttention(row, row, DType.F32, 1));
            refuses("vqAttention: scale is 0.0", () -> k.vqAttention(row, qkv, DType.F32, 0));
            refuses("vqAttention: dtype is f16", () -> k.vqAttention(row, qkv, DType.F16, 1));
            refuses(
                    "Convolution: kernelHeight is 9",
                    () -> new Convolution(1, 9, 1, 1, 1, 1, 0, 0, 0, 1, 1, false, false));
        }
    }
}
