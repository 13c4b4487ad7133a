package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PngReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CompareCommandTest {
    @TempDir
    static Path shared;

    private static String model;

    @TempDir
    Path folder;

    @BeforeAll
    static void writeModel() throws IOException {
        model = TinyModel.write(shared.resolve("tiny"), true).toString();
    }

    @Test
    void everyDecoderAndWindowGetsItsRow() throws IOException {
        Path sheet = folder.resolve("sheet.png");
        Session session = Session.run(
                "compare",
                "--model",
                model,
                "--held-out",
                "3",
                "--decoders",
                "ar,exact,sjd2-mc",
                "--windows",
                "4,16",
                "--sheet",
                sheet.toString(),
                "--json");
        assertThat(session.code()).as(session.err()).isZero();
        List<Json> rows = Json.parse(session.out(), "standard output").items();
        assertThat(rows).hasSize(5);
        assertThat(rows.stream().map(row -> word(row, "decoder")).toList())
                .containsExactly("ar", "exact", "exact", "sjd2-mc", "sjd2-mc");
        for (Json row : rows) {
            assertThat(row.get("images").int32()).isEqualTo(3);
            for (String name :
                    List.of("passes", "step_compression", "ms_per_pass", "seconds", "conversion", "nll", "fidelity")) {
                double value = row.get(name).number();
                assertThat(row.get(name + "_ci").items().get(0).number())
                        .as(name)
                        .isLessThanOrEqualTo(value);
                assertThat(row.get(name + "_ci").items().get(1).number())
                        .as(name)
                        .isGreaterThanOrEqualTo(value);
            }
            Json lost = row.get("conversion_lost");
            assertThat(row.get("conversion").number()
                            + lost.get("pass_growth").number()
                            + lost.get("verification").number()
                            + lost.get("host").number())
                    .as("conversion and what was lost")
                    .isCloseTo(1, org.assertj.core.data.Offset.offset(1e-9));
            assertThat(row.get("step_compression").number())
                    .isCloseTo(256 / row.get("passes").number(), org.assertj.core.data.Offset.offset(1e-9));
        }
        assertThat(rows.get(0).get("passes").number()).isEqualTo(256);
        assertThat(rows.get(0).get("conversion").number()).isEqualTo(1);
        assertThat(rows.get(1).get("nll_gap").number())
                .as("exact makes the pictures of ar")
                .isZero();
        assertThat(PngReader.read(sheet).width()).isEqualTo(4 + 5 * (2 * 64 + 4));
        assertThat(PngReader.read(sheet).height()).isEqualTo(4 + 3 * (2 * 64 + 4));
    }

    @Test
    void withoutABaselineThereIsNoConversion() throws IOException {
        Session session = Session.run(
                "compare",
                "--model",
                model,
                "--held-out",
                "1",
                "--decoders",
                "sjd",
                "--windows",
                "8",
                "--no-sheet",
                "--json");
        Json row = Json.parse(session.out(), "standard output").items().get(0);
        assertThat(row.keys()).contains("conversion", "conversion_ci");
        assertThat(row.has("conversion")).isFalse();
        assertThat(row.has("conversion_lost")).isFalse();
        assertThat(row.has("passes_ci")).as("one picture has no spread").isFalse();
    }

    @Test
    void tableNamesEveryDecoder() throws IOException {
        Path prompts = Files.writeString(folder.resolve("prompts.txt"), "a red circle\nsomething else\n");
        Session session = Session.run(
                "compare",
                "--model",
                model,
                "--prompts",
                prompts.toString(),
                "--decoders",
                "ar,sjd-mc",
                "--windows",
                "8",
                "--no-sheet");
        assertThat(session.code()).isZero();
        assertThat(session.out()).contains("decoder", "conversion", "ar", "sjd-mc");
        assertThat(session.err()).contains("warning", "something");
    }

    @Test
    void evaluateReportsShares() throws IOException {
        Path sheet = folder.resolve("sheet.png");
        Path images = folder.resolve("images");
        Session session = Session.run(
                "evaluate",
                "--model",
                model,
                "--held-out",
                "4",
                "--window",
                "8",
                "--sheet",
                sheet.toString(),
                "--images",
                images.toString(),
                "--json");
        assertThat(session.code()).as(session.err()).isZero();
        Json report = Json.parse(session.out(), "standard output");
        assertThat(report.get("decoder").string()).isEqualTo("sjd2-mc");
        assertThat(report.get("fidelity").number()).isBetween(0.0, 1.0);
        assertThat(report.get("fidelity_shape").number()).isBetween(0.0, 1.0);
        assertThat(TinyModel.files(images)).hasSize(4);
        assertThat(PngReader.read(sheet).height()).isEqualTo(64 + 2 * 4);
        Session text = Session.run("evaluate", "--model", model, "--held-out", "2", "--window", "8");
        assertThat(text.out()).contains("right colour and place", "%", "log-likelihood");
    }

    private static String word(Json row, String name) {
        try {
            return row.get(name).string();
        } catch (ModelFormatException e) {
            throw new AssertionError(e);
        }
    }
}
