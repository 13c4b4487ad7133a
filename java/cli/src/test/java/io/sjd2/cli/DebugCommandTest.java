package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The parity tools, driven as somebody with another implementation would, against the published families' goldens.
class DebugCommandTest {
    /// What f32 logits may be off by, as a share of the largest one; and what hidden states may be off by.
    private static final double LOGITS = 5e-6;

    private static final double HIDDEN = 1e-4;
    private static final Path GOLDEN =
            Path.of(System.getProperty("sjd2.home", "."), "java/engine/src/test/resources/golden");

    @TempDir
    Path folder;

    private static Path model(String name) {
        return GOLDEN.resolve("lm").resolve(name);
    }

    private Session logits(String model, SafetensorsWriter inputs, String... more) throws IOException {
        Path in = folder.resolve("in.safetensors");
        inputs.write(in);
        List<String> args = new ArrayList<>(List.of(
                "debug",
                "logits",
                "--model",
                model(model).toString(),
                "--in",
                in.toString(),
                "--out",
                out().toString()));
        args.addAll(List.of(more));
        return Session.run(args.toArray(String[]::new));
    }

    private Path out() {
        return folder.resolve("out.safetensors");
    }

    private static SafetensorsFile golden(String model, String file) throws IOException {
        return SafetensorsFile.open(model(model).resolve("golden").resolve(file + ".safetensors"));
    }

