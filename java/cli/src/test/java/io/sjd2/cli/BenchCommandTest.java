package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class BenchCommandTest {
    @TempDir
    Path home;

    private static BenchCommand parsed(String... args) {
        PrintStream nowhere = new PrintStream(new ByteArrayOutputStream());
        BenchCommand command = new BenchCommand(new Console(nowhere, nowhere, 0));
        new CommandLine(command).parseArgs(args);
        return command;
    }

    @Test
    void startsTheBenchmarksWithWhatWasAskedFor() throws IOException {
        Files.createDirectories(home.resolve("benchmarks/target"));
        Files.createFile(home.resolve("benchmarks/target/sjd2-benchmarks.jar"));
        assertThat(parsed("--quick", "--json", "--only", "matmul,load", "--threads", "2", "--out", "r.json")
                        .commandLine(home))
                .contains("-Dsjd2.home=" + home, "io.sjd2.benchmarks.BenchMain", "--quick", "--json")
                .containsSequence("--threads", "2", "--only", "matmul", "--only", "load", "--out")
                .anyMatch(argument -> argument.endsWith("sjd2-benchmarks.jar:" + home + "/benchmarks/target/lib/*"));
    }

    @Test
    void peersRunWithTheirOwnClassPathAndUnpackInTheBuildFolder() throws IOException {
        Files.createDirectories(home.resolve("benchmarks/peers/target"));
        Files.createFile(home.resolve("benchmarks/peers/target/sjd2-peers.jar"));
        assertThat(parsed("--peers", "--quick", "--publish").commandLine(home))
                .contains("--peers", "-Dorg.bytedeco.javacpp.cachedir=" + home + "/build/peers")
                .containsSequence("--store", home + "/benchmarks")
                .anyMatch(argument -> argument.endsWith("sjd2-peers.jar:" + home + "/benchmarks/peers/target/lib/*"));
        assertThatThrownBy(() -> parsed().commandLine(home)).hasMessageContaining("sjd2-benchmarks.jar is missing");
    }

    @Test
    void saysHowToBuildWhatIsMissing() {
        assertThatThrownBy(() -> parsed().commandLine(home))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("sjd2-benchmarks.jar is missing")
                .hasMessageContaining("mvn");
    }

    @Test
    void helpNamesTheFieldsOfAResult() {
        Session session = Session.run("bench", "--help");
        assertThat(session.code()).isZero();
        assertThat(session.out()).contains("Usage: sjd2 bench", "roofline_share", "--quick");
        assertThat(Session.run("bench", "--threads", "-1").code()).isEqualTo(Errors.USAGE);
    }
}
