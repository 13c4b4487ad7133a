package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CommandsTest {
    @TempDir
    Path folder;

    @Test
    void inspectTellsShapesAndDefaults() throws IOException {
        String model = TinyModel.write(folder.resolve("tiny"), true).toString();
        Json json =
                Json.parse(Session.run("inspect", "--model", model, "--json").out(), "standard output");
        assertThat(json.get("tokens_per_image").int32()).isEqualTo(256);
        assertThat(json.get("image_width").int32()).isEqualTo(64);
        assertThat(json.get("fine_tuned").bool()).isTrue();
        assertThat(json.get("defaults").get("decoder").string()).isEqualTo("sjd2-mc");
        assertThat(json.get("defaults").get("top_k").int32()).isEqualTo(20);
        assertThat(json.get("parameters").int64()).isPositive();
        assertThat(Session.run("inspect", "--model", model).out()).contains("parameters", "16 x 16", "sjd2-mc");
    }

    @Test
    void doctorTellsWhatIsChosenAndWhyNotBetter() throws IOException {
        String model = TinyModel.write(folder.resolve("tiny"), false).toString();
        Session session = Session.run("doctor", "--model", model);
        assertThat(session.code()).as(session.out()).isZero();
        assertThat(session.out()).contains("java", "machine", "backend", "chosen", "reference", model);
        Json json = Json.parse(Session.run("doctor", "--model", model, "--json").out(), "standard output");
        assertThat(json.get("backends").items()).isNotEmpty();
        assertThat(json.get("model").get("opens").bool()).isTrue();
    }

    @Test
    void doctorFailsWhereNoPictureCanBeMade() {
        Session session =
                Session.run("doctor", "--model", folder.resolve("nowhere").toString());
        assertThat(session.code()).isEqualTo(1);
        assertThat(session.out()).contains("does not open", "nowhere");
    }

    @ParameterizedTest
    @ValueSource(strings = {"generate", "compare", "evaluate", "inspect", "doctor"})
    void everyCommandHasHelpWithoutAModel(String command) {
        Session session = Session.run(command, "--help");
        assertThat(session.code()).isZero();
        assertThat(session.err()).isEmpty();
        assertThat(session.out()).contains("Usage: sjd2 " + command, "--model", "Example");
        assertThat(Session.run("help", command).out()).isEqualTo(session.out());
    }

    @Test
    void versionNamesTheCommit() {
        Session session = Session.run("--version");
        assertThat(session.code()).isZero();
        assertThat(session.out()).contains("sjd2 ", "commit ", "Java ");
    }

    @Test
    void completionKnowsEveryCommandAndDecoder() {
        Session session = Session.run("generate-completion");
        assertThat(session.code()).isZero();
        assertThat(session.out()).contains("compare", "--tokens-out", "sjd2-exact");
    }

    @Test
    void interruptEndsWithItsExitCodeAndWritesNothing() throws IOException {
        String model = TinyModel.write(folder.resolve("tiny"), false).toString();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        Console console = new Console(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                0);
        console.cancel();
        Path target = folder.resolve("x.png");
        int code = Sjd2.run(
                console, "generate", "--model", model, "--out", target.toString(), "--window", "8", "--json", "a star");
        assertThat(code).isEqualTo(130);
        assertThat(new Session(code, out, err).out()).isEmpty();
        assertThat(target).doesNotExist();
    }
}