    /// Copies tensors of a golden under other names.
    private static SafetensorsWriter inputs(SafetensorsFile from, String... goldenThenInput) throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter();
        for (int i = 0; i < goldenThenInput.length; i += 2) {
            TensorEntry entry = from.tensor(goldenThenInput[i]);
            writer.add(goldenThenInput[i + 1], entry.dtype(), entry.shape(), entry.data());
        }
        return writer;
    }

    private void assertOutput(SafetensorsFile golden, String prefix, String... names) throws IOException {
        try (SafetensorsFile out = SafetensorsFile.open(out())) {
            for (String name : names) {
                Optional<TensorEntry> expected = golden.find(prefix + name);
                if (expected.isEmpty()) {
                    continue;
                }
                assertThat(out.tensor(name).shape())
                        .as(name)
                        .containsExactly(expected.get().shape());
                assertClose(name, expected.get().toFloats(), out.tensor(name).toFloats());
            }
        }
    }

    private static void assertClose(String name, float[] expected, float[] actual) {
        double largest = 0;
        double worst = 0;
        for (int i = 0; i < expected.length; i++) {
            largest = Math.max(largest, Math.abs(expected[i]));
            double d = Math.abs((double) expected[i] - actual[i]);
            worst = Double.isNaN(d) ? Double.POSITIVE_INFINITY : Math.max(worst, d);
        }
        assertThat(worst).as(name).isLessThanOrEqualTo(name.startsWith("hidden") ? HIDDEN : LOGITS * largest);
    }

    private static final String[] OUTPUTS = {
        "logits", "image_logits", "text_logits", "hidden_after_layer_0", "hidden_after_layer_1"
    };

    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "chameleon_swin", "emu3"})
    void tokensGiveTheReferencesLogits(String model) throws IOException {
        try (SafetensorsFile golden = golden(model, "lm")) {
            for (String[] more :
                    new String[][] {{}, {"--chunks", "5,7,12"}, {"--chunks", "14", "--backend", "reference"}}) {
                Session session = logits(model, inputs(golden, "prefill.input_ids", "input_ids"), more);
                assertThat(session.code()).as(session.err()).isZero();
                assertOutput(golden, "prefill.", OUTPUTS);
            }
            Session session = logits(model, inputs(golden, "perturbed.inputs_embeds", "inputs_embeds"));
            assertThat(session.code()).as(session.err()).isZero();
            assertOutput(golden, "perturbed.", OUTPUTS);
        }
    }

    @Test
    void textAndCodesGiveTheLogitsOfJanus() throws IOException {
        try (SafetensorsFile golden = golden("janus", "lm")) {
            Session session = logits(
                    "janus",
                    inputs(golden, "prefill.text_ids", "text_ids", "prefill.image_codes", "image_codes"),
                    "--chunks",
                    "3,1,9");
            assertThat(session.code()).as(session.err()).isZero();
            assertOutput(golden, "prefill.", OUTPUTS);
        }
    }

    @Test
    void paddingOnTheLeftChangesNothing() throws IOException {
        for (String model : List.of("chameleon", "emu3")) {
            try (SafetensorsFile golden = golden(model, "gen")) {
                Session session = logits(
                        model,
                        inputs(
                                golden,
                                "cfg.batch_input_ids",
                                "input_ids",
                                "cfg.batch_attention_mask",
                                "attention_mask"));
                assertThat(session.code()).as(session.err()).isZero();
                float[] expected = golden.tensor("cfg.batch_last_logits").toFloats();
                try (SafetensorsFile out = SafetensorsFile.open(out())) {
                    float[] logits = out.tensor("logits").toFloats();
                    int vocab = expected.length / 2;
                    int rows = logits.length / expected.length;
                    float[] last = new float[expected.length];
                    for (int b = 0; b < 2; b++) {
                        System.arraycopy(logits, ((b + 1) * rows - 1) * vocab, last, b * vocab, vocab);
                    }
                    assertClose("last logits", expected, last);
                }
            }
        }
    }

    /// Two conditions share their codes; rows of padding are what the reference makes of them.
    @Test
    void conditionsAndCodesGiveTheLogitsOfLlamaGen() throws IOException {
        for (String model : List.of("llamagen_t2i", "llamagen_c2i")) {
            boolean captions = model.endsWith("t2i");
            try (SafetensorsFile golden = golden(model, "lm");
                    SafetensorsFile weights = SafetensorsFile.open(model(model).resolve("model.safetensors"))) {
                SafetensorsWriter inputs = inputs(golden, "window.ids", "codes");
                if (captions) {
                    float[] caption = golden.tensor("cond.caption").toFloats();
                    float[] none =
                            weights.tensor("cls_embedding.uncond_embedding").toFloats();
                    float[] both = Arrays.copyOf(caption, 2 * caption.length);
                    System.arraycopy(none, 0, both, caption.length, none.length);
                    long[] shape = golden.tensor("cond.caption").shape();
                    inputs.addF32("caption", new long[] {2, shape[1], shape[2]}, both);
                    inputs.addI32(
                            "mask",
                            golden.tensor("cond.mask").shape(),
                            golden.tensor("cond.mask").toInts());
                } else {
                    inputs.addI32(
                            "labels",
                            new long[] {2},
                            golden.tensor("cond.labels").toInts());
                }
                Session session = logits(model, inputs, "--chunks", "1,2");
                assertThat(session.code()).as(session.err()).isZero();
                int condition = (int) golden.tensor("prefill.logits").shape()[1];
                for (String name : List.of("logits", "hidden_after_layer_0", "hidden_after_layer_1")) {
                    assertClose(name, joined(golden, name, condition), read(name));
                }
            }
        }
    }

    private float[] read(String name) throws IOException {
        try (SafetensorsFile out = SafetensorsFile.open(out())) {
            return out.tensor(name).toFloats();
        }
    }

    /// Rows of the condition and of the window behind it, sequence by sequence.
    private static float[] joined(SafetensorsFile golden, String name, int condition) throws IOException {
        float[] first = golden.tensor("prefill." + name).toFloats();
        float[] second = golden.tensor("window." + name).toFloats();
        float[] all = new float[first.length + second.length];
        for (int b = 0; b < 2; b++) {
            int at = b * all.length / 2;
            System.arraycopy(first, b * first.length / 2, all, at, first.length / 2);
            System.arraycopy(second, b * second.length / 2, all, at + first.length / 2, second.length / 2);
        }
        return all;
    }

    @Test
    void textsGiveTheIdsOfTheGoldenFiles() throws IOException {
        for (String family : List.of("chameleon", "emu3", "emu3_tiktoken_split", "janus")) {
            Path tokenizer = GOLDEN.resolve("tokenizer").resolve(family);
            List<Json> cases =
                    Json.read(tokenizer.resolve("tokenizer_cases.json")).items();
            List<String> texts = new ArrayList<>();
            for (Json each : cases) {
                texts.add(each.get("text").string());
            }
            Path in = folder.resolve("texts.json");
            Files.writeString(in, Json.text(texts));
            Path out = folder.resolve("ids.json");
            Session session = Session.run(
                    "debug",
                    "tokenize",
                    "--model",
                    tokenizer.toString(),
                    "--in",
                    in.toString(),
                    "--out",
                    out.toString());
            assertThat(session.code()).as(session.err()).isZero();
            List<Json> results = Json.read(out).items();
            assertThat(results).hasSameSizeAs(cases);
            for (int i = 0; i < cases.size(); i++) {
                assertThat(results.get(i).keys()).containsExactly("ids", "ids_with_special");
                for (String key : results.get(i).keys()) {
                    assertThat(results.get(i).get(key).toString())
                            .isEqualTo(cases.get(i).get(key).toString());
                }
            }
        }
    }

    @Test
    void wrongInputsAreToldInOneLine() throws IOException {
        try (SafetensorsFile golden = golden("emu3", "lm")) {
            assertRefused(logits("emu3", new SafetensorsWriter()), "in.safetensors", "input_ids");
            assertRefused(
                    logits("emu3", new SafetensorsWriter().addI32("input_ids", new long[] {1, 1}, new int[] {620})),
                    "620",
                    "0 to 619");
            assertRefused(
                    logits("emu3", new SafetensorsWriter().addF32("caption", new long[] {1, 1, 1}, new float[1])),
                    "takes text");
            assertRefused(
                    logits("emu3", inputs(golden, "prefill.input_ids", "input_ids"), "--chunks", "20,5"), "24 rows");
            assertRefused(
                    logits("emu3", inputs(golden, "prefill.input_ids", "input_ids"), "--chunks", "0"), "at least 1");
            assertRefused(
                    logits("emu3", new SafetensorsWriter().addF32("inputs_embeds", new long[] {1, 1, 3}, new float[3])),
                    "inputs_embeds",
                    "64");
        }
        Session session = Session.run("debug", "tokenize", "--model", folder.toString(), "--in", "x", "--out", "y");
        assertRefused(session, folder.toString(), "tokenizer.json");
        assertThat(Session.run("debug").err()).contains("no command given");
    }

    private static void assertRefused(Session session, String... words) {
        assertThat(session.code()).isNotZero();
        assertThat(session.firstError()).startsWith("sjd2: ").contains(words);
        assertThat(session.err()).doesNotContain("\tat ");
    }
}
