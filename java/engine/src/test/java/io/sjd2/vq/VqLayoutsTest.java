package io.sjd2.vq;

import static io.sjd2.vq.VqFixture.difference;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The folders that authors publish work as they are: the same pictures come out of every layout of the same weights.
class VqLayoutsTest {
    private static final String WEIGHTS = "model.safetensors";
    private static final String LANGUAGE_MODEL = "{\"model_type\": \"chameleon\", \"hidden_size\": 64}";

    @TempDir
    Path folder;

    @BeforeAll
    static void backToTheBest() {
        VqFixture.backToTheBest();
    }

    private static void assertSamePictures(String name, Path folder) throws IOException {
        try (VqFixture f = VqFixture.open(name, folder, "cpu", DType.F32)) {
            for (String grid : new String[] {"vq0", "vq1"}) {
                assertThat(difference(f.floats(grid + ".image"), f.decode(grid)))
                        .as(grid)
                        .isLessThanOrEqualTo(VqFixture.PICTURES);
            }
        }
    }

    private static void copy(String resource, Path to) throws IOException {
        Files.createDirectories(to.getParent());
        Files.copy(VqFixture.resource(resource), to);
    }

    /// A model's own weights, of which nothing is an image tokeniser's.
    private void languageModel() throws IOException {
        Files.writeString(folder.resolve("config.json"), LANGUAGE_MODEL);
        new SafetensorsWriter()
                .addF32("model.norm.weight", new long[] {2}, new float[] {1, 1})
                .write(folder.resolve(WEIGHTS));
    }

    @ParameterizedTest
    @ValueSource(strings = {"tokenizer", "chameleon/tokenizer", "vqgan", "vq", ""})
    void luminasCheckpointIsFoundBesideOrBelowTheModel(String place) throws IOException {
        languageModel();
        copy("pytorch/vqgan.ckpt", folder.resolve(place).resolve("vqgan.ckpt"));
        copy("pytorch/vqgan.yaml", folder.resolve(place).resolve("vqgan.yaml"));
        assertSamePictures("chameleon", folder);
    }

