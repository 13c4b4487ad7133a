package io.sjd2.model;

import static io.sjd2.model.LmFixture.difference;
import static io.sjd2.model.LmFixture.largest;
import static io.sjd2.model.LmFixture.meanDifference;
import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The transformer against the families' reference implementations: full passes, pieces over a cache, given embeddings,
/// dropped cache entries, guidance and ragged batches.
class LmGoldenTest {
    private static final String LM = "lm";
    private static final String GEN = "gen";
    private static final int TEXT_TOKENS = 14;
    private static final int MOST = 64;

    @AfterAll
    static void close() {
        LmFixture.closeAll();
    }

    static Stream<Arguments> textModels() {
        return Stream.of("reference", "cpu")
                .flatMap(backend -> LmFixture.TEXT.stream().map(name -> Arguments.of(name, backend)));
    }

    static Stream<Arguments> llamaGens() {
        return Stream.of("reference", "cpu")
                .flatMap(backend -> Stream.of("llamagen_t2i", "llamagen_c2i").map(name -> Arguments.of(name, backend)));
    }

    private static float[] embedded(LmFixture f, Probe probe, String prefix) throws IOException {
        if (f.hasTensor(LM, prefix + ".input_ids")) {
            return probe.embedTokens(f.ints(LM, prefix + ".input_ids"));
        }
        float[] text = probe.embedTokens(f.ints(LM, prefix + ".text_ids"));
        float[] image = probe.embedCodes(f.ints(LM, prefix + ".image_codes"));
        return joined(text, image);
    }

