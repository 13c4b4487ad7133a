package io.sjd2.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/// A Java process of its own, for what a process can do only once: loading classes and native libraries.
final class ChildProcess {
    private ChildProcess() {}

    /// Runs `main` and answers what it prints, line by line.
    ///
    /// @param without  regular expression of file names of the class path that are left out
    /// @param options  of the virtual machine
    static List<String> run(Class<?> main, String without, List<String> options, String... arguments)
            throws IOException, InterruptedException {
        String path = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(entry -> !Path.of(entry).getFileName().toString().matches(without))
                .collect(Collectors.joining(File.pathSeparator));
        List<String> command = new ArrayList<>(List.of(
                ProcessHandle.current().info().command().orElseThrow(),
                "--enable-native-access=ALL-UNNAMED",
                "-Dsjd2.cuda.dir=" + System.getProperty("sjd2.cuda.dir", "")));
        command.addAll(options);
        command.addAll(List.of("-cp", path, main.getName()));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
        return output.lines().toList();
    }
}
