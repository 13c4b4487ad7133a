package io.sjd2.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.kernel.Bench.Slice;
import io.sjd2.kernel.Kernels.QkNorm;
import io.sjd2.kernel.Kernels.RopePairs;
import io.sjd2.kernel.RowCases.Heads;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.testing.GuardedTensor;
import io.sjd2.testing.OperationsReport;
import io.sjd2.testing.Precision;
import io.sjd2.testing.Randoms;
import io.sjd2.testing.Tolerance;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// What every backend's forward operations must do; a subclass per backend and instruction set opens it.
///
/// Parity is judged against f64 by {@link Tolerance}; every output lies between guard bands and keeps its dead rows;
/// every row has the same bits whatever is computed beside it and by however many threads.
abstract class KernelsContract {
    private static final DType[] WEIGHT_DTYPES = {DType.F32, DType.BF16};

    private Backend backend;
    private Kernels kernels;

    /// Opens the backend with that many threads; several may be open at once.
    abstract Backend open(int threads);

    @BeforeEach
    final void openBackend() {
        backend = open(2);
        kernels = backend.kernels();
    }

    @AfterEach
    final void closeBackend() {
        if (backend != null) {
            backend.close();
        }
    }

    @AfterAll
    static void writeReport() {
        OperationsReport.write();
    }

    /// Made once: what a row is by a naive loop is the same for every backend.
    private static final List<RowCase> ROW_CASES = allCases();

    static Stream<RowCase> rowCases() {
        return ROW_CASES.stream();
    }

    private static List<RowCase> allCases() {
        List<RowCase> cases = new ArrayList<>();
        for (int hidden : new int[] {1, 2, 7, 15, 16, 17, 63, 256, 257}) {
            cases.add(new RowCases.RmsNormAdd(hidden, 4, 0, 3));
        }
        cases.add(new RowCases.SequenceInput(5, 3, 4, 0, true, 3, 3, 1));
        cases.add(new RowCases.SequenceInput(33, 3, 4, 5, true, 7, 7, 0, 2));
        cases.add(new RowCases.SequenceInput(256, 4, 2, 1, true, 7, 6));
        cases.add(new RowCases.SequenceInput(16, 1, 1, 0, false, 9, 8));
        for (DType t : WEIGHT_DTYPES) {
            for (int hidden : new int[] {1, 2, 7, 15, 16, 17, 31, 63, 256, 257}) {
                cases.add(new RowCases.RmsNorm(t, hidden, 5, 0, 2));
            }
            for (int n : new int[] {1, 13, 16, 33, 257}) {
                cases.add(new RowCases.Round(t, n, 2, 5));
                cases.add(new RowCases.Swiglu(t, n, 3, 0, 4));
                cases.add(new RowCases.Gelu(t, n, true, 3, 4));
                cases.add(new RowCases.Gelu(t, n, false, 3, 4));
            }
            cases.add(new RowCases.Embed(t, 1, 1, 1));
            cases.add(new RowCases.Embed(t, 7, 19, 3, 2, 4));
            cases.add(new RowCases.Embed(t, 97, 256, 33));
            matmuls(t, cases);
            ropes(t, cases);
            attentions(t, cases);
        }
        return cases;
    }

    private static void matmuls(DType t, List<RowCase> cases) {
        int[][] shapes = {
            // n_out, n_in
            {1, 1},
            {1, 2},
            {2, 3},
            {7, 5},
            {15, 31},
            {16, 32},
            {17, 33},
            {31, 63},
            {32, 64},
            {33, 65},
            {48, 127},
            {64, 256},
            {65, 130},
            {97, 257},
            {130, 100}
        };
        for (int i = 0; i < shapes.length; i++) {
            cases.add(new RowCases.Matmul(t, shapes[i][0], shapes[i][1], i % 3 == 1, i % 4 == 2, 3, 0, 5));
        }
        for (int rows : new int[] {1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 129}) {
            cases.add(new RowCases.Matmul(t, 35, 67, rows % 2 == 0, rows % 3 == 0, rows));
        }
        cases.add(new RowCases.Matmul(t, 40, 96, true, true, 1, 16, 0, 31, 17));
        cases.add(new RowCases.Matmul(t, 18, 1100, false, false, 9, 24)); // beyond one block along k
        cases.add(new RowCases.Matmul(t, 530, 48, true, false, 5)); // more panels than threads
    }

    private static void ropes(DType t, List<RowCase> cases) {
        cases.add(new RowCases.RopeAppend(t, new Heads(1, 1, 2), RopePairs.HALF_SPLIT, 0, 0, new int[] {0}, 1));
        cases.add(new RowCases.RopeAppend(
                t, new Heads(4, 2, 64), RopePairs.HALF_SPLIT, 0, 0, new int[] {0, 9, 3}, 5, 0, 7));
        cases.add(new RowCases.RopeAppend(t, new Heads(6, 3, 10), RopePairs.ADJACENT, 0, 0, new int[] {2, 1}, 3, 4));
        cases.add(new RowCases.RopeAppend(t, new Heads(4, 4, 34), RopePairs.HALF_SPLIT, 4, 4, new int[] {1, 0}, 2, 6));
        cases.add(new RowCases.RopeAppend(t, new Heads(6, 2, 128), RopePairs.ADJACENT, 2, 1, new int[] {5}, 4));
        cases.add(
                new RowCases.RopeAppend(t, new Heads(8, 2, 16), RopePairs.HALF_SPLIT, 1, 2, new int[] {0, 63}, 33, 2));
    }

