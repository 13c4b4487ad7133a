package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.Json;
import io.sjd2.io.PngReader;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ImageFilesTest {
    private static final GeneratedImage IMAGE = new GeneratedImage(
            3,
            "a red circle 🎈",
            -5,
            new PictureSettings(
                    GenerationRequest.of("a red circle 🎈")
                            .withDecoder("sjd2-mc")
                            .withWindow(32)
                            .withLevels(2)
                            .withRestart(6)
                            .withGuidance(1.5)
                            .withSampling(0.9, 100, 1.0)
                            .withTarget(new GenerationRequest.Target(null, null, "blur", null)),
                    "bf16",
                    "cpu-avx512"),
            RgbImage.blank(8, 8),
            new int[] {100, 101, 9, 102, 103, 9},
            new int[][] {{0, 1}, {2, 3}},
            new GenerationStatistics("sjd2-mc", 32, 2, 6, 3, 0.5, 0.3, 0.1, 0.1, 0.2, 4, 3, 2, 1, 0),
            List.of("careful"));

    private static final WindowPlan PLAN = new WindowPlan(
            "sjd2-mc",
            true,
            1,
            256,
            32,
            List.of(new WindowPlan.Point(1, 2, 1), new WindowPlan.Point(32, 4, 6)),
            true,
            WindowPlan.Origin.CACHED,
            Instant.EPOCH,
            Path.of("curve.json"));

    @TempDir
    Path folder;

    @Test
    void pngCarriesWhatMadeIt() throws IOException {
        Path file = folder.resolve("x.png");
        ImageFiles.write(file, IMAGE, "demo");
        assertThat(PngReader.text(file))
                .containsEntry("prompt", "a red circle 🎈")
                .containsEntry("seed", "-5")
                .containsEntry("index", "3")
                .containsEntry("model", "demo")
                .containsEntry("decoder", "sjd2-mc")
                .containsEntry("window", "32")
                .containsEntry("levels", "2")
                .containsEntry("restart", "6")
                .containsEntry("cfg", "1.5")
                .containsEntry("temperature", "0.9")
                .containsEntry("top_k", "100")
                .containsEntry("top_p", "1.0")
                .containsEntry("negative", "blur")
                .containsEntry("dtype", "bf16")
                .containsEntry("backend", "cpu-avx512")
                .doesNotContainKeys("class", "raw_prompt");
    }

    @Test
    void uniqueNamesOverwriteNothing() throws IOException {
        Path first = ImageFiles.writeUnique(folder, "a-star", IMAGE, "demo");
        Path second = ImageFiles.writeUnique(folder, "a-star", IMAGE, "demo");
        assertThat(first).isNotEqualTo(second).exists();
        assertThat(second).hasSameBinaryContentAs(first);
        assertThat(ImageFiles.stem("A Red/Circle\n..", 7)).isEqualTo("a-red-circle-seed7");
    }

    @Test
    void tokensFileHoldsForcedTokensAndTheGrid() throws IOException {
        Path file = folder.resolve("t.json");
        ImageFiles.writeTokens(file, IMAGE);
        assertThat(Files.readString(file).strip())
                .isEqualTo("{\"tokens\":[100,101,9,102,103,9],\"codes\":[[0,1],[2,3]]}");
    }

    @Test
    void reportHoldsThePublishedFields() throws IOException {
        Json json = Json.parse(Reports.json(Reports.of(IMAGE, PLAN, Path.of("x.png"))), "report");
        assertThat(json.get("seconds").number()).isEqualTo(0.8);
        assertThat(json.get("step_compression").number()).isEqualTo(2);
        assertThat(json.get("ms_per_pass").number()).isEqualTo(166.666667);
        assertThat(json.get("auto_window").bool()).isTrue();
        assertThat(json.get("window_source").string()).isEqualTo("cached");
        Json given = Json.parse(Reports.json(Reports.of(IMAGE, null, Path.of("x.png"))), "report");
        assertThat(given.get("auto_window").bool()).isFalse();
        assertThat(given.get("window_source").string()).isEqualTo("given");
        assertThat(json.keys())
                .contains("prompt", "seed", "decoder", "window", "passes", "tokens", "image", "index", "warnings");
    }

    @Test
    void placesThatCannotBeWrittenAreTold() {
        assertThatThrownBy(() -> ImageFiles.checkWritable(folder)).hasMessageContaining("is a folder");
        assertThatThrownBy(() -> ImageFiles.checkWritable(folder.resolve("no/x.png")))
                .hasMessageContaining("does not exist");
        if (Files.isDirectory(Path.of("/proc/self"))) {
            // A folder that claims to be writable, at least to a superuser, and takes no file.
            assertThatThrownBy(() -> ImageFiles.checkWritable(Path.of("/proc/x.png")))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("/proc/x.png: cannot be written");
            assertThatThrownBy(() -> ImageFiles.checkWritable(Path.of("/dev/null")))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("not a regular file");
        }
    }

    @Test
    void askingWhetherAPlaceCanBeWrittenLeavesNothing() throws IOException {
        Path kept = Files.writeString(folder.resolve("kept.png"), "old");
        ImageFiles.checkWritable(kept);
        ImageFiles.checkWritable(folder.resolve("new.png"));
        assertThat(kept).hasContent("old");
        try (var files = Files.list(folder)) {
            assertThat(files).containsExactly(kept);
        }
    }
}
