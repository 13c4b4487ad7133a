package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.model.LmFixture;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.RgbImage;
import io.sjd2.vq.ImageTokenizers;
import io.sjd2.vq.PatchTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// From a published family's folder to the picture, through the engine alone, against the references' pictures.
class FamilyPicturesTest {
    private static final double MOST_BYTES_OFF = 0.005;

    @TempDir
    Path folder;

    static Stream<Arguments> families() {
        return Stream.of("reference", "cpu")
                .flatMap(backend -> Stream.of("chameleon", "emu3", "janus", "llamagen_t2i")
                        .map(name -> Arguments.of(name, backend)));
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.createDirectories(to);
        try (Stream<Path> files = Files.list(from)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Files.copy(file, to.resolve(file.getFileName()));
            }
        }
    }

    /// A folder as published: the image tokeniser among the model's weights, or in a folder of its own.
    private Path published(String name) throws IOException {
        Path model = LmFixture.folder(name);
        copy(model, folder);
        Path vq = model.resolve("../../vq").resolve(name);
        switch (name) {
            case "chameleon" -> copy(vq.resolve("vqgan"), folder.resolve("vqgan"));
            case "llamagen_t2i" -> copy(vq.resolve("vq"), folder.resolve("vq"));
            default -> {}
        }
        return folder;
    }

    private static Json golden(String name) throws IOException {
        for (Json each : Json.read(LmFixture.folder(name).resolve("golden/golden.json"))
                .get("cases")
                .items()) {
            if (each.get("name").string().equals("e2e")) {
                return each;
            }
        }
        throw new AssertionError(name + " has no whole picture");
    }

    private static @Nullable Condition condition(SafetensorsFile file) throws IOException {
        if (!file.has("cond.caption")) {
            return null;
        }
        int[] mask = file.tensor("cond.mask").toInts();
        boolean[] live = new boolean[mask.length];
        for (int i = 0; i < mask.length; i++) {
            live[i] = mask[i] != 0;
        }
        return new Condition.Caption(file.tensor("cond.caption").toFloats(), live);
    }

    @ParameterizedTest
    @MethodSource("families")
    void thePictureIsTheReferences(String name, String backend) throws IOException {
        Path model = published(name);
        Json golden = golden(name);
        List<Json> grid = golden.get("grid").items();
        String file = name.startsWith("llamagen") ? "lm" : "gen";
        try (SafetensorsFile goldens =
                        SafetensorsFile.open(LmFixture.folder(name).resolve("golden/" + file + ".safetensors"));
                Engine engine = Engine.open(
                        model,
                        EngineOptions.defaults()
                                .withBackend(backend)
                                .withDtype(DType.F32)
                                .withThreads(2))) {
            int pixels = engine.info().imageWidth() / engine.info().gridWidth();
            GenerationRequest.Target target = new GenerationRequest.Target(
                    grid.get(1).int32() * pixels,
                    grid.get(0).int32() * pixels,
                    golden.has("negative_prompt")
                            ? golden.get("negative_prompt").string()
                            : null,
                    condition(goldens));
            GenerationRequest request = new GenerationRequest(
                    golden.has("prompt") ? golden.get("prompt").string() : "",
                    true,
                    1,
                    0,
                    "sjd",
                    null,
                    4,
                    null,
                    null,
                    golden.get("guidance_scale").number(),
                    null,
                    1,
                    null,
                    target);
            Pixels watching = new Pixels();
            GeneratedImage made = engine.generate(request, watching).getFirst();
            assertThat(watching.done).as("FLOP at the end").isPositive().isEqualTo(watching.total);
            int[] codes =
                    Arrays.stream(made.codes()).flatMapToInt(Arrays::stream).toArray();
            assertThat(codes).containsExactly(goldens.tensor("e2e.codes").toInts());
            assertSamePicture(goldens.tensor("e2e.image").toFloats(), made.image(), name.startsWith("llamagen"));
        }
    }

    /// Follows how far the picture is.
    private static final class Pixels implements GenerationListener {
        private long done;
        private long total;

        @Override
        public void decoding(int index, long now, long all) {
            assertThat(index).isZero();
            assertThat(now).as("of %d FLOP, after %d", all, done).isBetween(done, all);
            done = now;
            total = all;
        }
    }

    /// @param planes  `[3, height, width]`
    /// @param nearest whether bytes are rounded to nearest, not cut off
    private static void assertSamePicture(float[] planes, RgbImage image, boolean nearest) {
        int n = image.width() * image.height();
        assertThat(planes).hasSize(3 * n);
        int off = 0;
        for (int p = 0; p < n; p++) {
            for (int c = 0; c < 3; c++) {
                float unit = (Math.clamp(planes[c * n + p], -1f, 1f) + 1) / 2;
                int expected = (int) Math.min(255, unit * 255 + (nearest ? 0.5f : 0));
                int difference = Math.abs(expected - (image.rgb()[3 * p + c] & 0xff));
                assertThat(difference).as("pixel %d, channel %d", p, c).isLessThanOrEqualTo(1);
                off += difference;
            }
        }
        assertThat(off).as("bytes that differ").isLessThanOrEqualTo((int) (3 * n * MOST_BYTES_OFF));
    }

    @Test
    void aTokeniserOfAnotherModelIsRefused() throws IOException {
        copy(LmFixture.folder("chameleon"), folder);
        // The demo's patches: another number of codes on a grid of one size.
        PatchTokenizer patches = new PatchTokenizer(new float[3 * 7], 7, 1, 4, 4);
        ImageTokenizers.save(patches, folder.resolve("vq"));
        assertThatThrownBy(() -> Engine.open(folder, EngineOptions.defaults()).close())
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("4 x 4")
                .hasMessageContaining("different models");
    }

    @Test
    void aFolderWithoutATokeniserIsRefusedBeforeTheModelLoads() throws IOException {
        copy(LmFixture.folder("chameleon"), folder);
        EngineOptions options = EngineOptions.defaults().withListener((done, total) -> {
            throw new AssertionError("the model is loaded");
        });
        assertThatThrownBy(() -> Engine.open(folder, options).close())
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("no image tokeniser");
    }
}