    private static void attentions(DType t, List<RowCase> cases) {
        cases.add(new RowCases.Attention(t, new Heads(1, 1, 2), 1, new int[] {0}, 1));
        cases.add(new RowCases.Attention(
                t, new Heads(2, 1, 64), 1, new int[] {0, 5, 0}, 7, 3, 0)); // window = kv_len at first
        cases.add(new RowCases.Attention(t, new Heads(4, 4, 64), 3, new int[] {62, 63, 64, 65}, 3, 2, 1, 4));
        cases.add(new RowCases.Attention(t, new Heads(6, 2, 10), 2, new int[] {31, 127}, 33, 2));
        cases.add(new RowCases.Attention(t, new Heads(8, 2, 128), 1, new int[] {130, 0}, 5, 17));
        cases.add(new RowCases.Attention(t, new Heads(3, 1, 256), 1, new int[] {3}, 4));
        cases.add(new RowCases.Attention(t, new Heads(4, 2, 34), 0.1, new int[] {300}, 2));
        cases.add(new RowCases.Attention(
                t, new Heads(2, 2, 16), 30, new int[] {70, 1}, 65, 64)); // nearly one-hot weights
        cases.add(new RowCases.Attention(t, new Heads(16, 2, 32), 1, new int[] {40}, 6));
    }

    @ParameterizedTest
    @MethodSource("rowCases")
    void errorsAreThoseOfANaiveLoop(RowCase c) {
        // Two dead rows per sequence, so that a window is never exactly full.
        List<byte[]> actual = run(backend, c, c.together(), c.longest() + 2, false);
        Tolerance tolerance = new Tolerance(c.outputType(), c.scale());
        int at = 0;
        for (Slice slice : c.together()) {
            for (int r = 0; r < slice.count(); r++) {
                tolerance.add(
                        "sequence " + slice.sequence() + " row " + r,
                        c.known(Precision.F64, slice.sequence(), r),
                        c.known(Precision.F32, slice.sequence(), r),
                        GuardedTensor.decode(c.outputType(), actual.get(at++)));
            }
        }
        OperationsReport.add(c.operation, backend.name(), c.dtype, tolerance.kernelUlps());
        tolerance.assertMet(backend.name() + " " + c);
    }

    @ParameterizedTest
    @MethodSource("rowCases")
    void aRowNeverDependsOnTheRowsBesideIt(RowCase c) {
        List<Slice> whole = c.together();
        List<byte[]> expected = run(backend, c, whole, c.longest(), false);
        try (Backend single = open(1);
                Backend many = open(5)) {
            compare(c, "on 1 thread", whole, expected, whole, run(single, c, whole, c.longest() + 1, false));
            compare(c, "on 5 threads", whole, expected, whole, run(many, c, whole, c.longest() + 40, false));
            List<Slice> threes = c.split(3);
            compare(c, "in threes", whole, expected, threes, run(many, c, threes, 3, false));
            List<Slice> alone = c.split(1);
            if (c.statelessAllowed()) {
                compare(c, "without state", whole, expected, alone, run(backend, c, alone, 1, true));
            }
            // A sequence of one row each, and each of those in a pass of its own.
            List<Slice> few = alone.size() > 24 ? alone.subList(alone.size() / 2 - 12, alone.size() / 2 + 12) : alone;
            for (Slice slice : few) {
                List<Slice> one = List.of(slice);
                compare(c, "alone", whole, expected, one, run(single, c, one, 1, false));
            }
        }
    }

    private static List<byte[]> run(Backend backend, RowCase c, List<Slice> slices, int window, boolean stateless) {
        try (Bench bench = new Bench(backend, slices, window, stateless)) {
            return c.run(bench);
        } catch (AssertionError e) {
            throw new AssertionError(backend.name() + " " + c + ": " + e.getMessage(), e);
        }
    }

