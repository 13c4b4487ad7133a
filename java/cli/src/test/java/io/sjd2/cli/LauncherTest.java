package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The launcher before it has built anything: a copy in a folder of its own, with few tools on its path.
class LauncherTest {
    private static final Path BASH = Path.of("/bin/bash");

    @TempDir
    Path folder;

    private Path tools;
    private Path launcher;

    @BeforeEach
    void copyLauncher() throws IOException {
        assumeTrue(Files.isExecutable(BASH), "the launcher needs bash, which is not here");
        tools = Files.createDirectory(folder.resolve("tools"));
        for (String name : List.of("readlink", "dirname", "grep", "find", "mkdir")) {
            Path tool = Path.of("/usr/bin", name);
            provide(name, Files.exists(tool) ? tool : Path.of("/bin", name));
        }
        Path home = Files.createDirectory(folder.resolve("home"));
        launcher = Files.copy(Path.of(System.getProperty("sjd2.home"), "sjd2"), home.resolve("sjd2"));
    }

    private void provide(String name, Path tool) throws IOException {
        Path script = Files.writeString(tools.resolve(name), "#!" + BASH + "\nexec " + tool + " \"$@\"\n");
        assertThat(script.toFile().setExecutable(true)).isTrue();
    }

    private Session launch(Path script, Map<String, String> environment) throws IOException, InterruptedException {
        ProcessBuilder builder =
                new ProcessBuilder(BASH.toString(), script.toString(), "doctor").directory(folder.toFile());
        builder.environment().clear();
        builder.environment().put("PATH", tools.toString());
        builder.environment().put("JAVA_HOME", System.getProperty("java.home"));
        builder.environment().putAll(environment);
        Process process = builder.start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        String err = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        return new Session(process.waitFor(), out, err);
    }

    @Test
    void firstLineNamesEveryMissingToolAndHowToInstallIt() throws IOException, InterruptedException {
        Session session = launch(launcher, Map.of());
        assertThat(session.code()).isEqualTo(1);
        assertThat(session.firstError())
                .contains("missing: Maven, g++, CMake, make", "apt-get install maven g++ cmake make");
        for (String name : List.of("mvn", "g++", "make")) {
            provide(name, BASH);
        }
        assertThat(launch(launcher, Map.of()).firstError()).contains("missing: CMake;", "apt-get install cmake");
    }

    @Test
    void worksThroughALinkFromAnotherFolder() throws IOException, InterruptedException {
        Path link = Files.createSymbolicLink(folder.resolve("link"), launcher);
        Session session = launch(link, Map.of("SJD2_NO_BUILD", "1"));
        assertThat(session.code()).isEqualTo(1);
        assertThat(session.firstError())
                .contains(launcher.toRealPath()
                        .getParent()
                        .resolve("java/cli/target/sjd2-cli.jar")
                        .toString());
    }
}
