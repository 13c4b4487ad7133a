package io.sjd2.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.KernelException;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/// What an embedder sees who left JCuda out: in a process of its own, as classes are loaded once.
class WithoutJCudaTest {
    /// Opens what it is told to and prints the backend's name, or why there is none.
    static final class Program {
        private Program() {}

        public static void main(String[] names) {
            for (String name : names) {
                try (Backend backend = Backends.open(name, 1)) {
                    System.out.println(backend.name());
                } catch (KernelException e) {
                    System.out.println(e.getMessage());
                }
            }
        }
    }

    @Test
    void theCpuWorksAndTheDeviceSaysWhatIsMissing() throws IOException, InterruptedException {
        List<String> lines = run("auto", "cuda-emulated", "cpu");
        assertThat(lines).hasSize(3);
        assertThat(lines.get(0)).startsWith("cpu-");
        assertThat(lines.get(1)).contains("JCuda is not on the class path", "--backend cpu");
        assertThat(lines.get(2)).startsWith("cpu-");
    }

    private static List<String> run(String... names) throws IOException, InterruptedException {
        String path = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(entry -> !Path.of(entry).getFileName().toString().matches("j(cuda|cublas).*"))
                .collect(Collectors.joining(File.pathSeparator));
        List<String> command = Stream.concat(
                        Stream.of(
                                ProcessHandle.current().info().command().orElseThrow(),
                                "--enable-native-access=ALL-UNNAMED",
                                "-Dsjd2.cuda.dir=" + System.getProperty("sjd2.cuda.dir", ""),
                                "-cp",
                                path,
                                Program.class.getName()),
                        Arrays.stream(names))
                .toList();
        Process process = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
        return output.lines().toList();
    }
}
