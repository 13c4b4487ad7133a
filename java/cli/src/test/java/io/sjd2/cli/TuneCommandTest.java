package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.io.PngReader;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// `tune` measures, explains, draws and remembers; `generate` says where its window came from. No time is judged.
class TuneCommandTest {
    private static final String CACHE = "sjd2.cache";

    @TempDir
    static Path folder;

    private static String model;
    private static String before;

    @BeforeAll
    static void useAnEmptyCache() throws IOException {
        model = TinyModel.write(folder.resolve("tiny"), true).toString();
        before = System.getProperty(CACHE);
        System.setProperty(CACHE, folder.resolve("cache").toString());
    }

    @AfterAll
    static void putTheCacheBack() {
        if (before == null) {
            System.clearProperty(CACHE);
        } else {
            System.setProperty(CACHE, before);
        }
    }

    private static Json generate(String... more) throws IOException {
        String[] args = new String[more.length + 7];
        List<String> fixed = List.of(
                "generate",
                "a star",
                "--model",
                model,
                "--json",
                "--out",
                folder.resolve("x.png").toString());
        for (int i = 0; i < args.length; i++) {
            args[i] = i < fixed.size() ? fixed.get(i) : more[i - fixed.size()];
        }
        Session session = Session.run(args);
        assertThat(session.code()).as(session.err()).isZero();
        return Json.parse(session.out(), "standard output");
    }

    @Test
    void tellsTheCurveTheChoiceAndThePrediction() throws IOException {
        Path chart = folder.resolve("curve.png");
        Session session = Session.run("tune", "--model", model, "--chart", chart.toString(), "--json");
        assertThat(session.code()).as(session.err()).isZero();
        Json json = Json.parse(session.out(), "standard output");
        assertThat(json.get("decoder").string()).isEqualTo("sjd2-mc");
        assertThat(json.get("source").string()).isEqualTo("measured");
        assertThat(json.get("tokens").int32()).isEqualTo(256);
        assertThat(json.get("tokens_per_pass_recorded").bool()).isFalse();
        assertThat(json.get("chart").string()).isEqualTo(chart.toString());
        List<Json> points = json.get("points").items();
        assertThat(points.getFirst().get("window").int32()).isOne();
        assertThat(points.getLast().get("window").int32()).isEqualTo(96);
        double before = 0;
        boolean chosen = false;
        for (Json point : points) {
            double millis = point.get("ms_per_pass").number();
            assertThat(millis).isGreaterThan(0).isGreaterThanOrEqualTo(before);
            before = millis;
            if (point.get("window").int32() == json.get("window").int32()) {
                chosen = true;
                assertThat(point.get("predicted_seconds").number())
                        .isEqualTo(json.get("predicted_seconds").number());
            }
        }
        assertThat(chosen).isTrue();
        RgbImage image = PngReader.read(chart);
        assertThat(image.width()).isGreaterThan(600);
        assertThat(PngReader.text(chart)).containsKey("Title");
        Path cache = Path.of(json.get("cache").string());
        assertThat(cache).exists().hasParent(folder.resolve("cache"));
    }

    @Test
    void theTerminalShowsTheSame() throws IOException {
        Path chart = folder.resolve("terminal.png");
        Session session =
                Session.run("tune", "--model", model, "--decoder", "exact", "--cfg", "1", "--chart", chart.toString());
        assertThat(session.code()).as(session.err()).isZero();
        assertThat(session.out())
                .contains("window", "ms/pass", "<- auto", "█", "for exact:", "predicted:", "kept in", chart.toString())
                .contains("no record of its own");
        assertThat(session.out().lines().filter(line -> line.contains("<- auto")))
                .hasSize(1);
        assertThat(Files.size(chart)).isPositive();
    }

    @Test
    void generateSaysWhereItsWindowCameFrom() throws IOException {
        assertThat(generate("--decoder", "sjd").get("window_source").string()).isEqualTo("measured");
        assertThat(generate("--decoder", "sjd").get("window_source").string()).isEqualTo("cached");
        assertThat(generate("--window", "8").get("window_source").string()).isEqualTo("given");
        assertThat(generate("--decoder", "ar").get("window_source").string()).isEqualTo("decoder");
        Session session = Session.run(
                "generate",
                "a star",
                "--model",
                model,
                "--decoder",
                "sjd",
                "--out",
                folder.resolve("y.png").toString());
        assertThat(session.out()).contains("(auto)", "auto: ", "measured 2", "cache");
    }

    @Test
    void refusesWhatCannotBe() throws IOException {
        String base = TinyModel.write(folder.resolve("base"), false).toString();
        Session untuned = Session.run("tune", "--model", base, "--decoder", "sjd2-mc", "--no-chart");
        assertThat(untuned.code()).isEqualTo(Errors.USAGE);
        assertThat(untuned.firstError()).contains("sjd2-mc", "fine-tune");
        Session nowhere = Session.run(
                "tune",
                "--model",
                model,
                "--chart",
                folder.resolve("no/curve.png").toString());
        assertThat(nowhere.code()).isEqualTo(Errors.FAILURE);
        assertThat(nowhere.firstError()).contains("does not exist");
        assertThat(Session.run("tune", "--model", model, "--cfg", "-1").code()).isEqualTo(Errors.USAGE);
    }
}
