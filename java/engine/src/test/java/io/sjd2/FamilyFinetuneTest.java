package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PngWriter;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.model.ConditionShape;
import io.sjd2.model.LmFixture;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.RgbImage;
import io.sjd2.testing.BiasedFixture;
import io.sjd2.vq.EncoderFixture;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Fine-tuning of the published families on codes: the loss falls, the checkpoint stays one of its family, and the
/// decoders need fewer passes.
class FamilyFinetuneTest {
    private static final int PICTURES = 40;
    private static final long STEPS = 60;
    private static final float RATE = 3e-3f;
    private static final String PROMPT = "a picture";

    @TempDir
    Path temp;

    static Stream<String> families() {
        return Stream.of("chameleon", "chameleon_swin", "emu3", "janus", "llamagen_t2i", "llamagen_c2i");
    }

    static Stream<String> familiesAndBiases() {
        return Stream.concat(families(), Stream.of("chameleon", "emu3").map(name -> name + BiasedFixture.SUFFIX));
    }

    /// A folder as published. Fixtures without an image tokeniser of their own borrow their family's.
    private Path published(String name) throws IOException {
        Path folder = temp.resolve(name);
        Path model = LmFixture.folder(name.replace(BiasedFixture.SUFFIX, ""));
        Path vq = model.resolve("../../vq");
        if (name.endsWith(BiasedFixture.SUFFIX)) {
            BiasedFixture.write(model, folder);
            for (String other : List.of("tokenizer.json", "generation_config.json")) {
                Files.copy(model.resolve(other), folder.resolve(other));
            }
        } else {
            copy(model, folder);
        }
        if (name.startsWith("chameleon")) {
            copy(vq.resolve("chameleon/vqgan"), folder.resolve("vqgan"));
            copy(LmFixture.folder("chameleon"), folder);
        }
        if (name.startsWith("llamagen")) {
            copy(vq.resolve("llamagen_t2i/vq"), folder.resolve("vq"));
        }
        return folder;
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.createDirectories(to);
        try (Stream<Path> files = Files.list(from)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Path there = to.resolve(file.getFileName());
                if (!Files.exists(there)) {
                    Files.copy(file, there);
                }
            }
        }
    }

    /// Pictures of two stripes of random codes: something that can be learned, and random enough to be sampled.
    private Path codes(ModelDescription d, Grid grid) throws IOException {
        Random random = new Random(3);
        int[] codes = new int[PICTURES * grid.cells()];
        for (int i = 0; i < PICTURES; i++) {
            int first = random.nextInt(8);
            int second = 8 + random.nextInt(8);
            for (int c = 0; c < grid.cells(); c++) {
                int stripe = c % grid.width() * 2 < grid.width() ? first : second;
                codes[i * grid.cells() + c] = random.nextInt(8) == 0 ? random.nextInt(16) : stripe;
            }
        }
        Path file = temp.resolve("codes.safetensors");
        SafetensorsWriter writer =
                new SafetensorsWriter().addI32("codes", new long[] {PICTURES, grid.height(), grid.width()}, codes);
        ConditionShape condition = d.condition();
        if (condition == null) {
            writer.metadata("prompts", Json.text(Collections.nCopies(PICTURES, PROMPT)));
        } else if (condition.captionWidth() == 0) {
            int[] labels = new int[PICTURES];
            Arrays.fill(labels, 1);
            writer.addI32("labels", new long[] {PICTURES}, labels);
        } else {
            int size = PICTURES * condition.rows() * condition.captionWidth();
            writer.addF32(
                    "caption", new long[] {PICTURES, condition.rows(), condition.captionWidth()}, new float[size]);
        }
        writer.write(file);
        return file;
    }

    private static Training.Run run(Path codes, long steps, float rate, @Nullable Integer microBatch) {
        return new Training.Run(
                1L,
                steps,
                8,
                microBatch,
                rate,
                0L,
                0L,
                "adamw",
                0f,
                "f32",
                null,
                null,
                null,
                null,
                codes,
                null,
                0,
                null,
                "cpu",
                2,
                false);
    }

    private static final class Losses implements Training.Listener {
        private final List<Double> losses = new ArrayList<>();
        private final List<String> notes = new ArrayList<>();

        @Override
        public void note(String text) {
            notes.add(text);
        }

        @Override
        public void step(Training.Progress progress) {
            losses.add(progress.loss());
        }

        @Override
        public boolean cancelled() {
            return false;
        }
    }

    private static Grid grid(ModelDescription d) {
        return d.picture().fixed() ? d.grid() : new Grid(8, 8);
    }

    @ParameterizedTest
    @MethodSource("familiesAndBiases")
    void theLossFallsAndTheDecodersNeedFewerPasses(String name) throws IOException {
        Path model = published(name);
        ModelDescription d = ModelDescription.read(model);
        Path codes = codes(d, grid(d));
        // As good as no step at all: the model as it was, with what the decoder needs beside it.
        Path untuned = temp.resolve("untuned");
        Training.finetune(model, run(codes, 1, 1e-12f, 8), untuned, new Losses());
        Losses losses = new Losses();
        Path tuned = temp.resolve("tuned");
        Training.Result result = Training.finetune(model, run(codes, STEPS, RATE, 8), tuned, losses);
        assertThat(losses.notes.getFirst()).contains("training needs", "weights and optimiser", "activations");
        double first = losses.losses.getFirst();
        double last = losses.losses.subList((int) STEPS - 5, (int) STEPS).stream()
                .mapToDouble(x -> x)
                .average()
                .orElseThrow();
        assertThat(last).isLessThan(0.6 * first);
        assertThat(result.heldOutLoss()).isLessThan(0.6 * first);
        stillACheckpoint(model, untuned, true);
        stillACheckpoint(model, tuned, false);
        if (name.equals("llamagen_c2i")) {
            // No fixture has an image tokeniser of as many codes.
            return;
        }
        assertThat(passes(tuned, d)).isLessThan(passes(untuned, d));
        greedyIsGreedy(tuned, d);
    }

    /// With a single code left to draw, decoders that start from noise give the codes of one pass per token.
    private static void greedyIsGreedy(Path model, ModelDescription d) throws IOException {
        try (Engine engine = open(model)) {
            int[] expected = tokens(engine, d, "ar", 1);
            for (String decoder : List.of("sjd2", "sjd2-mc", "sjd2-gs", "sjd2-exact")) {
                for (int window : List.of(2, 7, 64)) {
                    assertThat(tokens(engine, d, decoder, window))
                            .as("%s, window %d", decoder, window)
                            .isEqualTo(expected);
                }
            }
        }
    }

    private static int[] tokens(Engine engine, ModelDescription d, String decoder, int window) {
        GenerationRequest request = request(engine, d)
                .withDecoder(decoder)
                .withWindow(window)
                .withGuidance(2.0)
                .withSampling(1.0, 1, 1.0);
        return engine.generate(request, GenerationListener.NONE).getFirst().tokens();
    }

    private static Engine open(Path model) throws IOException {
        return Engine.open(
                model,
                EngineOptions.defaults().withBackend("cpu").withDtype(DType.F32).withThreads(2));
    }

    private static GenerationRequest request(Engine engine, ModelDescription d) {
        Grid grid = grid(d);
        int pixels = engine.info().imageWidth() / engine.info().gridWidth();
        Condition condition = null;
        if (d.condition() != null) {
            int rows = d.condition().rows();
            boolean[] live = new boolean[rows];
            Arrays.fill(live, true);
            condition = d.condition().captionWidth() == 0
                    ? new Condition.Label(1)
                    : new Condition.Caption(new float[rows * d.condition().captionWidth()], live);
        }
        return GenerationRequest.of(PROMPT)
                .withTarget(
                        new GenerationRequest.Target(grid.width() * pixels, grid.height() * pixels, null, condition));
    }

    /// The same names, shapes and dtypes in the same files, and what is not trained bit for bit as it was.
    private static void stillACheckpoint(Path before, Path after, boolean same) throws IOException {
        int changed = 0;
        try (SafetensorsFolder was = SafetensorsFolder.open(before);
                SafetensorsFolder is = SafetensorsFolder.open(after)) {
            assertThat(is.fileNames()).isEqualTo(was.fileNames());
            assertThat(is.names()).isEqualTo(was.names());
            for (String tensor : was.names()) {
                TensorEntry a = was.tensor(tensor);
                TensorEntry b = is.tensor(tensor);
                assertThat(b.toString()).isEqualTo(a.toString());
                boolean equal = a.data().mismatch(b.data()) < 0;
                boolean picture =
                        tensor.contains("vq") || tensor.startsWith("cls_embedding") || tensor.contains("vision_model");
                if (picture) {
                    assertThat(equal).as(tensor).isTrue();
                }
                changed += equal ? 0 : 1;
                if (same && !equal) {
                    float[] x = a.toFloats();
                    float[] y = b.toFloats();
                    for (int i = 0; i < x.length; i++) {
                        assertThat(y[i]).as(tensor).isCloseTo(x[i], within(1e-9f));
                    }
                }
            }
        }
        assertThat(changed > 0).as("anything trained").isEqualTo(!same || changed > 0);
        try (Stream<Path> files = Files.walk(before)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Path copy = after.resolve(before.relativize(file));
                assertThat(copy).exists();
                if (!file.getFileName().toString().endsWith(".safetensors")
                        && !file.getFileName().toString().equals("generation_config.json")) {
                    assertThat(Files.mismatch(file, copy)).as(file.toString()).isEqualTo(-1);
                }
            }
        }
        assertThat(after.resolve("sjd2.json")).exists();
        assertThat(after.resolve("sjd2.safetensors")).exists();
    }

    private static double passes(Path model, ModelDescription d) throws IOException {
        try (Engine engine = open(model)) {
            GenerationRequest request = request(engine, d)
                    .withImages(6)
                    .withDecoder("sjd2-mc")
                    .withWindow(16)
                    .withGuidance(1.0)
                    .withSampling(1.0, 0, 1.0);
            return engine.generate(request, GenerationListener.NONE).stream()
                    .mapToInt(image -> image.statistics().passes())
                    .average()
                    .orElseThrow();
        }
    }

    /// A folder as published whose image tokeniser can encode, with as many codes as the model.
    private Path encoding(String name) throws IOException {
        Path folder = published(name);
        Path vq = name.startsWith("chameleon") ? folder.resolve("vqgan") : folder.resolve("vq");
        Path weights = vq.resolve("model.safetensors");
        Path with = temp.resolve("with.safetensors");
        switch (name) {
            case "chameleon" -> EncoderFixture.addEncoder(name, weights, with);
            case "emu3", "janus" -> {
                EncoderFixture.write(name, Files.createDirectory(vq));
                Files.copy(weights, with);
                // Emu3's negative prompt does not fit beside its usual picture otherwise.
                Path config = folder.resolve("config.json");
                Files.writeString(
                        config,
                        Files.readString(config)
                                .replace("\"max_position_embeddings\": 512", "\"max_position_embeddings\": 1024"));
            }
            case "llamagen_t2i" -> EncoderFixture.addEncoder(name, weights, with);
            default -> {
                EncoderFixture.addEncoder("llamagen_t2i", weights, with);
                cutTable(with, ModelDescription.read(folder).codes());
                Path config = vq.resolve("config.json");
                Files.writeString(config, Files.readString(config).replace("128,", "96,"));
            }
        }
        Files.move(with, weights, StandardCopyOption.REPLACE_EXISTING);
        return folder;
    }

    /// Leaves the first codes.
    private static void cutTable(Path file, int codes) throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter();
        try (SafetensorsFile weights = SafetensorsFile.open(file, false)) {
            for (String tensor : weights.names()) {
                TensorEntry entry = weights.tensor(tensor);
                boolean table = tensor.equals("quantize.embedding.weight");
                long width = table ? entry.shape()[1] : 0;
                writer.add(
                        tensor,
                        entry.dtype(),
                        table ? new long[] {codes, width} : entry.shape(),
                        table ? entry.data().asSlice(0, 4 * codes * width) : entry.data());
            }
            writer.write(file);
        }
    }

    /// Pictures of two kinds, each with what stands beside it.
    private Path pictures(ModelDescription d) throws IOException {
        Path folder = Files.createDirectory(temp.resolve("pictures"));
        Random random = new Random(5);
        for (int i = 0; i < 20; i++) {
            byte[] rgb = new byte[3 * 64 * 48];
            for (int p = 0; p < rgb.length; p++) {
                rgb[p] = (byte) ((i % 2 == 0 ? 40 : 180) + p / (3 * 64) + random.nextInt(9));
            }
            PngWriter.write(folder.resolve(i + ".png"), new RgbImage(64, 48, rgb), Map.of());
            ConditionShape condition = d.condition();
            boolean classes = condition != null && condition.captionWidth() == 0;
            Files.writeString(folder.resolve(i + ".txt"), classes ? i % 2 + "\n" : i % 2 == 0 ? "dark" : "bright");
            if (condition != null && !classes) {
                float[] features = new float[condition.rows() * condition.captionWidth()];
                Arrays.fill(features, i % 2);
                new SafetensorsWriter()
                        .addF32("caption", new long[] {condition.rows(), condition.captionWidth()}, features)
                        .write(folder.resolve(i + ".safetensors"));
            }
        }
        return folder;
    }

    private static Training.Run runOn(Path pictures, long steps) {
        return new Training.Run(
                1L, steps, 6, 6, RATE, 0L, 0L, "adamw", 0f, "f32", null, null, null, null, null, pictures, 0, null,
                "cpu", 2, false);
    }

    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "emu3", "janus", "llamagen_t2i", "llamagen_c2i"})
    void picturesBesideTheirCaptionsAreWhatIsTrainedOn(String name) throws IOException {
        Path model = encoding(name);
        ModelDescription d = ModelDescription.read(model);
        Losses losses = new Losses();
        Path out = temp.resolve("out");
        Path pictures = pictures(d);
        Training.Result result = Training.finetune(model, runOn(pictures, 12), out, losses);
        assertThat(losses.notes).anyMatch(note -> note.contains("tokenising 20 pictures"));
        assertThat(losses.losses.getLast()).isLessThan(0.8 * losses.losses.getFirst());
        assertThat(result.heldOutLoss()).isPositive();
        stillACheckpoint(model, out, false);
        try (Engine engine = open(out)) {
            int pixels = engine.info().imageWidth() / engine.info().gridWidth();
            GenerationRequest request = request(engine, d)
                    .withTarget(new GenerationRequest.Target(
                            d.grid().width() * pixels,
                            d.grid().height() * pixels,
                            null,
                            request(engine, d).condition()))
                    .withWindow(16);
            GeneratedImage made =
                    engine.generate(request, GenerationListener.NONE).getFirst();
            assertThat(made.statistics().decoder()).isEqualTo("sjd2-mc");
        }
        if (d.condition() != null) {
            boolean classes = d.condition().captionWidth() == 0;
            Path file = pictures.resolve(classes ? "7.txt" : "7.safetensors");
            if (classes) {
                Files.writeString(file, "a dog");
            } else {
                Files.delete(file);
            }
            assertThatThrownBy(() -> Training.finetune(model, runOn(pictures, 1), temp.resolve("o"), new Losses()))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining(file.toString())
                    .hasMessageContaining(classes ? "0 to 11" : "--caption-features");
        }
    }

    @Test
    void whatDoesNotFitIsRefusedBeforeAnythingIsLoaded() throws IOException {
        Path model = published("chameleon");
        ModelDescription d = ModelDescription.read(model);
        Path codes = codes(d, grid(d));
        Training.Run large = new Training.Run(
                1L, 1L, 1 << 24, 1 << 24, 1e-3f, 0L, 0L, "adamw", 0f, "f32", null, null, null, null, codes, null, 0,
                null, "cpu", 2, false);
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> Training.finetune(model, large, out, new Losses()))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("training needs")
                .hasMessageContaining("are available")
                .hasMessageContaining("--micro-batch");
        assertThat(out).doesNotExist();
    }

    @Test
    void codesThatDoNotFitAreNamed() throws IOException {
        Path model = published("chameleon");
        Path file = temp.resolve("wrong.safetensors");
        new SafetensorsWriter()
                .addI32("codes", new long[] {1, 4, 4}, new int[] {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9999})
                .write(file);
        assertThatThrownBy(() -> Training.finetune(model, run(file, 1, RATE, 1), temp.resolve("o"), new Losses()))
                .hasMessageContaining("code 9999")
                .hasMessageContaining(file.toString());
        new SafetensorsWriter()
                .addI32("codes", new long[] {1, 3, 3}, new int[9])
                .write(file);
        assertThatThrownBy(() -> Training.finetune(model, run(file, 1, RATE, 1), temp.resolve("o"), new Losses()))
                .hasMessageContaining("multiples of");
    }

    /// The published file of Janus-Pro is PyTorch's own; what is written from it is safetensors under the same names.
    @Test
    void pytorchFilesBecomeSafetensors() throws IOException {
        Path model = temp.resolve("original");
        copy(LmFixture.folder("janus"), model);
        Path original = LmFixture.folder("janus").resolve("../../pytorch/janus_original");
        for (String file : List.of("config.json", "pytorch_model.bin")) {
            Files.copy(original.resolve(file), model.resolve(file), StandardCopyOption.REPLACE_EXISTING);
        }
        Files.delete(model.resolve("model.safetensors"));
        ModelDescription d = ModelDescription.read(model);
        Path out = temp.resolve("out");
        Training.finetune(model, run(codes(d, grid(d)), 2, RATE, 8), out, new Losses());
        assertThat(out.resolve("pytorch_model.bin")).doesNotExist();
        try (SafetensorsFile file = SafetensorsFile.open(out.resolve("model.safetensors"))) {
            assertThat(file.names()).contains("gen_embed.weight", "gen_head.vision_head.weight");
            assertThat(file.tensor("gen_embed.weight").data().get(ValueLayout.JAVA_BYTE, 0))
                    .isNotNull();
        }
        assertThat(passes(out, d)).isPositive();
    }
}
