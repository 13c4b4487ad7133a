package io.sjd2.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.io.Json;
import io.sjd2.io.SyntheticName;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.tensor.DType;
import io.sjd2.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SyntheticModelTest {
    /// Bytes of the published weights are known to two digits; what the figure counts of heads and towers is not.
    private static final double WEIGHTS_TOLERANCE = 0.1;

    private static SyntheticModel model(String preset) {
        return SyntheticModel.of(Path.of(SyntheticName.SCHEME + preset));
    }

    /// The table of published shapes in `docs/models.md`.
    @ParameterizedTest
    @CsvSource({
        "lumina-mgpt-7b-768, 32, 8192, 2353, 14.0, 512",
        "emu3-8b, 32, 32768, 8193, 17.0, 128",
        "janus-pro-1b, 24, 16384, 576, 3.3, 192",
        "janus-pro-7b, 30, 16384, 576, 13.8, 480",
        "llamagen-xl, 36, 16384, 1024, 1.6, 180"
    })
    void presetsHaveThePublishedShapes(
            String preset, int layers, int codes, int tokens, double gigabytes, int kvKibibytes) throws IOException {
        ModelDescription d = model(preset).description();
        assertThat(d.transformer().layers()).isEqualTo(layers);
        assertThat(d.codes()).isEqualTo(codes);
        assertThat(d.imageLength()).isEqualTo(tokens);
        assertThat(d.transformer().kvBytesPerToken(2)).isEqualTo(kvKibibytes * 1024L);
        try (Backend backend = Backends.open("reference", 1);
                ModelFiles files = model(preset).files()) {
            Transformer.Size size = Transformer.measure(backend, files, DType.BF16);
            assertThat(size.parameters() * 2e-9).isCloseTo(gigabytes, within(WEIGHTS_TOLERANCE * gigabytes));
            assertThat(size.streamedBytes()).isLessThan(size.weightBytes());
        }
    }

    /// What is made up for a published folder's configuration is what lies in the folder, tensor for tensor.
    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "chameleon_swin", "emu3", "janus", "llamagen_t2i", "llamagen_c2i"})
    void tensorsAreThoseOfThePublications(String fixture) throws IOException {
        Path folder = LmFixture.folder(fixture);
        ModelDescription d = ModelDescription.read(folder);
        try (ModelFiles files = ModelFiles.of(d, folder, true);
                SyntheticWeights made = new SyntheticWeights(d, "made up", 1)) {
            for (String name : made.names()) {
                String there = fixture.equals("emu3")
                        ? name.replace("model.text_model.", "text_model.model.")
                                .replaceFirst("^lm_head", "text_model.lm_head")
                        : name;
                long[] shape = files.tensors().info(there).shape();
                if (name.contains("q_norm") || name.contains("k_norm")) {
                    assertThat(shape)
                            .as(name)
                            .hasSize(2)
                            .endsWith(made.info(name).shape()[1]);
                } else {
                    assertThat(made.info(name).shape()).as(name).isEqualTo(shape);
                }
            }
        }
    }

    /// Measuring must say what loading takes, whatever the family.
    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "chameleon_swin", "emu3", "janus", "llamagen_t2i", "llamagen_c2i"})
    void measuringTellsWhatLoadingTakes(String fixture) throws IOException {
        Path folder = LmFixture.folder(fixture);
        ModelDescription d = ModelDescription.read(folder);
        for (DType dtype : Arrays.asList(DType.F32, DType.BF16)) {
            try (Backend backend = Backends.open("cpu", 1);
                    ModelFiles files = ModelFiles.of(d, folder, true);
                    Transformer model = Transformer.load(backend, folder, d, dtype, LoadListener.NONE)) {
                Transformer.Size size = Transformer.measure(backend, files, dtype);
                assertThat(size.weightBytes()).isEqualTo(model.weightBytes());
                assertThat(size.parameters()).isEqualTo(model.parameters());
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"lumina-mgpt-7b-768", "emu3-8b", "janus-pro-1b"})
    void textComesBackFromTheTokeniser(String preset) throws IOException {
        Tokenizer tokenizer = Tokenizer.parse(model(preset).tokenizer(), preset);
        String text = "a red circle, \u00e9 \ud83d\ude00\n";
        assertThat(tokenizer.decode(tokenizer.encode(text, false), false)).isEqualTo(text);
        assertThat(tokenizer.size())
                .isLessThanOrEqualTo(model(preset).description().transformer().vocabSize());
    }

    /// LlamaGen publishes weights without a configuration: shapes and the file's name say it all.
    @Test
    void llamaGensConfigurationIsReadOffItsWeights() throws IOException {
        SyntheticModel synthetic = model("llamagen-xl");
        try (ModelFiles files = synthetic.files()) {
            Json config = LlamaGenShapes.infer(files.tensors(), "t2i_XL_stage2_512.pt");
            assertThat(ModelDescription.parse(config, Path.of("nowhere"))).isEqualTo(synthetic.description());
            Json small = LlamaGenShapes.infer(files.tensors(), "t2i_XL_stage1_256.pt");
            assertThat(ModelDescription.parse(small, Path.of("nowhere")).imageLength())
                    .isEqualTo(256);
        }
    }

    @Test
    void layersCanBeFewer() throws IOException {
        assertThat(model("emu3-8b?layers=2").description().transformer().layers())
                .isEqualTo(2);
        assertThat(model("janus-pro-7b?layers=1").description().transformer().layers())
                .isEqualTo(1);
        assertThat(model("llamagen-xl?layers=3").description().transformer().layers())
                .isEqualTo(3);
    }

    /// The whole loop, prompt to 8-bit codes, at one layer of the smallest shapes.
    @Test
    void aPassOverMadeUpWeightsIsFinite() throws IOException {
        SyntheticModel synthetic = model("llamagen-xl?layers=1");
        try (Backend backend = Backends.open("cpu", 2);
                ModelFiles files = synthetic.files();
                Transformer model =
                        Transformer.load(backend, files, DType.BF16, Transformer.Heads.CODES, LoadListener.NONE);
                Probe probe = new Probe(model, 200)) {
            Conditions conditions = model.conditions();
            boolean[] mask = new boolean[120];
            Arrays.fill(mask, 100, 120, true);
            Prompt.Embeddings prompt = (Prompt.Embeddings) conditions.noCaption(mask);
            float[] logits = probe.run(prompt.values(), 0, prompt.position()).codeLogits();
            double squares = 0;
            for (float logit : logits) {
                assertThat(Float.isFinite(logit)).isTrue();
                squares += (double) logit * logit;
            }
            assertThat(squares / logits.length).isBetween(0.1, 10.0);
        }
    }
}
