package io.sjd2.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.BackendProvider;
import io.sjd2.kernel.KernelException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.stream.Stream;
import jcuda.driver.JCudaDriver;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Where JCuda's native libraries are unpacked, and what becomes of a temporary folder that others write to as well. In
/// processes of their own, as classes are loaded once.
class JCudaUnpackingTest {
    private static final String NOTHING = "";
    private static final List<String> NATIVES =
            List.of("libJCudaDriver-12.6.0-linux-x86_64.so", "libJCublas2-12.6.0-linux-x86_64.so");

    @TempDir
    Path folder;

    /// Does as it is told and says what came of it.
    static final class Program {
        private Program() {}

        public static void main(String[] words) throws IOException {
            for (String word : words) {
                System.out.println(
                        switch (word) {
                            case "open" -> opened();
                            case "doctor" -> probed();
                            case "folder" -> privateFolder();
                            case "bare" -> bare();
                            default -> throw new IllegalArgumentException(word);
                        });
            }
        }

        /// With cuBLAS, whose binding is unpacked, too.
        private static String opened() {
            try (Backend backend = CudaProvider.open(CudaDriver.Kind.EMULATED)) {
                return backend.name() + ", " + ((CudaBackend) backend).productsDescription();
            } catch (KernelException e) {
                return e.getMessage();
            }
        }

        private static String probed() {
            BackendProvider.Probe probe = CudaProvider.probe(CudaDriver.Kind.EMULATED);
            return probe.available() + ": " + probe.reason();
        }

        private static String privateFolder() throws IOException {
            String shared = System.getProperty("java.io.tmpdir");
            Path[] inside = new Path[1];
            String[] permissions = new String[1];
            CudaDriver.withPrivateFolder(() -> {
                inside[0] = Path.of(System.getProperty("java.io.tmpdir"));
                try {
                    Files.createFile(inside[0].resolve("unpacked"));
                    permissions[0] = PosixFilePermissions.toString(Files.getPosixFilePermissions(inside[0]));
                } catch (IOException e) {
                    throw new AssertionError(e);
                }
            });
            return permissions[0] + " " + inside[0].getParent() + " " + Files.exists(inside[0]) + " "
                    + System.getProperty("java.io.tmpdir").equals(shared);
        }

        /// As JCuda loads when nobody takes care.
        private static String bare() {
            try {
                JCudaDriver.setExceptionsEnabled(false);
                return "loaded";
            } catch (LinkageError e) {
                return "refused";
            }
        }
    }

    @BeforeEach
    void needsTheEmulatedDriver() {
        assumeTrue(
                CudaDriver.find(CudaDriver.Kind.EMULATED).isPresent(),
                "the emulated CUDA libraries are not here: build them and set -D" + CudaDriver.DIRECTORY_PROPERTY);
    }

    private List<String> run(Path temporary, String without, String... words) throws IOException, InterruptedException {
        return ChildProcess.run(Program.class, without, List.of("-Djava.io.tmpdir=" + temporary), words);
    }

    private List<String> left() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(file -> file.getFileName().toString()).sorted().toList();
        }
    }

    @Test
    void nothingIsLeft() throws IOException, InterruptedException {
        List<String> lines = run(folder, NOTHING, "open", "open");
        assertThat(lines)
                .hasSize(2)
                .allSatisfy(
                        line -> assertThat(line).startsWith("cuda-emulated, ").contains("through JCublas"));
        assertThat(left()).isEmpty();
    }

    @Test
    void theFolderIsTheOwnersAloneAndGoes() throws IOException, InterruptedException {
        assertThat(run(folder, NOTHING, "folder")).containsExactly("rwx------ " + folder + " false true");
        assertThat(left()).isEmpty();
    }

    @Test
    void whatOthersPutIntoTheSharedFolderIsNotLoaded() throws IOException, InterruptedException {
        for (String name : NATIVES) {
            Files.writeString(folder.resolve(name), "not a library");
        }
        assertThat(run(folder, NOTHING, "bare")).as("JCuda by itself").containsExactly("refused");
        assertThat(run(folder, NOTHING, "open").getFirst())
                .startsWith("cuda-emulated, ")
                .contains("through JCublas");
        assertThat(left()).containsExactlyElementsOf(NATIVES.stream().sorted().toList());
        for (String name : NATIVES) {
            assertThat(folder.resolve(name)).hasContent("not a library");
        }
    }

    @Test
    void aFolderThatCannotBeWrittenIsNamedAndSoIsTheRemedy() throws IOException, InterruptedException {
        Path missing = folder.resolve("missing");
        Path file = Files.createFile(folder.resolve("file"));
        for (Path unusable : List.of(missing, file)) {
            List<String> lines = run(unusable, NOTHING, "open", "doctor");
            String said = "JCuda cannot be unpacked into " + unusable + ": ";
            assertThat(lines.get(0)).startsWith(said).contains("-Djava.io.tmpdir");
            assertThat(lines.get(1)).startsWith("false: " + said).contains("-Djava.io.tmpdir");
        }
        assertThat(left()).containsExactly("file");
    }

    @Test
    void missingNativesAreNamedEachTime() throws IOException, InterruptedException {
        List<String> lines = run(folder, "jcuda-natives.*", "open", "doctor");
        assertThat(lines.get(0)).startsWith("JCuda cannot be loaded: ").contains("natives for this platform");
        assertThat(lines.get(1)).startsWith("false: JCuda cannot be loaded: ");
        assertThat(left()).isEmpty();
    }
}
