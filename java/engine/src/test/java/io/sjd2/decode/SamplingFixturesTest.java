package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Purpose;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The recorded cases of filtering, guidance, verification and random numbers, on every backend.
class SamplingFixturesTest {
    /// Probabilities are f32 at best: a few units in the last place of numbers up to 1, with exponentials within 2 of
    /// them.
    private static final Offset<Double> PROBABILITY = within(1e-6);

    private static final String NAMES = "io.sjd2.decode.DecodeBackends#everyKernel";

    @AfterAll
    static void restore() {
        DecodeBackends.backToTheBest();
    }

    /// One image of one row: what a filter sees.
    private static float[] filter(
            Backend backend, Arena arena, float[] cond, float[] uncond, float scale, JsonObject options) {
        int codes = cond.length;
        boolean guided = uncond != null;
        StateBlock state = new StateBlock(backend, arena, guided ? 2 : 1, 1, 1);
        WindowState window = WindowState.allocate(backend, arena, 1, 1, 1, codes, 1, false, false);
        Tensor logits = backend.allocate(arena, DType.F32, guided ? 2 : 1, 1, codes);
        upload(backend, arena, logits, guided ? concat(cond, uncond) : cond);
        state.set(0, ImageField.LENGTH, 1);
        state.set(0, ImageField.WINDOW, 1);
        state.set(0, ImageField.TOP_K, options.get("top_k").getAsInt());
        state.setFloat(
                0, ImageField.TOP_P, options.has("top_p") ? options.get("top_p").getAsFloat() : 1);
        state.setFloat(0, ImageField.TEMPERATURE, options.get("temperature").getAsFloat());
        state.setFloat(0, ImageField.GUIDANCE, scale);
        state.set(0, ImageField.UNCOND, guided ? 1 : -1);
        state.set(0, SequenceField.ROWS, 1);
        state.push();
        backend.kernels().targetProbs(window, logits, state);
        state.pull();
        assertThat(state.get(0, ImageField.STATUS)).isZero();
        float[] probs = new float[codes];
        System.arraycopy(download(backend, arena, window.probs()), 0, probs, 0, codes);
        return probs;
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void filterKeepsAndWeighsTheRecordedCodes(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            for (JsonObject c : Golden.objects(Golden.read("filter.json").get("cases"))) {
                float[] probs = filter(backend, arena, Golden.floats(c.get("logits")), null, 1, c);
                double[] expected = Golden.doubles(c.get("probs"));
                for (int i = 0; i < probs.length; i++) {
                    assertThat((double) probs[i]).as("%s[%d]", c.get("name"), i).isCloseTo(expected[i], PROBABILITY);
                    assertThat(probs[i] > 0).as("%s keeps %d", c.get("name"), i).isEqualTo(expected[i] > 0);
                }
                Tensor p = backend.allocate(arena, DType.F32, 1, probs.length);
                upload(backend, arena, p, probs);
                for (JsonObject draw : Golden.objects(c.get("draws"))) {
                    Tensor out = backend.allocate(arena, DType.I32, 1);
                    Tensor uniform = backend.allocate(arena, DType.F32, 1);
                    upload(backend, arena, uniform, new float[] {draw.get("u").getAsFloat()});
                    backend.kernels().drawGiven(out, p, uniform);
                    assertThat(downloadInts(backend, arena, out)[0])
                            .as("%s at u = %s", c.get("name"), draw.get("u"))
                            .isEqualTo(draw.get("id").getAsInt());
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void guidanceMixesRawLogits(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            for (JsonObject c : Golden.objects(Golden.read("cfg.json").get("cases"))) {
                JsonObject plain = new JsonObject();
                plain.addProperty("top_k", 0);
                plain.addProperty("temperature", 1);
                float[] probs = filter(
                        backend,
                        arena,
                        Golden.floats(c.get("cond")),
                        Golden.floats(c.get("uncond")),
                        c.get("scale").getAsFloat(),
                        plain);
                // Guided logits are not an output; their differences are the logarithms of probability ratios.
                double[] guided = Golden.doubles(c.get("guided"));
                int top = 0;
                for (int i = 0; i < guided.length; i++) {
                    top = guided[i] > guided[top] ? i : top;
                }
                for (int i = 0; i < guided.length; i++) {
                    if (probs[i] > 1e-30) {
                        assertThat(Math.log(probs[i]) - Math.log(probs[top]))
                                .as("scale %s, code %d", c.get("scale"), i)
                                .isCloseTo(guided[i] - guided[top], within(2e-5));
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void verificationAcceptsAndResamplesAsRecorded(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            for (JsonObject c : Golden.objects(Golden.read("verify.json").get("cases"))) {
                verify(backend, arena, c, Golden.rows(c.get("p")));
            }
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void aWholeStepFiltersVerifiesAndRedraws(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            for (JsonObject c : Golden.objects(Golden.read("window_step.json").get("cases"))) {
                int rows = c.get("p").getAsJsonArray().size();
                int codes = c.get("p").getAsJsonArray().get(0).getAsJsonArray().size();
                float[] p = new float[rows * codes];
                for (int r = 0; r < rows; r++) {
                    float[] row = filter(
                            backend,
                            arena,
                            Golden.floats(c.get("cond_logits").getAsJsonArray().get(r)),
                            Golden.floats(
                                    c.get("uncond_logits").getAsJsonArray().get(r)),
                            c.get("scale").getAsFloat(),
                            c);
                    double[] expected =
                            Golden.doubles(c.get("p").getAsJsonArray().get(r));
                    for (int i = 0; i < codes; i++) {
                        assertThat((double) row[i]).isCloseTo(expected[i], PROBABILITY);
                    }
                    System.arraycopy(row, 0, p, r * codes, codes);
                }
                verify(backend, arena, c, p);
                redraw(backend, arena, c, p, rows, codes);
            }
        }
    }

    private static void verify(Backend backend, Arena arena, JsonObject c, float[] p) {
        int[] draft = Golden.ints(c.get("draft"));
        int rows = draft.length;
        int codes = p.length / rows;
        Tensor result = backend.allocate(arena, DType.I32, rows + 3);
        Tensor residual = backend.allocate(arena, DType.F32, codes);
        Tensor draftTensor = backend.allocate(arena, DType.I32, rows);
        backend.upload(draftTensor, arena.allocateFrom(ValueLayout.JAVA_INT, draft));
        Tensor q = backend.allocate(arena, DType.F32, rows, codes);
        upload(backend, arena, q, Golden.rows(c.get("q")));
        Tensor pTensor = backend.allocate(arena, DType.F32, rows, codes);
        upload(backend, arena, pTensor, p);
        Tensor uniforms = backend.allocate(arena, DType.F32, rows);
        upload(backend, arena, uniforms, Golden.floats(c.get("uniforms")));
        backend.kernels()
                .verifyGiven(
                        result,
                        residual,
                        draftTensor,
                        q,
                        pTensor,
                        uniforms,
                        c.get("resample_uniform").getAsFloat());
        int[] out = downloadInts(backend, arena, result);
        int[] tokens = Golden.ints(c.get("tokens"));
        assertThat(out[0])
                .as("%s: accepted", c.get("name"))
                .isEqualTo(c.get("accepted").getAsInt());
        assertThat(out[1]).as("%s: produced", c.get("name")).isEqualTo(tokens.length);
        for (int i = 0; i < tokens.length; i++) {
            assertThat(out[2 + i]).as("%s: token %d", c.get("name"), i).isEqualTo(tokens[i]);
        }
        if (!c.get("residual").isJsonNull()) {
            double[] expected = Golden.doubles(c.get("residual"));
            float[] actual = download(backend, arena, residual);
            for (int i = 0; i < codes; i++) {
                // A residual is a difference of probabilities, scaled up by what it sums to.
                assertThat((double) actual[i]).isCloseTo(expected[i], within(2e-5));
            }
        }
    }

    private static void redraw(Backend backend, Arena arena, JsonObject c, float[] p, int rows, int codes) {
        float[] uniforms = Golden.floats(c.get("redraw_uniforms"));
        if (uniforms.length == 0) {
            return;
        }
        float[] tail = new float[uniforms.length * codes];
        System.arraycopy(p, (rows - uniforms.length) * codes, tail, 0, tail.length);
        Tensor tailTensor = backend.allocate(arena, DType.F32, uniforms.length, codes);
        upload(backend, arena, tailTensor, tail);
        Tensor uniformTensor = backend.allocate(arena, DType.F32, uniforms.length);
        upload(backend, arena, uniformTensor, uniforms);
        Tensor out = backend.allocate(arena, DType.I32, uniforms.length);
        backend.kernels().drawGiven(out, tailTensor, uniformTensor);
        assertThat(downloadInts(backend, arena, out)).isEqualTo(Golden.ints(c.get("next_drafts")));
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void randomWordsAreTheRecordedBits(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            for (JsonObject c : Golden.objects(Golden.read("philox.json").get("streams"))) {
                long seed = Long.parseUnsignedLong(c.get("seed").getAsString());
                long stream = Long.parseUnsignedLong(c.get("stream").getAsString());
                int[] expected = Golden.ints(c.get("words"));
                Tensor words = backend.allocate(arena, DType.I32, expected.length);
                backend.kernels().philoxWords(words, seed, 0, (int) stream, (int) (stream >>> 32));
                assertThat(downloadInts(backend, arena, words)).isEqualTo(expected);
                double[] normals = Golden.doubles(c.get("normal"));
                Tensor out = backend.allocate(arena, DType.F32, normals.length);
                backend.kernels().philoxNormals(out, seed, 0, (int) stream, (int) (stream >>> 32));
                float[] actual = download(backend, arena, out);
                for (int i = 0; i < normals.length; i++) {
                    // Rounded once from f64, so within half a unit, and libraries' cosines differ in f64's last bit.
                    assertThat(actual[i]).isCloseTo((float) normals[i], within(Math.ulp((float) normals[i])));
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void knownAnswersOfThePermutation(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            for (JsonObject c : Golden.objects(Golden.read("philox.json").get("known_answers"))) {
                int[] counter = Golden.ints(c.get("counter"));
                int[] key = Golden.ints(c.get("key"));
                if (counter[0] != 0) {
                    // The operation starts its counter at block 0; other blocks are reached by the permutation itself.
                    int[] out = new int[4];
                    long seed = (long) key[1] << 32 | (key[0] & 0xffffffffL);
                    io.sjd2.kernel.reference.Philox.block(out, seed, counter[0], counter[1], counter[2], counter[3]);
                    assertThat(out).isEqualTo(Golden.ints(c.get("output")));
                    continue;
                }
                Tensor words = backend.allocate(arena, DType.I32, 4);
                backend.kernels().philoxWords(words, 0, counter[1], counter[2], counter[3]);
                assertThat(downloadInts(backend, arena, words)).isEqualTo(Golden.ints(c.get("output")));
            }
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void sequentialDrawsReadThePublishedStream(String name) {
        // The layout that the models' `sampled` fixtures were made with: one stream, element = position.
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            int length = 24;
            TableModel model = TableModel.everyHistory(16, 1, 5);
            TableForward forward = new TableForward(backend, arena, model, 1, 1, length);
            SamplingOptions sampling = SamplingOptions.PLAIN.withSampler(SamplingOptions.Sampler.INVERSE_CDF);
            DecodeRequest request = new DecodeRequest(
                    length, null, java.util.List.of(new DecodeRequest.Image(0x123456789abcdef0L, 0, 0, -1)));
            int[] tokens = new Decoder(forward)
                    .decode(request, new DecodeOptions(DecoderSpec.AR, sampling, 1), DecodeListener.NONE)
                    .tokens()[0];
            Tensor words = backend.allocate(arena, DType.I32, length);
            backend.kernels().philoxWords(words, 0x123456789abcdef0L, 0, 0, Purpose.SEQUENTIAL.streamHigh(0));
            int[] stream = downloadInts(backend, arena, words);
            float[] logits = new float[16];
            for (int n = 0; n < length; n++) {
                model.logits(logits, tokens, n, 0);
                double u = (stream[n] >>> 8) * 0x1p-24;
                assertThat(tokens[n]).as("position %d", n).isEqualTo(inverse(logits, u));
            }
        }
    }

    private static int inverse(float[] logits, double u) {
        double total = 0;
        for (float l : logits) {
            total += Math.exp(l);
        }
        double sum = 0;
        for (int c = 0; c < logits.length; c++) {
            sum += Math.exp(logits[c]) / total;
            if (sum > u) {
                return c;
            }
        }
        return logits.length - 1;
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void logLikelihoodIsThatOfASoftmax(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            int rows = 7;
            int codes = 513;
            java.util.SplittableRandom random = new java.util.SplittableRandom(4);
            float[] logits = new float[rows * codes];
            int[] targets = new int[rows];
            for (int i = 0; i < logits.length; i++) {
                logits[i] = (float) (5 * random.nextGaussian());
            }
            for (int r = 0; r < rows; r++) {
                targets[r] = random.nextInt(codes);
            }
            Tensor logitsTensor = backend.allocate(arena, DType.F32, rows, codes);
            upload(backend, arena, logitsTensor, logits);
            Tensor targetTensor = backend.allocate(arena, DType.I32, rows);
            backend.upload(targetTensor, arena.allocateFrom(ValueLayout.JAVA_INT, targets));
            Tensor out = backend.allocate(arena, DType.F32, rows);
            backend.kernels().logLikelihood(out, logitsTensor, targetTensor);
            float[] actual = download(backend, arena, out);
            for (int r = 0; r < rows; r++) {
                double total = 0;
                for (int c = 0; c < codes; c++) {
                    total += Math.exp(logits[r * codes + c]);
                }
                double expected = logits[r * codes + targets[r]] - Math.log(total);
                assertThat((double) actual[r]).isCloseTo(expected, within(2.0 * Math.ulp((float) expected)));
            }
        }
    }

    static void upload(Backend backend, Arena arena, Tensor target, float[] values) {
        backend.upload(target, arena.allocateFrom(ValueLayout.JAVA_FLOAT, values));
    }

    static float[] download(Backend backend, Arena arena, Tensor source) {
        MemorySegment host = arena.allocate(source.bytes(), 64);
        backend.download(host, source);
        return host.toArray(ValueLayout.JAVA_FLOAT);
    }

    static int[] downloadInts(Backend backend, Arena arena, Tensor source) {
        MemorySegment host = arena.allocate(source.bytes(), 64);
        backend.download(host, source);
        return host.toArray(ValueLayout.JAVA_INT);
    }

    private static float[] concat(float[] a, float[] b) {
        float[] out = java.util.Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, out, a.length, b.length);
        return out;
    }
}
