package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.TrainingKernels;
import io.sjd2.kernel.reference.ReferenceBackend;
import io.sjd2.tensor.BFloat16;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.testing.Randoms;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every native operation of training against plain double loops, on every instruction set, at shapes with tails.
class TrainingKernelsTest {
    /// Units of rounding that a sum of magnitudes may lose: f32 sums of up to a few hundred products.
    private static final double F32_SUM = 1e-6;
    /// bf16 has 8 significant bits.
    private static final double BF16_ULP = 1.0 / 256;

    private static final float GUARD = -12345;

    static java.util.List<String> isas() {
        return Native.isas();
    }

    private static Tensor random(Native n, SplittableRandom r, DType dtype, long... shape) {
        Tensor t = Parameters.host(n.arena, dtype, shape);
        for (long i = 0; i < t.elements(); i++) {
            t.setFloat(i, (float) r.nextGaussian());
        }
        return t;
    }

    private static double at(Tensor t, long i) {
        return t.getFloat(i);
    }

    private static double rounded(double x, DType product) {
        return product == DType.BF16 ? BFloat16.toFloat(BFloat16.fromFloat((float) x)) : x;
    }

    @ParameterizedTest
    @MethodSource("isas")
    void productsOfEveryOrientation(String isa) {
        SplittableRandom r = Randoms.of("gemm");
        int[][] shapes = {{1, 1, 1}, {33, 17, 31}, {64, 64, 64}, {100, 47, 65}, {31, 96, 128}, {129, 33, 40}};
        try (Native n = new Native(isa, 2)) {
            for (int[] s : shapes) {
                for (int bits = 0; bits < 64; bits++) {
                    DType product = (bits & 1) == 0 ? DType.F32 : DType.BF16;
                    DType aType = (bits & 2) == 0 ? DType.F32 : DType.BF16;
                    DType cType = (bits & 4) == 0 ? DType.F32 : DType.BF16;
                    boolean aT = (bits & 8) != 0;
                    boolean bT = (bits & 16) != 0;
                    boolean packed = (bits & 32) != 0;
                    if (packed && (aT || s[0] == 64)) {
                        continue;
                    }
                    gemm(n, r, s, product, aType, cType, aT, bT, packed);
                }
            }
        }
    }