    private void compare(
            RowCase c, String how, List<Slice> whole, List<byte[]> expected, List<Slice> slices, List<byte[]> actual) {
        int[] firstOf = new int[c.rows.length];
        for (int s = 1; s < whole.size(); s++) {
            firstOf[s] = firstOf[s - 1] + whole.get(s - 1).count();
        }
        int at = 0;
        for (Slice slice : slices) {
            for (int r = 0; r < slice.count(); r++) {
                byte[] here = actual.get(at++);
                byte[] there = expected.get(firstOf[slice.sequence()] + slice.first() + r);
                if (!Arrays.equals(here, there)) {
                    throw new AssertionError(backend.name() + " " + c + ": row " + (slice.first() + r) + " of sequence "
                            + slice.sequence() + " has other bits when computed " + how + ", first at byte "
                            + Arrays.mismatch(here, there));
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void attentionOverConstantValuesReturnsThem(DType t) {
        RowCases.Attention c = new RowCases.Attention(t, new Heads(4, 2, 32), 2, new int[] {100, 0, 64}, 9, 70, 1)
                .withConstantValues();
        List<byte[]> actual = run(backend, c, c.together(), 70, false);
        Tolerance tolerance = new Tolerance(t, Tolerance.Scale.RELATIVE);
        int at = 0;
        for (Slice slice : c.together()) {
            for (int r = 0; r < slice.count(); r++) {
                tolerance.add(
                        "sequence " + slice.sequence() + " row " + r,
                        c.constantValue(slice.sequence()),
                        c.expected(Precision.F32, slice.sequence(), r),
                        GuardedTensor.decode(t, actual.get(at++)));
            }
        }
        tolerance.assertMet(backend.name() + " " + c);
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void aRolledBackCacheEqualsOneNeverWritten(DType t) {
        Heads h = new Heads(4, 2, 32);
        int width = (h.heads() + 2 * h.kvHeads()) * h.headDim();
        SplittableRandom random = Randoms.of("rollback " + t);
        float[] prefix = Randoms.normals(random, 6 * width, 1, DType.F32);
        float[] rejected = Randoms.normals(random, 6 * width, 1, DType.F32);
        float[] kept = Randoms.normals(random, 6 * width, 1, DType.F32);
        byte[][] straight = decodeTwice(t, h, prefix, null, kept);
        byte[][] rolledBack = decodeTwice(t, h, prefix, rejected, kept);
        // Behind the 4 + 3 valid entries the rejected rows may still lie about; nobody reads them.
        int valid = 7 * h.kvHeads() * h.headDim() * t.bytes();
        assertThat(Arrays.copyOf(rolledBack[0], valid)).isEqualTo(Arrays.copyOf(straight[0], valid));
        assertThat(Arrays.copyOf(rolledBack[1], valid)).isEqualTo(Arrays.copyOf(straight[1], valid));
        assertThat(rolledBack[2]).isEqualTo(straight[2]);
    }

    /// 4 rows; where given, 6 more that are rolled back; then 3 rows. Answers k, v and the last rows' attention.
    private byte[][] decodeTwice(DType t, Heads h, float[] prefix, float[] rejected, float[] kept) {
        int width = (h.heads() + 2 * h.kvHeads()) * h.headDim();
        int capacity = 12;
        try (Arena arena = Arena.ofConfined()) {
            StateBlock state = new StateBlock(backend, arena, 1, 1, 6);
            Tensor q = backend.allocate(arena, t, 1, 6, h.heads(), h.headDim());
            Tensor out = backend.allocate(arena, t, 1, 6, h.heads(), h.headDim());
            Tensor k = backend.allocate(arena, t, 1, capacity, h.kvHeads(), h.headDim());
            Tensor v = backend.allocate(arena, t, 1, capacity, h.kvHeads(), h.headDim());
            Tensor qkv = backend.allocate(arena, DType.F32, 1, 6, width);
            Tensor rope = backend.allocate(arena, DType.F32, capacity, h.headDim() / 2, 2);
            backend.upload(
                    rope,
                    MemorySegment.ofArray(
                            Randoms.normals(Randoms.of("rotations"), (int) rope.elements(), 1, DType.F32)));
            int cached = 0;
            for (float[] rows : rejected == null ? List.of(prefix, kept) : List.of(prefix, rejected, kept)) {
                int live = rows == prefix ? 4 : rows == kept ? 3 : 6;
                state.set(0, SequenceField.KV_LEN, cached);
                state.set(0, SequenceField.POSITION, cached);
                state.set(0, SequenceField.ROWS, live);
                state.push();
                backend.upload(qkv, MemorySegment.ofArray(rows));
                kernels.ropeAppend(q, k, v, qkv, null, rope, state, RopePairs.HALF_SPLIT);
                kernels.attention(out, q, k, v, state, 0.2f);
                cached = rows == rejected ? cached : cached + live; // a rollback is moving a length
            }
            return new byte[][] {bytes(k), bytes(v), Arrays.copyOf(bytes(out), 3 * h.heads() * h.headDim() * t.bytes())
            };
        }
    }

    private byte[] bytes(Tensor t) {
        byte[] host = new byte[Math.toIntExact(t.bytes())];
        backend.download(MemorySegment.ofArray(host), t);
        return host;
    }

    @Test
    void conversionsRoundToNearestEven() {
        float[] values = Randoms.normals(Randoms.of("convert"), 1031, 1, DType.F32);
        values[0] = 1 + 0x1p-8f; // a tie of bf16
        values[1] = 1 + 3 * 0x1p-8f;
        values[2] = Float.POSITIVE_INFINITY;
        values[3] = -0.0f;
        values[4] = 1 + 0x1p-11f; // a tie of f16
        values[5] = Float.MAX_VALUE; // rounds to infinity in bf16 and f16
        values[6] = 0x1p-24f; // subnormal in f16
        values[7] = 65519;
        for (DType from : List.of(DType.F32, DType.BF16, DType.F16)) {
            for (DType to : List.of(DType.F32, DType.BF16, DType.F16)) {
                try (Arena arena = Arena.ofConfined()) {
                    GuardedTensor src = GuardedTensor.of("src", backend, arena, from, values, values.length);
                    GuardedTensor dst =
                            GuardedTensor.of("dst", backend, arena, to, new float[values.length], values.length);
                    kernels.convert(dst.tensor(), src.tensor());
                    backend.synchronize();
                    Tensor host = Tensor.of(MemorySegment.ofArray(src.content()), from, values.length);
                    assertThat(dst.content())
                            .as("%s: %s to %s", backend.name(), from, to)
                            .isEqualTo(GuardedTensor.bytes(to, host.toFloats()));
                }
            }
        }
    }

    @Test
    void notANumberSurvivesConversion() {
        float[] values = {Float.NaN, Float.intBitsToFloat(0x7f800001), Float.intBitsToFloat(0xffffffff), 1};
        for (DType to : List.of(DType.F32, DType.BF16, DType.F16)) {
            try (Arena arena = Arena.ofConfined()) {
                GuardedTensor src = GuardedTensor.of("src", backend, arena, DType.F32, values, 4);
                GuardedTensor dst = GuardedTensor.of("dst", backend, arena, to, new float[4], 4);
                kernels.convert(dst.tensor(), src.tensor());
                backend.synchronize();
                double[] out = GuardedTensor.decode(to, dst.content());
                assertThat(out)
                        .as("%s to %s", backend.name(), to)
                        .containsExactly(Double.NaN, Double.NaN, Double.NaN, 1);
            }
        }
    }

    /// q, k and v may be packed one after another into one matrix, from f32, bf16 or f16.
    @Test
    void partsPackedOneByOneEqualTheWhole() {
        int nOut = 53;
        int nIn = 37;
        for (DType t : WEIGHT_DTYPES) {
            for (DType from : List.of(DType.F32, DType.BF16, DType.F16)) {
                SplittableRandom random = Randoms.of("pack " + t + from);
                float[] w = Randoms.normals(random, nOut * nIn, 1, DType.F32);
                int n = Math.toIntExact(kernels.packedElements(nOut, nIn, t));
                assertThat(n).isGreaterThanOrEqualTo(nOut * nIn);
                try (Arena arena = Arena.ofConfined()) {
                    GuardedTensor whole = GuardedTensor.aligned("whole", backend, arena, t, new float[n], n);
                    GuardedTensor parts = GuardedTensor.aligned("parts", backend, arena, t, new float[n], n);
                    Tensor src = GuardedTensor.of("src", backend, arena, from, w, nOut, nIn)
                            .tensor();
                    kernels.packWeights(whole.tensor(), src, 0, nOut);
                    for (int[] part : new int[][] {{0, 17}, {17, 1}, {18, 30}, {48, 5}}) {
                        kernels.packWeights(parts.tensor(), src.rows(part[0], part[1]), part[0], nOut);
                    }
                    backend.synchronize();
                    assertThat(parts.content())
                            .as("%s %s from %s", backend.name(), t, from)
                            .isEqualTo(whole.content());
                }
            }
        }
    }

    @Test
    void anIdOutsideOfTheTableIsRefusedAndNothingIsWritten() {
        for (int bad : new int[] {-1, 5, Integer.MAX_VALUE}) {
            try (Arena arena = Arena.ofConfined()) {
                GuardedTensor out = GuardedTensor.of("out", backend, arena, DType.F32, new float[9], 3, 3);
                GuardedTensor table = GuardedTensor.of("table", backend, arena, DType.F32, floats(15, 1), 5, 3);
                GuardedTensor ids = GuardedTensor.ofInts("ids", backend, arena, new int[] {0, 1, bad}, 3);
                assertThatThrownBy(() -> {
                            kernels.embed(out.tensor(), table.tensor(), ids.tensor());
                            backend.synchronize();
                        })
                        .isInstanceOf(KernelException.class)
                        .hasMessageContaining("embed")
                        .hasMessageContaining(backend.name());
                assertThat(out.content()).isEqualTo(out.initial());
            }
        }
    }

    @Test
    void rowsBehindTheCacheOrTheRotaryTableAreRefused() {
        try (Arena arena = Arena.ofConfined()) {
            StateBlock state = new StateBlock(backend, arena, 1, 1, 4);
            Tensor q = backend.allocate(arena, DType.F32, 1, 4, 2, 4);
            Tensor cache = backend.allocate(arena, DType.F32, 1, 8, 2, 4);
            Tensor other = backend.allocate(arena, DType.F32, 1, 8, 2, 4);
            Tensor qkv = backend.allocate(arena, DType.F32, 1, 4, 24);
            Tensor rope = backend.allocate(arena, DType.F32, 8, 2, 2);
            for (int[] bad : new int[][] {{6, 0, 3}, {0, 6, 3}, {-1, 0, 1}, {0, -1, 1}}) {
                state.set(0, SequenceField.KV_LEN, bad[0]);
                state.set(0, SequenceField.POSITION, bad[1]);
                state.set(0, SequenceField.ROWS, bad[2]);
                state.push();
                assertThatThrownBy(() -> {
                            kernels.ropeAppend(q, cache, other, qkv, null, rope, state, RopePairs.HALF_SPLIT);
                            backend.synchronize();
                        })
                        .as("kv_len, position, rows = %s", Arrays.toString(bad))
                        .isInstanceOf(KernelException.class)
                        .hasMessageContaining(backend.name());
            }
            state.set(0, SequenceField.KV_LEN, 8);
            state.set(0, SequenceField.POSITION, 0);
            state.set(0, SequenceField.ROWS, 1);
            state.push();
            Tensor out = backend.allocate(arena, DType.F32, 1, 4, 2, 4);
            assertThatThrownBy(() -> {
                        kernels.attention(out, q, cache, other, state, 1);
                        backend.synchronize();
                    })
                    .isInstanceOf(KernelException.class)
                    .hasMessageContaining("attention");
        }
    }

    private static float[] floats(int n, float value) {
        float[] out = new float[n];
        Arrays.fill(out, value);
        return out;
    }

    private Tensor tensor(Arena arena, DType dtype, long... shape) {
        return backend.allocate(arena, dtype, shape);
    }

    private static void refuses(String argument, ThrowingCallable call) {
        assertThatThrownBy(call).isInstanceOf(IllegalArgumentException.class).hasMessageContaining(argument);
    }

    @Test
    void aWrongShapeOrDtypeIsRefusedByTheNameOfTheArgument() {
        try (Arena arena = Arena.ofConfined()) {
            StateBlock state = new StateBlock(backend, arena, 2, 1, 3);
            Tensor x = tensor(arena, DType.F32, 2, 3, 8);
            Tensor y = tensor(arena, DType.F32, 2, 3, 8);
            Tensor half = tensor(arena, DType.BF16, 2, 3, 8);
            Tensor wide = tensor(arena, DType.F32, 2, 3, 16);
            Tensor weight = tensor(arena, DType.F32, 8);
            Tensor longer = tensor(arena, DType.F32, 9);
            Tensor ints = tensor(arena, DType.I32, 2, 3, 8);
            Tensor doubles = tensor(arena, DType.F64, 8);
            refuses(
                    "rmsNorm: weight is f32[9], expected [hidden_size=8]",
                    () -> kernels.rmsNorm(y, x, longer, state, 0));
            refuses("rmsNorm: weight is f64[8], expected dtype f32", () -> kernels.rmsNorm(y, x, doubles, state, 0));
            refuses("rmsNorm: x is bf16[2, 3, 8]", () -> kernels.rmsNorm(y, half, weight, state, 0));
            refuses("rmsNorm: out is i32[2, 3, 8]", () -> kernels.rmsNorm(ints, x, weight, state, 0));
            refuses("rmsNorm: out is f32[2, 3, 16]", () -> kernels.rmsNorm(wide, x, weight, state, 0));
            refuses(
                    "rmsNorm: x is f32[3, 2, 8], expected [batch=2, window=3",
                    () -> kernels.rmsNorm(y, x.view(3, 2, 8), weight, state, 0));
            refuses("rmsNorm: eps is -1.0", () -> kernels.rmsNorm(y, x, weight, state, -1));
            refuses("rmsNorm: eps is NaN", () -> kernels.rmsNorm(y, x, weight, state, Float.NaN));
            refuses("rmsNormAdd: delta is f32[2, 3, 16]", () -> kernels.rmsNormAdd(x, wide, weight, state, 0));
            refuses("rmsNormAdd: delta is bf16", () -> kernels.rmsNormAdd(x, half, weight, state, 0));
            refuses("rmsNormAdd: weight", () -> kernels.rmsNormAdd(x, y, longer, state, 0));
            refuses("round: out is f32[2, 3, 16]", () -> kernels.round(wide, x, state));
            refuses("round: x is bf16", () -> kernels.round(y, half, state));
            refuses("gelu: x is bf16", () -> kernels.gelu(y, half, state, true));
            refuses("gelu: out is f32[2, 3, 16]", () -> kernels.gelu(wide, x, state, true));
            refuses("swiglu: gateUp is f32[2, 3, 8]", () -> kernels.swiglu(y, x, state));
            refuses("swiglu: gateUp is bf16", () -> kernels.swiglu(y, half, state));
            refuses("swiglu: out is i32", () -> kernels.swiglu(ints, wide, state));
            refuses("convert: dst is f32[9]", () -> kernels.convert(longer, weight));
            refuses("convert: src is f64", () -> kernels.convert(weight, doubles));
            refuses("embed: ids is f32", () -> kernels.embed(x.view(6, 8), wide.view(12, 8), weight));
            refuses(
                    "embed: out is f32[6, 8], expected [rows=2",
                    () -> kernels.embed(
                            x.view(6, 8), wide.view(12, 8), ints.view(48).rows(0, 2)));
            refuses("embed: table is f64", () -> kernels.embed(x.view(6, 8), doubles, ints.view(48)));
        }
    }

    @Test
    void wrongMatricesAreRefusedByTheNameOfTheArgument() {
        try (Arena arena = Arena.ofConfined()) {
            StateBlock state = new StateBlock(backend, arena, 2, 1, 3);
            Tensor x = tensor(arena, DType.F32, 2, 3, 8);
            Tensor out = tensor(arena, DType.F32, 2, 3, 5);
            Tensor w = tensor(arena, DType.F32, kernels.packedElements(5, 8, DType.F32));
            Tensor w16 = tensor(arena, DType.BF16, kernels.packedElements(5, 8, DType.BF16));
            Tensor small = tensor(arena, DType.F32, 3);
            Tensor bias = tensor(arena, DType.F32, 6);
            Tensor src = tensor(arena, DType.F32, 5, 8);
            refuses(
                    "matmul: x is f32[2, 3, 8], expected dtype bf16",
                    () -> kernels.matmul(out, x, w16, null, state, false));
            refuses(
                    "matmul: w is f32[3], expected the " + w.elements() + " elements",
                    () -> kernels.matmul(out, x, small, null, state, false));
            refuses("matmul: bias is f32[6], expected [n_out=5]", () -> kernels.matmul(out, x, w, bias, state, false));
            refuses(
                    "matmul: out is bf16",
                    () -> kernels.matmul(tensor(arena, DType.BF16, 2, 3, 5), x, w, null, state, false));
            refuses("matmul: out is f32[6, 5]", () -> kernels.matmul(out.view(6, 5), x, w, null, state, false));
            refuses("matmul: x is f32[5, 8]", () -> kernels.matmul(out.view(6, 5), src, w, null, null, false));
            refuses(
                    "matmul: out overlaps x",
                    () -> kernels.matmul(
                            x,
                            x,
                            tensor(arena, DType.F32, kernels.packedElements(8, 8, DType.F32)),
                            null,
                            state,
                            false));
            refuses("packedElements: [n_out=0", () -> kernels.packedElements(0, 8, DType.F32));
            refuses("packedElements: dtype is f16", () -> kernels.packedElements(1, 8, DType.F16));
            refuses("packWeights: rows 1 to 6 of src", () -> kernels.packWeights(w, src, 1, 5));
            refuses("packWeights: rows -1", () -> kernels.packWeights(w, src, -1, 5));
            refuses("packWeights: dst is f32[3]", () -> kernels.packWeights(small, src, 0, 5));
            refuses("packWeights: src is f32[40]", () -> kernels.packWeights(w, src.view(40), 0, 5));
            refuses("packWeights: src is i32", () -> kernels.packWeights(w, tensor(arena, DType.I32, 5, 8), 0, 5));
        }
    }

    @Test
    void wrongAttentionArgumentsAreRefusedByTheirNames() {
        try (Arena arena = Arena.ofConfined()) {
            StateBlock state = new StateBlock(backend, arena, 2, 1, 3);
            Tensor q = tensor(arena, DType.F32, 2, 3, 4, 8);
            Tensor out = tensor(arena, DType.F32, 2, 3, 4, 8);
            Tensor k = tensor(arena, DType.F32, 2, 9, 2, 8);
            Tensor v = tensor(arena, DType.F32, 2, 9, 2, 8);
            Tensor three = tensor(arena, DType.F32, 2, 9, 3, 8);
            Tensor half = tensor(arena, DType.BF16, 2, 9, 2, 8);
            Tensor qkv = tensor(arena, DType.F32, 2, 3, 64);
            Tensor rope = tensor(arena, DType.F32, 9, 4, 2);
            RopePairs pairs = RopePairs.ADJACENT;
            refuses(
                    "attention: k has n_kv_heads 3, expected a divisor of n_heads=4",
                    () -> kernels.attention(out, q, three, three, state, 1));
            refuses("attention: k is bf16", () -> kernels.attention(out, q, half, v, state, 1));
            refuses("attention: v is f32[2, 9, 3, 8]", () -> kernels.attention(out, q, k, three, state, 1));
            refuses("attention: scale is 0.0", () -> kernels.attention(out, q, k, v, state, 0));
            refuses("attention: out overlaps q", () -> kernels.attention(q, q, k, v, state, 1));
            refuses(
                    "attention: out is f32[3, 2, 4, 8]",
                    () -> kernels.attention(out.view(3, 2, 4, 8), q, k, v, state, 1));
            refuses(
                    "attention: q is f32[3, 2, 4, 8]",
                    () -> kernels.attention(out, q.view(3, 2, 4, 8), k, v, state, 1));
            refuses(
                    "attention: q has head_dim 1,",
                    () -> kernels.attention(out.view(2, 3, 32, 1), q.view(2, 3, 32, 1), k, v, state, 1));
            refuses(
                    "attention: q is f32[2, 3, 1, 258]",
                    () -> kernels.attention(
                            tensor(arena, DType.F32, 2, 3, 1, 258),
                            tensor(arena, DType.F32, 2, 3, 1, 258),
                            k,
                            v,
                            state,
                            1));
            refuses(
                    "ropeAppend: qkv is f32[2, 3, 64], expected [batch=2, window=3, (n_heads + 2 n_kv_heads)",
                    () -> kernels.ropeAppend(
                            q,
                            tensor(arena, DType.F32, 2, 9, 1, 8),
                            tensor(arena, DType.F32, 2, 9, 1, 8),
                            qkv,
                            null,
                            rope,
                            state,
                            pairs));
            refuses(
                    "ropeAppend: rope is f32[9, 8], expected [rope_len",
                    () -> kernels.ropeAppend(q, k, v, qkv, null, rope.view(9, 8), state, pairs));
            refuses(
                    "ropeAppend: rope is f32[18, 2, 2]",
                    () -> kernels.ropeAppend(q, k, v, qkv, null, rope.view(18, 2, 2), state, pairs));
            refuses("ropeAppend: vCache is bf16", () -> kernels.ropeAppend(q, k, half, qkv, null, rope, state, pairs));
            refuses(
                    "ropeAppend: kCache is f32[1, 9, 2, 8]",
                    () -> kernels.ropeAppend(q, k.rows(0, 1), v, qkv, null, rope, state, pairs));
            QkNorm norm = new QkNorm(
                    tensor(arena, DType.F32, 3, 8),
                    tensor(arena, DType.F32, 3, 8),
                    tensor(arena, DType.F32, 2, 8),
                    tensor(arena, DType.F32, 2, 8),
                    1e-5f);
            refuses(
                    "ropeAppend: qkNorm.qWeight is f32[3, 8], expected a number of rows that divides n_heads=4",
                    () -> kernels.ropeAppend(q, k, v, qkv, norm, rope, state, pairs));
            QkNorm bias = new QkNorm(
                    tensor(arena, DType.F32, 2, 8),
                    tensor(arena, DType.F32, 1, 8),
                    tensor(arena, DType.F32, 2, 8),
                    tensor(arena, DType.F32, 2, 8),
                    1e-5f);
            refuses(
                    "ropeAppend: qkNorm.qBias is f32[1, 8]",
                    () -> kernels.ropeAppend(q, k, v, qkv, bias, rope, state, pairs));
        }
    }

    @Test
    void wrongWindowsAreRefusedByTheNameOfTheArgument() {
        try (Arena arena = Arena.ofConfined()) {
            StateBlock state = new StateBlock(backend, arena, 2, 1, 3);
            WindowState window = WindowState.allocate(backend, arena, 1, 3, 20, 7, 8, true, true);
            Tensor input = tensor(arena, DType.F32, 1, 3, 8);
            Tensor x = tensor(arena, DType.F32, 2, 3, 8);
            Tensor prompt = tensor(arena, DType.F32, 2, 8);
            Tensor row = tensor(arena, DType.F32, 4, 8);
            refuses(
                    "sequenceInput: x is f32[1, 3, 8]",
                    () -> kernels.sequenceInput(input, input, prompt, row, row, state));
            refuses(
                    "sequenceInput: windowInput is f32[2, 3, 8]",
                    () -> kernels.sequenceInput(x, x, prompt, row, row, state));
            refuses(
                    "sequenceInput: lastPrompt is f32[4, 8]",
                    () -> kernels.sequenceInput(x, input, row, row, row, state));
            refuses(
                    "sequenceInput: columnEmbed is null",
                    () -> kernels.sequenceInput(x, input, prompt, row, null, state));
            refuses(
                    "sequenceInput: rowEmbed is f32[8, 4]",
                    () -> kernels.sequenceInput(x, input, prompt, row.view(8, 4), row, state));
            DraftEmbeddings embeddings = new DraftEmbeddings(tensor(arena, DType.F32, 7, 8), null, null);
            refuses("windowInput: input is f32[2, 3, 8]", () -> kernels.windowInput(x, window, embeddings, state));
            refuses(
                    "windowInput: embeddings.table is f32[6, 8], expected at least a row per code: 7",
                    () -> kernels.windowInput(
                            input, window, new DraftEmbeddings(tensor(arena, DType.F32, 6, 8), null, null), state));
            refuses(
                    "windowInput: embeddings.table is f32[7, 9]",
                    () -> kernels.windowInput(
                            input, window, new DraftEmbeddings(tensor(arena, DType.F32, 7, 9), null, null), state));
            WindowState other = WindowState.allocate(backend, arena, 1, 4, 20, 7, 8, false, false);
            refuses(
                    "windowInput: window.drafts is i32[1, 4, 4]",
                    () -> kernels.windowInput(input, other, embeddings, state));
            Tensor levels = tensor(arena, DType.F32, 3);
            DraftEmbeddings noisy = new DraftEmbeddings(
                    tensor(arena, DType.F32, 7, 8),
                    null,
                    new DraftEmbeddings.Noise(
                            tensor(arena, DType.F32, 8),
                            tensor(arena, DType.F32, 8),
                            tensor(arena, DType.F32, 2, 8),
                            levels,
                            levels));
            refuses(
                    "windowInput: noise.levelEmbed is f32[2, 8], expected [levels + 1=3",
                    () -> kernels.windowInput(input, window, noisy, state));
            WindowState silent = WindowState.allocate(backend, arena, 1, 3, 20, 7, 8, false, false);
            refuses("windowInput: window.noisy is null", () -> kernels.windowInput(input, silent, noisy, state));
            refuses(
                    "targetProbs: logits is f32[2, 3, 8], expected [batch=2, window=3, codes=7]",
                    () -> kernels.targetProbs(window, x, state));
            refuses("verify: window.drafts", () -> kernels.verify(other, state));
            WindowState forced = new WindowState(
                    window.tokens(), window.drafts(), null, window.probs(), tensor(arena, DType.I32, 19), 7);
            refuses("verify: window.forced is i32[19], expected [max_length=20]", () -> kernels.verify(forced, state));
            Tensor p = tensor(arena, DType.F32, 3, 7);
            Tensor u = tensor(arena, DType.F32, 3);
            Tensor ids = tensor(arena, DType.I32, 3);
            refuses("drawGiven: out is f32", () -> kernels.drawGiven(u, p, u));
            refuses("drawGiven: uniforms is f32[3, 7]", () -> kernels.drawGiven(ids, p, p));
            refuses("logLikelihood: targets is f32", () -> kernels.logLikelihood(u, p, u));
            refuses("logLikelihood: out is i32", () -> kernels.logLikelihood(ids, p, ids));
            refuses(
                    "verifyGiven: result is i32[3], expected [rows + 3=6]",
                    () -> kernels.verifyGiven(ids, tensor(arena, DType.F32, 7), ids, p, p, u, 0.5f));
            refuses(
                    "verifyGiven: p is f32[3]",
                    () -> kernels.verifyGiven(ids, tensor(arena, DType.F32, 7), ids, p, u, u, 0.5f));
            refuses("philoxWords: out is f32", () -> kernels.philoxWords(u, 0, 0, 0, 0));
            refuses("philoxNormals: out is i32", () -> kernels.philoxNormals(ids, 0, 0, 0, 0));
        }
    }

    @Test
    void transfersMoveExactlyTheTensorsBytes() {
        try (Arena arena = Arena.ofConfined()) {
            Tensor t = tensor(arena, DType.I32, 3, 5);
            assertThat(t.data().address() % 64).isZero();
            assertThat(bytes(t)).containsOnly(0);
            int[] values = new int[15];
            Arrays.setAll(values, i -> i * 7 - 3);
            backend.upload(t, MemorySegment.ofArray(values));
            assertThat(GuardedTensor.decodeInts(bytes(t))).isEqualTo(values);
            refuses(
                    "upload: src has 56 bytes, expected the 60 of i32[3, 5]",
                    () -> backend.upload(t, MemorySegment.ofArray(new int[14])));
            refuses(
                    "download: dst has 64 bytes, expected the 60 of i32[3, 5]",
                    () -> backend.download(MemorySegment.ofArray(new int[16]), t));
        }
    }

    @Test
    void closingIsIdempotentAndLeavesOthersOpen() {
        try (Arena arena = Arena.ofConfined()) {
            Backend second = open(1);
            Tensor x = tensor(arena, DType.F32, 1, 8);
            second.close();
            second.close();
            Tensor out = tensor(arena, DType.F32, 1, 8);
            kernels.round(out, x, null);
            backend.synchronize();
        }
    }

    /// Work that several backends do at the same time, each on its own thread, is the same as alone.
    @Test
    void backendsOfSeveralThreadsDoNotDisturbEachOther() throws InterruptedException {
        RowCase c = new RowCases.Matmul(DType.BF16, 130, 100, true, false, 33, 7);
        RowCase d = new RowCases.Attention(DType.F32, new Heads(4, 2, 64), 1, new int[] {40}, 20);
        List<byte[]> expectedC = run(backend, c, c.together(), 33, false);
        List<byte[]> expectedD = run(backend, d, d.together(), 20, false);
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            threads.add(Thread.ofPlatform().start(() -> {
                try (Backend own = open(2)) {
                    for (int repeat = 0; repeat < 10; repeat++) {
                        compare(
                                c,
                                "beside others",
                                c.together(),
                                expectedC,
                                c.together(),
                                run(own, c, c.together(), 33, false));
                        compare(
                                d,
                                "beside others",
                                d.together(),
                                expectedD,
                                d.together(),
                                run(own, d, d.together(), 20, false));
                    }
                } catch (Throwable e) {
                    failures.add(e);
                }
            }));
        }
        for (Thread thread : threads) {
            thread.join();
        }
        assertThat(failures).isEmpty();
    }
}
