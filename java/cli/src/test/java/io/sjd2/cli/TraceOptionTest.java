package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.sjd2.io.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// `generate --trace`: both files, and what a browser makes of the page.
class TraceOptionTest {
    private static final List<String> BROWSERS = List.of("chromium", "chromium-browser", "google-chrome", "chrome");

    @TempDir
    static Path folder;

    private static Session session;

    @BeforeAll
    static void generate() throws IOException {
        String model = TinyModel.write(folder.resolve("tiny"), true).toString();
        session = Session.run(
                "generate",
                "a star",
                "--model",
                model,
                "--n",
                "2",
                "--window",
                "12",
                "--out",
                folder.resolve("pictures").toString(),
                "--trace",
                folder.resolve("star.html").toString(),
                "--json");
    }

    @Test
    void bothFilesAreWrittenAndNamed() throws IOException {
        assertThat(session.code()).as(session.err()).isZero();
        assertThat(session.err())
                .contains(
                        folder.resolve("star.json").toString(),
                        folder.resolve("star.html").toString());
        Json trace = Json.read(folder.resolve("star.json"));
        List<Json> pictures = trace.get("pictures").items();
        assertThat(pictures).hasSize(2);
        List<Json> reports = Json.parse(session.out(), "standard output").items();
        for (int i = 0; i < 2; i++) {
            assertThat(pictures.get(i).get("trace").items())
                    .hasSize(reports.get(i).get("passes").int32());
        }
        assertThat(TinyModel.files(folder)).containsExactly("pictures", "star.html", "star.json", "tiny");
    }

    @Test
    void aPlaceThatCannotBeWrittenIsToldBeforeTheWork() throws IOException {
        Path target = folder.resolve("nowhere/star.html");
        Session refused = Session.run(
                "generate",
                "a star",
                "--model",
                folder.resolve("tiny").toString(),
                "--out",
                folder.resolve("refused.png").toString(),
                "--trace",
                target.toString());
        assertThat(refused.code()).isEqualTo(Errors.FAILURE);
        assertThat(refused.firstError()).contains("nowhere", "does not exist");
        assertThat(folder.resolve("refused.png")).doesNotExist();
    }

    /// Skipped where no browser is; `apt-get install chromium` brings one.
    @Test
    void aBrowserShowsThePass() throws IOException, InterruptedException {
        String browser =
                BROWSERS.stream().filter(TraceOptionTest::onPath).findFirst().orElse(null);
        assumeTrue(browser != null, "no browser (" + String.join(", ", BROWSERS) + ") is on the path");
        Path dom = folder.resolve("dom.html");
        Process process = new ProcessBuilder(
                        browser,
                        "--headless=new",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--user-data-dir=" + Files.createTempDirectory("sjd2-browser"),
                        "--virtual-time-budget=5000",
                        "--dump-dom",
                        folder.resolve("star.html").toUri() + "#picture=2&pass=3&position=1")
                .redirectOutput(dom.toFile())
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        boolean ended = process.waitFor(120, TimeUnit.SECONDS);
        process.destroyForcibly();
        assumeTrue(ended && process.exitValue() == 0, browser + " does not run here");
        String page = Files.readString(dom);
        assertThat(page).contains("data-state=\"ready\"").doesNotContain("data-state=\"error");
        assertThat(page)
                .contains("Pass 3 of ", "<h1 id=\"prompt\">a star</h1>", "class=\"slot", "class=\"bar now\"")
                .contains("pass 1: noise at noise level 2");
        // Twelve slots in the strip, and as many rows in the table.
        assertThat(page.split("<li class=\"slot", -1)).hasSize(13);
        assertThat(page.substring(page.indexOf("<tbody id=\"rows\">"), page.indexOf("</tbody>"))
                        .split("<tr>", -1))
                .hasSize(13);
    }

    private static boolean onPath(String program) {
        return Stream.of(System.getenv().getOrDefault("PATH", "").split(":"))
                .map(entry -> Path.of(entry, program))
                .anyMatch(Files::isExecutable);
    }
}