    private static void gemm(
            Native n,
            SplittableRandom r,
            int[] s,
            DType product,
            DType aType,
            DType cType,
            boolean aT,
            boolean bT,
            boolean packed) {
        int m = s[0];
        int cols = s[1];
        int k = s[2];
        Tensor a = random(n, r, aType, aT ? k : m, aT ? m : k);
        Tensor b = random(n, r, DType.F32, bT ? cols : k, bT ? k : cols);
        Tensor addend = (m + k) % 2 == 0 ? random(n, r, cType, m, cols) : null;
        // One row more than is written: it must stay as it is.
        Tensor guarded = Parameters.host(n.arena, cType, m + 1, cols);
        for (long i = 0; i < guarded.elements(); i++) {
            guarded.setFloat(i, GUARD);
        }
        Tensor c = guarded.rows(0, m);
        if (packed) {
            Tensor p = Parameters.host(n.arena, DType.U8, n.kernels.packedBytes(cols, k, product));
            n.kernels.pack(p, b, bT, product);
            n.kernels.gemmPacked(c, addend, a, p, product);
        } else {
            n.kernels.gemm(c, addend, a, b, aT, bT, product);
        }
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < cols; j++) {
                double sum = addend == null ? 0 : at(addend, (long) i * cols + j);
                double size = Math.abs(sum) + 1e-3;
                for (int t = 0; t < k; t++) {
                    double x = rounded(at(a, aT ? (long) t * m + i : (long) i * k + t), product)
                            * rounded(at(b, bT ? (long) j * k + t : (long) t * cols + j), product);
                    sum += x;
                    size += Math.abs(x);
                }
                double tolerance = F32_SUM * size + (cType == DType.BF16 ? BF16_ULP * Math.abs(sum) : 0);
                assertThat(Math.abs(at(c, (long) i * cols + j) - sum))
                        .as(
                                "%s %s product %s A %s%s C %s at %d,%d",
                                n, Arrays.toString(s), product, aType, aT ? "^T" : "", cType, i, j)
                        .isLessThanOrEqualTo(tolerance);
            }
        }
        double guard = rounded(GUARD, cType);
        for (int j = 0; j < cols; j++) {
            assertThat(at(guarded, (long) m * cols + j)).isEqualTo(guard);
        }
    }

    @ParameterizedTest
    @MethodSource("isas")
    void attentionAndItsGradient(String isa) {
        try (Native n = new Native(isa, 2)) {
            attention(n, DType.F32, 2e-6, 1e-5);
            attention(n, DType.BF16, 2e-2, 6e-2);
        }
    }

    /// Two sequences of odd lengths, four query heads over two of keys, a head size that is no multiple of anything.
    private static void attention(Native n, DType dtype, double outTolerance, double gradTolerance) {
        int heads = 4;
        int kv = 2;
        int hd = 24;
        int[] offsets = {0, 37, 37 + 70};
        int m = offsets[2];
        int ld = (heads + 2 * kv) * hd;
        SplittableRandom r = Randoms.of("attention");
        Tensor qkv = random(n, r, dtype, m, ld);
        Tensor dOut = random(n, r, dtype, m, heads * hd);
        Tensor index = Parameters.host(n.arena, DType.I32, 3);
        for (int i = 0; i < 3; i++) {
            index.setInt(i, offsets[i]);
        }
        Tensor out = Parameters.host(n.arena, dtype, m, heads * hd);
        Tensor lse = Parameters.host(n.arena, DType.F32, m, heads);
        Tensor dQkv = Parameters.host(n.arena, dtype, m, ld);
        float scale = (float) (1 / Math.sqrt(hd));
        n.kernels.attentionForward(out, lse, qkv, index, heads, kv, scale);
        n.kernels.attentionBackward(dQkv, dOut, out, lse, qkv, index, heads, kv, scale);
        double[] expected = new double[m * heads * hd];
        double[] gradient = new double[m * ld];
        for (int s = 0; s < 2; s++) {
            for (int i = offsets[s]; i < offsets[s + 1]; i++) {
                for (int h = 0; h < heads; h++) {
                    attentionRow(qkv, dOut, expected, gradient, offsets[s], i, h, heads, kv, hd, scale);
                }
            }
        }
        for (int i = 0; i < expected.length; i++) {
            assertThat(Math.abs(at(out, i) - expected[i]))
                    .as("%s out %d", dtype, i)
                    .isLessThan(outTolerance);
        }
        for (int i = 0; i < gradient.length; i++) {
            assertThat(Math.abs(at(dQkv, i) - gradient[i]))
                    .as("%s gradient %d", dtype, i)
                    .isLessThan(gradTolerance);
        }
    }

    private static void attentionRow(
            Tensor qkv,
            Tensor dOut,
            double[] out,
            double[] grad,
            int begin,
            int i,
            int h,
            int heads,
            int kv,
            int hd,
            double scale) {
        int ld = (heads + 2 * kv) * hd;
        int q = i * ld + h * hd;
        int key = (heads + h / (heads / kv)) * hd;
        int value = key + kv * hd;
        int o = (i * heads + h) * hd;
        double[] p = new double[i - begin + 1];
        double total = 0;
        for (int u = 0; u < p.length; u++) {
            double dot = 0;
            for (int j = 0; j < hd; j++) {
                dot += at(qkv, q + j) * at(qkv, (long) (begin + u) * ld + key + j);
            }
            p[u] = Math.exp(dot * scale);
            total += p[u];
        }
        double[] dp = new double[p.length];
        double mix = 0;
        for (int u = 0; u < p.length; u++) {
            p[u] /= total;
            for (int j = 0; j < hd; j++) {
                int v = (begin + u) * ld + value + j;
                out[o + j] += p[u] * at(qkv, v);
                dp[u] += at(dOut, o + j) * at(qkv, v);
                grad[v] += p[u] * at(dOut, o + j);
            }
            mix += p[u] * dp[u];
        }
        for (int u = 0; u < p.length; u++) {
            double ds = p[u] * (dp[u] - mix) * scale;
            for (int j = 0; j < hd; j++) {
                int k = (begin + u) * ld + key + j;
                grad[q + j] += ds * at(qkv, k);
                grad[k] += ds * at(qkv, q + j);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("isas")
    void crossEntropyOfExtremeLogits(String isa) {
        try (Native n = new Native(isa, 2)) {
            int m = 11;
            int v = 37;
            SplittableRandom r = Randoms.of("cross-entropy");
            Tensor logits = Parameters.host(n.arena, DType.F32, m, v);
            Tensor target = Parameters.host(n.arena, DType.I32, m);
            for (int i = 0; i < m; i++) {
                target.setInt(i, r.nextInt(v));
                for (int j = 0; j < v; j++) {
                    logits.setFloat(
                            (long) i * v + j, (float) (r.nextGaussian() * Math.pow(10, i % 4) + 1000 * (i % 3)));
                }
            }
            Tensor losses = Parameters.host(n.arena, DType.F32, m);
            Tensor grad = Parameters.host(n.arena, DType.F32, m, v);
            Tensor narrow = Parameters.host(n.arena, DType.BF16, m, v);
            n.kernels.crossEntropy(losses, narrow, logits, target, 0.5f);
            n.kernels.crossEntropy(losses, grad, logits, target, 0.5f);
            for (int i = 0; i < m; i++) {
                double top = Double.NEGATIVE_INFINITY;
                for (int j = 0; j < v; j++) {
                    top = Math.max(top, at(logits, i * v + j));
                }
                double total = 0;
                for (int j = 0; j < v; j++) {
                    total += Math.exp(at(logits, i * v + j) - top);
                }
                double loss = Math.log(total) + top - at(logits, i * v + target.getInt(i));
                assertThat(Math.abs(at(losses, i) - loss)).isLessThan(1e-6 * Math.max(1, loss));
                for (int j = 0; j < v; j++) {
                    double p = Math.exp(at(logits, i * v + j) - top) / total;
                    double g = 0.5 * (p - (j == target.getInt(i) ? 1 : 0));
                    assertThat(Math.abs(at(grad, i * v + j) - g)).isLessThan(1e-6);
                    assertThat(Math.abs(at(narrow, i * v + j) - g)).isLessThan(1e-6 + BF16_ULP * Math.abs(g));
                }
            }
            logits.setFloat(3, Float.NaN);
            n.kernels.crossEntropy(losses, null, logits, target, 1);
            assertThat(at(losses, 0)).isNaN();
            assertThat(at(losses, 1)).isFinite();
        }
    }

    /// The singular values of Muon's update lie near 1 whatever those of the gradient are.
    @ParameterizedTest
    @MethodSource("isas")
    void muonOrthogonalises(String isa) {
        try (Native n = new Native(isa, 2)) {
            for (DType product : new DType[] {DType.F32, DType.BF16}) {
                for (int[] s : new int[][] {{40, 24}, {24, 40}, {33, 33}}) {
                    muon(n, product, s[0], s[1]);
                }
            }
        }
    }

    private static void muon(Native n, DType product, int rows, int cols) {
        SplittableRandom r = Randoms.of("muon");
        Tensor param = Parameters.host(n.arena, DType.F32, rows * cols);
        Tensor momentum = Parameters.host(n.arena, DType.F32, rows * cols);
        Tensor grad = random(n, r, DType.F32, rows * cols);
        Tensor offsets = Parameters.host(n.arena, DType.I64, 1);
        Tensor rowCount = Parameters.host(n.arena, DType.I64, 1);
        Tensor colCount = Parameters.host(n.arena, DType.I64, 1);
        rowCount.data().set(java.lang.foreign.ValueLayout.JAVA_LONG, 0, rows);
        colCount.data().set(java.lang.foreign.ValueLayout.JAVA_LONG, 0, cols);
        float rms = 0.2f;
        n.kernels.muon(param, momentum, grad, offsets, rowCount, colCount, 1, 0.95f, 0, rms, 1, 5, product);
        double unit = rms * Math.sqrt(Math.max(rows, cols));
        double squares = 0;
        double along = 0;
        double gradSquares = 0;
        for (int i = 0; i < rows * cols; i++) {
            double o = -at(param, i) / unit;
            squares += o * o;
            along += o * at(grad, i);
            gradSquares += at(grad, i) * at(grad, i);
            assertThat(at(momentum, i)).isEqualTo(at(grad, i));
        }
        // Five steps of the quintic leave singular values within about [0.7, 1.2].
        assertThat(squares / Math.min(rows, cols)).isBetween(0.6, 1.3);
        // The nuclear norm: at least sqrt(sum of squares), so the update points down the gradient.
        assertThat(along).isGreaterThan(0.7 * Math.sqrt(gradSquares));
    }

    @ParameterizedTest
    @MethodSource("isas")
    void noiseHasTheBitsOfEveryOtherBackend(String isa) {
        try (Native n = new Native(isa, 2);
                Backend reference = new ReferenceBackend()) {
            int hidden = 10;
            Tensor high = Parameters.host(n.arena, DType.I32, 3);
            Tensor low = Parameters.host(n.arena, DType.I32, 3);
            for (int i = 0; i < 3; i++) {
                high.setInt(i, 7 * i);
                low.setInt(i, 100 - i);
            }
            Tensor out = Parameters.host(n.arena, DType.F32, 3, hidden);
            n.kernels.philoxNormal(out, high, low, 0x1234_5678_9abc_def0L, 42);
            Tensor expected = reference.allocate(n.arena, DType.F32, hidden);
            for (int i = 0; i < 3; i++) {
                reference.kernels().philoxNormals(expected, 0x1234_5678_9abc_def0L, 7 * i, 100 - i, 42);
                for (int j = 0; j < hidden; j++) {
                    assertThat(Math.abs(at(out, (long) i * hidden + j) - at(expected, j)))
                            .isLessThan(2e-6);
                }
            }
        }
    }

    /// Losses and gradients of a bf16 pass stay near those of an f32 pass: every bf16 operation at once.
    @ParameterizedTest
    @MethodSource("isas")
    void bf16PassesFollowF32Passes(String isa) {
        for (int[] normRows : new int[][] {{0, 0}, {1, 1}, {4, 1}}) {
            float[][] wide = networkPass(isa, DType.F32, normRows);
            float[][] narrow = networkPass(isa, DType.BF16, normRows);
            for (int part = 0; part < 2; part++) {
                double dot = 0;
                double a = 0;
                double b = 0;
                for (int i = 0; i < wide[part].length; i++) {
                    dot += (double) wide[part][i] * narrow[part][i];
                    a += (double) wide[part][i] * wide[part][i];
                    b += (double) narrow[part][i] * narrow[part][i];
                }
                assertThat(dot / Math.sqrt(a * b)).as("cosine of part %d", part).isGreaterThan(0.9995);
                assertThat(Math.sqrt(b / a)).isBetween(0.99, 1.01);
            }
        }
    }

    /// @param normRows of queries and of keys; with biases where they differ
    private static float[][] networkPass(String isa, DType dtype, int[] normRows) {
        boolean biased = normRows[0] != normRows[1];
        try (Native n = new Native(isa, 2)) {
            NetworkShape shape = new NetworkShape(
                    50,
                    48,
                    80,
                    2,
                    4,
                    2,
                    16,
                    1e-5f,
                    10000,
                    64,
                    normRows[0],
                    normRows[1],
                    "image_head.weight",
                    40,
                    5,
                    7,
                    16,
                    24,
                    "sjd2.time_embed.",
                    false,
                    new NetworkShape.Biases(biased, biased),
                    null,
                    null);
            Parameters params = new Parameters(shape, n.arena);
            SplittableRandom r = Randoms.of("network");
            for (Parameters.Slot slot : params.slots()) {
                Tensor t = params.value(slot.entry().name());
                boolean one = slot.entry().kind() == NetworkShape.Kind.VECTOR
                        && !slot.entry().name().endsWith("_proj.bias");
                for (long i = 0; i < t.elements(); i++) {
                    t.setFloat(i, (float) (one ? 1 : 0.15 * r.nextGaussian()));
                }
            }
            SequenceBatch batch = new SequenceBatch(n.arena, 2, 128);
            batch.clear();
            for (int s = 0; s < 2; s++) {
                batch.beginSequence();
                for (int i = 0; i < 35 + 5 * s; i++) {
                    int row = batch.addInput(r.nextInt(50));
                    if (i >= 3 && i < 35) {
                        batch.addTarget(r.nextInt(40));
                        batch.setTargetPosition((i - 3) / 7, (i - 3) % 7);
                    }
                    if (i > 8 && i < 20) {
                        batch.addNoise(row, 0.8f, 0.6f, 300 + i, s, i);
                    }
                }
            }
            Tensor mean = Parameters.host(n.arena, DType.F32, 48);
            Tensor std = Parameters.host(n.arena, DType.F32, 48);
            n.kernels.fill(std, 0.5f);
            Network network = new Network(n.kernels, params, dtype, n.arena, 128, 128);
            network.weightsChanged();
            TrainingKernels kernels = n.kernels;
            Tensor losses = network.train(
                    batch,
                    new Network.NoiseSource() {
                        @Override
                        public void fill(Tensor noise, SequenceBatch b) {
                            kernels.philoxNormal(noise, b.drawHigh(), b.drawLow(), 1, 2);
                        }

                        @Override
                        public Tensor mean() {
                            return mean;
                        }

                        @Override
                        public Tensor std() {
                            return std;
                        }
                    },
                    0.01f);
            return new float[][] {losses.toFloats(), params.grads().toFloats()};
        }
    }

    @Test
    void aWrongShapeIsNamed() {
        try (Native n = new Native("", 1)) {
            Tensor a = Parameters.host(n.arena, DType.F32, 4, 5);
            Tensor b = Parameters.host(n.arena, DType.F32, 6, 7);
            Tensor c = Parameters.host(n.arena, DType.F32, 4, 7);
            assertThatThrownBy(() -> n.kernels.gemm(c, null, a, b, false, false, DType.F32))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("gemm: b is f32[6, 7], expected [5, 7]");
            assertThatThrownBy(() -> n.kernels.adamw(a, a, a, b, 1, 1, 1, 1, 1, 1, 1))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("grad");
        }
    }
}
