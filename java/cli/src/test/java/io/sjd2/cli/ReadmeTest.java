package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What the README shows is what works.
class ReadmeTest {
    private static final Path HOME = Path.of(System.getProperty("sjd2.home"));

    @TempDir
    Path folder;

    /// Compiles and runs the library example as the README says, over a tiny model in the bundled one's place.
    @Test
    void libraryExampleRuns() throws IOException, InterruptedException {
        Matcher block = Pattern.compile("```java\\n(.*?)```", Pattern.DOTALL).matcher(readme());
        assertThat(block.find()).isTrue();
        String example = block.group(1);
        assertThat(example.lines().count()).as("a short example").isLessThanOrEqualTo(14);
        TinyModel.write(Files.createDirectories(folder.resolve("models")).resolve("demo"), false);
        Files.writeString(folder.resolve("Example.java"), example);
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path")));
        if (System.getProperty("sjd2.native.dir") != null) {
            command.add("-Dsjd2.native.dir=" + System.getProperty("sjd2.native.dir"));
        }
        command.add("Example.java");
        Path output = folder.resolve("output.txt");
        Process process = new ProcessBuilder(command)
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .redirectOutput(output.toFile())
                .start();
        assertThat(process.waitFor()).as("%s", Files.readString(output)).isZero();
        assertThat(Files.readString(output)).contains("passes for 256 tokens");
        assertThat(folder.resolve("star.png")).isNotEmptyFile();
    }

    @Test
    void everyLinkLeadsToAFile() throws IOException {
        Matcher link = Pattern.compile("\\]\\(([^)#:]+)(#[^)]*)?\\)").matcher(readme());
        int links = 0;
        while (link.find()) {
            links++;
            assertThat(HOME.resolve(link.group(1))).exists();
        }
        assertThat(links).isPositive();
    }

    @Test
    void everyDecoderIsExplained() throws IOException {
        for (String name : new DecodingOptions.Decoders()) {
            assertThat(readme()).contains("`" + name + "`");
        }
    }

    private static String readme() throws IOException {
        return Files.readString(HOME.resolve("README.md"));
    }
}