    private static float[] joined(float[] a, float[] b) {
        float[] all = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, all, a.length, b.length);
        return all;
    }

    /// Logits of the heads that a family has: all tokens, or codes and tokens.
    private static void assertLogits(LmFixture f, String what, String file, String prefix, Probe.Pass pass)
            throws IOException {
        if (f.hasTensor(file, prefix + "image_logits")) {
            assertClose(what + ", codes", f.floats(file, prefix + "image_logits"), pass.codeLogits());
            assertClose(what + ", tokens", f.floats(file, prefix + "text_logits"), pass.textLogits());
            return;
        }
        float[] golden = f.floats(file, prefix + "logits");
        if (pass.textLogits() != null) {
            assertClose(what, golden, pass.textLogits());
            assertClose(what + ", the rows of codes", ofCodes(f, golden), pass.codeLogits());
        } else {
            assertClose(what, golden, pass.codeLogits());
        }
    }

    private static void assertClose(String what, float[] golden, float[] actual) {
        assertThat(difference(golden, actual))
                .as("largest difference of logits, %s", what)
                .isLessThanOrEqualTo(LmFixture.LOGITS * largest(golden));
    }

    /// Columns of codes out of rows of tokens.
    private static float[] ofCodes(LmFixture f, float[] logits) {
        int vocab = f.description.transformer().vocabSize();
        int codes = f.description.codes();
        float[] out = new float[logits.length / vocab * codes];
        for (int i = 0; i < out.length; i++) {
            out[i] = logits[i / codes * vocab + f.description.codeMap().token(i % codes)];
        }
        return out;
    }

    @ParameterizedTest
    @MethodSource("textModels")
    void aWholePassGivesEveryLayersOutput(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        try (Probe probe = new Probe(f.model, MOST)) {
            float[] embeds = embedded(f, probe, "prefill");
            assertThat(difference(f.floats(LM, "prefill.embeds"), embeds))
                    .as("embeddings")
                    .isLessThanOrEqualTo(LmFixture.EMBEDDINGS);
            Probe.Pass pass = probe.run(embeds, 0, 0);
            for (int layer = 0; layer < 2; layer++) {
                assertThat(difference(f.floats(LM, "prefill.hidden_after_layer_" + layer), pass.hidden()[layer]))
                        .as("hidden states after layer %d", layer)
                        .isLessThanOrEqualTo(LmFixture.HIDDEN);
            }
            assertThat(difference(f.floats(LM, "prefill.final_norm"), pass.finalNorm()))
                    .as("final norm")
                    .isLessThanOrEqualTo(LmFixture.HIDDEN);
            assertLogits(f, "prefill", LM, "prefill.", pass);
        }
    }

    @ParameterizedTest
    @MethodSource("textModels")
    void piecesOverTheCacheGiveTheSame(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        float[] embeds = f.floats(LM, "prefill.embeds");
        int width = f.model.config().hiddenSize();
        for (String golden : List.of("chunk2", "chunk_many")) {
            try (Probe probe = new Probe(f.model, MOST)) {
                float[] whole = probe.run(embeds, 0, 0).codeLogits();
                int codes = whole.length / (embeds.length / width);
                int at = 0;
                for (Json size : f.golden(golden).get("chunk_sizes").items()) {
                    int rows = size.int32();
                    float[] part = Arrays.copyOfRange(embeds, at * width, (at + rows) * width);
                    float[] logits = probe.run(part, at, at).codeLogits();
                    // Row independence: not close, but the same bits.
                    assertThat(logits)
                            .as("%s from row %d", golden, at)
                            .containsExactly(Arrays.copyOfRange(whole, at * codes, (at + rows) * codes));
                    at += rows;
                }
                assertThat(at).isEqualTo(embeds.length / width);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("textModels")
    void givenEmbeddingsAreTaken(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        try (Probe probe = new Probe(f.model, MOST)) {
            assertLogits(f, "perturbed", LM, "perturbed.", probe.run(f.floats(LM, "perturbed.inputs_embeds"), 0, 0));
        }
    }

    @ParameterizedTest
    @MethodSource("textModels")
    void droppedCacheEntriesLeaveNoTrace(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        int width = f.model.config().hiddenSize();
        int keep = f.golden("rollback").get("keep_of_window1").int32();
        int prefix = f.golden("rollback").get("prefix_tokens").int32();
        assertThat(prefix).isEqualTo(TEXT_TOKENS);
        try (Probe probe = new Probe(f.model, MOST)) {
            float[] embeds = f.floats(LM, "prefill.embeds");
            probe.run(Arrays.copyOf(embeds, prefix * width), 0, 0);
            assertLogits(
                    f,
                    "first window",
                    LM,
                    "rollback.window1_",
                    probe.run(f.floats(LM, "rollback.window1_embeds"), prefix, prefix));
            assertLogits(
                    f,
                    "second window",
                    LM,
                    "rollback.window2_",
                    probe.run(f.floats(LM, "rollback.window2_embeds"), prefix + keep, prefix + keep));
        }
    }

    @ParameterizedTest
    @MethodSource("textModels")
    void guidanceCombinesTwoSequences(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        double scale = f.golden("cfg").get("guidance_scale").number();
        float[][] rows = new float[2][];
        String[] kinds = {"cond", "uncond"};
        for (int k = 0; k < 2; k++) {
            try (Probe probe = new Probe(f.model, MOST)) {
                float[] prompt = probe.embedTokens(f.ints(GEN, "cfg." + kinds[k] + "_ids"));
                float[] image;
                if (f.hasTensor(GEN, "cfg.image_codes")) {
                    image = probe.embedCodes(f.ints(GEN, "cfg.image_codes"));
                    assertThat(difference(f.floats(GEN, "cfg.image_code_embeds"), image))
                            .isLessThanOrEqualTo(LmFixture.EMBEDDINGS);
                } else {
                    image = probe.embedTokens(f.ints(GEN, "cfg.image_ids"));
                }
                Probe.Pass pass = probe.run(joined(prompt, image), 0, 0);
                float[] all = f.description.imageTable() ? pass.codeLogits() : pass.textLogits();
                float[] golden = f.floats(GEN, "cfg." + kinds[k] + "_logits");
                rows[k] = Arrays.copyOfRange(all, all.length - golden.length, all.length);
                assertClose(kinds[k], golden, rows[k]);
            }
        }
        float[] golden = f.floats(GEN, "cfg.guided_logits");
        float[] guided = new float[golden.length];
        for (int i = 0; i < guided.length; i++) {
            guided[i] = (float) (rows[1][i] + scale * (rows[0][i] - rows[1][i]));
        }
        assertThat(difference(golden, guided))
                .as("guided logits")
                .isLessThanOrEqualTo((2 * scale + 1) * LmFixture.LOGITS * largest(golden));
    }

    /// The published pipelines pad the shorter prompt on the left; here each sequence has its own length.
    @ParameterizedTest
    @MethodSource("textModels")
    void sequencesOfDifferentLengthsShareAPass(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        if (f.description.imageTable()) {
            return; // Janus pads nothing: its two sequences are equally long.
        }
        int[] ids = f.ints(GEN, "cfg.batch_input_ids");
        int[] mask = f.ints(GEN, "cfg.batch_attention_mask");
        int width = ids.length / 2;
        List<Prompt> prompts = IntStream.range(0, 2)
                .<Prompt>mapToObj(b -> Prompt.of(IntStream.range(b * width, (b + 1) * width)
                        .filter(i -> mask[i] != 0)
                        .map(i -> ids[i])
                        .toArray()))
                .toList();
        assertThat(prompts.get(0).length()).isNotEqualTo(prompts.get(1).length());
        float[] golden = ofCodes(f, f.floats(GEN, "cfg.batch_last_logits"));
        assertClose("last rows of a ragged batch", golden, firstRows(f, prompts));
    }

    /// Logits of each prompt's last token, all prompts in one pass.
    private static float[] firstRows(LmFixture f, List<? extends Prompt> prompts) {
        int n = prompts.size();
        int codes = f.description.codes();
        try (Arena arena = Arena.ofShared();
                TransformerForward forward = new TransformerForward(f.model, n, 1, MOST)) {
            forward.prefill(prompts);
            StateBlock state = new StateBlock(f.backend, arena, n, 1, 1);
            state.set(0, ImageField.LENGTH, 1);
            state.set(0, ImageField.WINDOW, 1);
            for (int b = 0; b < n; b++) {
                state.set(b, SequenceField.IMAGE, 0);
                state.set(b, SequenceField.ROWS, 1);
                state.set(b, SequenceField.KV_LEN, forward.promptLength(b));
                state.set(b, SequenceField.POSITION, forward.promptPosition(b));
            }
            state.push();
            WindowState window =
                    WindowState.allocate(f.backend, arena, 1, 1, 1, codes, forward.hiddenSize(), false, false);
            Tensor input = f.backend.allocate(arena, DType.F32, 1, 1, forward.hiddenSize());
            Tensor logits = f.backend.allocate(arena, DType.F32, n, 1, codes);
            forward.run(input, logits, window, state);
            float[] out = new float[n * codes];
            f.backend.download(MemorySegment.ofArray(out), logits);
            return out;
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"reference", "cpu"})
    void codesOfJanusAreAligned(String backend) throws IOException {
        LmFixture f = LmFixture.open("janus", backend);
        try (Probe probe = new Probe(f.model, MOST)) {
            assertThat(difference(
                            f.floats(GEN, "image_embed.embeds"), probe.embedCodes(f.ints(GEN, "image_embed.codes"))))
                    .isLessThanOrEqualTo(LmFixture.EMBEDDINGS);
        }
    }

    /// bf16 weights with f32 activations have an f32 target; bf16 activations are held to the looser column.
    @ParameterizedTest
    @ValueSource(strings = {"reference", "cpu"})
    void bf16WeightsKeepTheirTolerances(String backend) throws IOException {
        LmFixture exact = LmFixture.open("chameleon_bf16", backend, DType.F32);
        int[] ids = exact.ints(LM, exact.hasTensor(LM, "prefill.input_ids") ? "prefill.input_ids" : "input_ids");
        float[] golden = exact.floats(LM, "prefill.logits_fp32_compute");
        try (Probe probe = new Probe(exact.model, MOST)) {
            assertClose(
                    "f32 activations",
                    golden,
                    probe.run(probe.embedTokens(ids), 0, 0).textLogits());
        }
        LmFixture half = LmFixture.open("chameleon_bf16", backend, DType.BF16);
        try (Probe probe = new Probe(half.model, MOST)) {
            float[] logits = probe.run(probe.embedTokens(ids), 0, 0).textLogits();
            assertThat(difference(golden, logits)).isLessThanOrEqualTo(2e-2 * largest(golden));
            assertThat(meanDifference(golden, logits)).isLessThanOrEqualTo(5e-3 * largest(golden));
        }
    }

    /// The condition's prompt, the rows behind it, and the table of positions.
    @ParameterizedTest
    @MethodSource("llamaGens")
    void llamaGenFollowsItsReference(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        TransformerConfig c = f.model.config();
        assertThat(difference(f.floats(LM, "rope.table"), RopeTable.of(c, 0))).isLessThanOrEqualTo(1e-6);
        List<Prompt> prompts = f.conditions();
        int condition = f.description.condition().rows();
        int width = c.hiddenSize();
        int codes = f.description.codes();
        float[] embeds = f.floats(LM, "cond.embeds");
        int[] mask = f.hasTensor(LM, "cond.mask") ? f.ints(LM, "cond.mask") : new int[] {1};
        for (int row = 0; row < 2; row++) {
            Prompt.Embeddings prompt = (Prompt.Embeddings) prompts.get(row);
            int padded = condition - prompt.length();
            float[] live =
                    Arrays.copyOfRange(embeds, (row * condition + padded) * width, (row + 1) * condition * width);
            assertThat(Arrays.stream(mask).sum()).isEqualTo(prompt.length());
            assertThat(difference(live, prompt.values())).isLessThanOrEqualTo(LmFixture.EMBEDDINGS);
            try (Probe probe = new Probe(f.model, condition + 16)) {
                Probe.Pass pass = probe.run(prompt.values(), 0, prompt.position());
                float[] logits = f.floats(LM, "prefill.logits");
                assertClose(
                        "condition " + row,
                        Arrays.copyOfRange(logits, (row * condition + padded) * codes, (row + 1) * condition * codes),
                        pass.codeLogits());
                for (int layer = 0; layer < 2; layer++) {
                    float[] hidden = f.floats(LM, "prefill.hidden_after_layer_" + layer);
                    assertThat(difference(
                                    Arrays.copyOfRange(
                                            hidden, (row * condition + padded) * width, (row + 1) * condition * width),
                                    pass.hidden()[layer]))
                            .isLessThanOrEqualTo(LmFixture.HIDDEN);
                }
                Probe.Pass window = probe.run(probe.embedCodes(f.ints(LM, "window.ids")), prompt.length(), condition);
                assertClose("window " + row, half(f.floats(LM, "window.logits"), row), window.codeLogits());
                Probe.Pass perturbed = probe.run(f.floats(LM, "perturbed.window_embeds"), prompt.length(), condition);
                assertClose(
                        "perturbed " + row, half(f.floats(LM, "perturbed.window_logits"), row), perturbed.codeLogits());
            }
        }
    }

    private static float[] half(float[] both, int row) {
        return Arrays.copyOfRange(both, row * both.length / 2, (row + 1) * both.length / 2);
    }
}