    @Test
    void luminasCheckpointAloneIsAModel() throws IOException {
        copy("pytorch/vqgan.ckpt", folder.resolve("vqgan.ckpt"));
        copy("pytorch/vqgan.yaml", folder.resolve("vqgan.yaml"));
        assertSamePictures("chameleon", folder);
    }

    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "llamagen_t2i"})
    void aFolderOfItsOwnOpensByItself(String name) throws IOException {
        Path own = VqFixture.folder(name).resolve(name.equals("chameleon") ? "vqgan" : "vq");
        assertSamePictures(name, own);
    }

    @Test
    void janusProAsPublished() throws IOException {
        assertSamePictures(
                "janus",
                VqFixture.resource("pytorch/janus_original/config.json").getParent());
    }

    /// The tensors of a fixture under the names and with the shapes of the first publication.
    private static List<TensorEntry> original(SafetensorsFile file, Path names) throws IOException {
        Json map = Json.read(names);
        List<TensorEntry> tensors = new ArrayList<>();
        for (String name : map.keys()) {
            TensorEntry entry = file.tensor(map.get(name).get("fixture_name").string());
            long[] shape = map.get(name).get("original_shape").items().stream()
                    .mapToLong(extent -> {
                        try {
                            return extent.int32();
                        } catch (ModelFormatException e) {
                            throw new AssertionError(e);
                        }
                    })
                    .toArray();
            tensors.add(new TensorEntry(name, entry.dtype(), shape, entry.data()));
        }
        return tensors;
    }

    private static void write(Path file, List<TensorEntry> tensors) throws IOException {
        Files.createDirectories(file.getParent());
        SafetensorsWriter writer = new SafetensorsWriter();
        tensors.forEach(t -> writer.add(t.name(), t.dtype(), t.shape(), t.data()));
        writer.write(file);
    }

    @ParameterizedTest
    @ValueSource(strings = {"vision_tokenizer", ""})
    void emu3sVisionTokenizerAsPublished(String place) throws IOException {
        Path own = folder.resolve(place);
        Path fixture = VqFixture.folder("emu3");
        try (SafetensorsFile file = SafetensorsFile.open(fixture.resolve(WEIGHTS))) {
            write(own.resolve(WEIGHTS), original(file, fixture.resolve("original_names.json")));
        }
        Files.writeString(own.resolve("config.json"), """
                {"architectures": ["Emu3VisionVQModel"], "model_type": "Emu3VisionVQ", "attn_resolutions": [1],
                 "ch": 32, "ch_mult": [2, 1], "codebook_size": 128, "double_z": false, "dropout": 0.0,
                 "embed_dim": 4, "in_channels": 3, "num_res_blocks": 1, "out_channels": 3,
                 "temporal_downsample_factor": 4, "torch_dtype": "float32", "z_channels": 4}
                """);
        assertSamePictures("emu3", folder);
    }

    @Test
    void janusUnderItsOriginalNamesInSafetensors() throws IOException {
        Path fixture = VqFixture.folder("janus");
        try (SafetensorsFile file = SafetensorsFile.open(fixture.resolve(WEIGHTS))) {
            write(folder.resolve(WEIGHTS), original(file, fixture.resolve("original_names.json")));
        }
        copy("pytorch/janus_original/config.json", folder.resolve("config.json"));
        assertSamePictures("janus", folder);
    }

    @ParameterizedTest
    @ValueSource(strings = {"vq_ds16_t2i.pt", "tokenizer/vq_ds16_c2i.pt"})
    void llamaGensFileSaysWhatItIsByItsShapes(String place) throws IOException {
        languageModel();
        Path file = folder.resolve(place);
        Files.createDirectories(file.getParent());
        try (SafetensorsFile weights = SafetensorsFile.open(
                VqFixture.folder("llamagen_t2i").resolve("vq").resolve(WEIGHTS))) {
            List<TensorEntry> tensors = new ArrayList<>();
            for (String name : weights.names()) {
                tensors.add(weights.tensor(name));
            }
            TorchArchive.write(file, "model", tensors);
        }
        assertSamePictures("llamagen_t2i", folder);
    }

    @Test
    void halfPrecisionAndShardsAreRead() throws IOException {
        Path fixture = VqFixture.folder("chameleon").resolve("vqgan");
        try (SafetensorsFile file = SafetensorsFile.open(fixture.resolve(WEIGHTS))) {
            SafetensorsWriter writer = new SafetensorsWriter();
            for (String name : file.names()) {
                TensorEntry t = file.tensor(name);
                writer.addBf16(name, t.shape(), t.toFloats());
            }
            Path own = Files.createDirectories(folder.resolve("vqgan"));
            assertThat(writer.writeFolder(own, 200_000)).hasSizeGreaterThan(3);
            Files.copy(fixture.resolve("config.json"), own.resolve("config.json"));
        }
        try (VqFixture f = VqFixture.open("chameleon", folder, "cpu", DType.F32)) {
            // The weights are rounded, the arithmetic is not.
            assertThat(difference(f.floats("vq0.image"), f.decode("vq0")))
                    .isBetween(VqFixture.PICTURES, VqFixture.PICTURES_BF16);
        }
    }

    @Test
    void aFolderWithoutATokeniserSaysWhereItWasLookedFor() throws IOException {
        languageModel();
        assertThatThrownBy(() -> assertSamePictures("chameleon", folder))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining(folder.toString())
                .hasMessageContaining("vqgan")
                .hasMessageContaining("config.json");
    }

    /// Transformers' Chameleon holds the encoder and the table only, Lumina-mGPT's decoder lies beside it.
    @Test
    void aModelWhoseOwnTokeniserHasNoDecoderYieldsToTheOneBesideIt() throws IOException {
        languageModel();
        Files.writeString(folder.resolve("config.json"), """
                {"model_type": "chameleon", "hidden_size": 64,
                 "vq_config": {"model_type": "chameleon_vqgan", "base_channels": 32, "channel_multiplier": [1, 2],
                               "embed_dim": 16, "latent_channels": 16, "num_embeddings": 128, "num_res_blocks": 1,
                               "attn_resolutions": null, "resolution": 16}}
                """);
        assertThatThrownBy(() -> assertSamePictures("chameleon", folder))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("quantize.embedding.weight");
        copy("pytorch/vqgan.ckpt", folder.resolve("tokenizer/vqgan.ckpt"));
        copy("pytorch/vqgan.yaml", folder.resolve("tokenizer/vqgan.yaml"));
        assertSamePictures("chameleon", folder);
    }

    /// What a configuration asks for is not allocated before the file shows that it holds as much: here 17 GB.
    @Test
    void aConfigurationThatAsksForMoreThanTheFileHoldsIsRefused() throws IOException {
        Path fixture = VqFixture.folder("chameleon").resolve("vqgan");
        Files.copy(fixture.resolve(WEIGHTS), folder.resolve(WEIGHTS));
        String config = Files.readString(fixture.resolve("config.json"));
        for (String asked : new String[] {"\"z_channels\": 65536", "\"ch\": 32768", "\"num_res_blocks\": 64"}) {
            String key = asked.substring(0, asked.indexOf(':') + 1);
            String hostile = config.replaceAll(key + " *[0-9]+", asked);
            assertThat(hostile).isNotEqualTo(config);
            Files.writeString(folder.resolve("config.json"), hostile);
            assertThatThrownBy(() -> assertSamePictures("chameleon", folder))
                    .as(asked)
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("tensor")
                    .hasMessageContaining("do not fit the configuration");
        }
    }
}
