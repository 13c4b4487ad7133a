package io.sjd2.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.kernel.BackendProvider.Probe;
import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BackendsTest {
    private static final BackendProvider REFERENCE = new Fake("reference", 0, null);

    /// Opens the reference under another name, or refuses.
    private record Fake(String name, int priority, String refusal, boolean automatic) implements BackendProvider {
        Fake(String name, int priority, String refusal) {
            this(name, priority, refusal, true);
        }

        @Override
        public Probe probe(int threads) {
            return new Probe(refusal == null, List.of("a fake"), refusal == null ? "" : refusal);
        }

        @Override
        public Backend open(int threads) {
            if (refusal != null) {
                throw new KernelException(refusal, 0);
            }
            return Backends.open("reference", threads);
        }
    }

    @Test
    void autoTakesTheFirstThatOpensAndLogsWhyNotTheOthers() {
        List<String> lines = new ArrayList<>();
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord entry) {
                lines.add(entry.getMessage());
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        Logger logger = Logger.getLogger(Backends.class.getName());
        logger.addHandler(handler);
        try (Backend backend = Backends.open("auto", 1, List.of(new Fake("cuda", 9, "no device"), REFERENCE))) {
            assertThat(backend.name()).isEqualTo("reference");
            assertThat(lines).singleElement().isEqualTo("backend reference with 1 threads; not cuda: no device");
        } finally {
            logger.removeHandler(handler);
        }
    }

    @Test
    void autoSaysEveryReasonWhenNothingOpens() {
        List<BackendProvider> none = List.of(new Fake("cuda", 9, "no device"), new Fake("cpu", 5, "no library"));
        assertThatThrownBy(() -> Backends.open("auto", 1, none))
                .isInstanceOf(KernelException.class)
                .hasMessage("no backend can be opened: cuda: no device; cpu: no library");
    }

    @Test
    void aRequestIsNeverAnsweredWithSomethingElse() {
        assertThatThrownBy(() -> Backends.open("cuda", 1, List.of(new Fake("cuda", 9, "no device"), REFERENCE)))
                .isInstanceOf(KernelException.class)
                .hasMessage("no device");
        assertThatThrownBy(() -> Backends.open("gpu", 1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("there is no backend `gpu`, expected auto, cuda, cpu, reference, cuda-emulated");
        assertThatThrownBy(() -> Backends.open("auto", -1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("threads is -1");
        assertThatThrownBy(() -> Backends.open("auto", Integer.MAX_VALUE))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(Integer.toString(Integer.MAX_VALUE));
    }

    @Test
    void theReportMarksWhatAutoWouldTake() {
        List<Backends.Report> reports =
                Backends.report(1, List.of(new Fake("cuda", 9, "no device"), new Fake("cpu", 5, null), REFERENCE));
        assertThat(reports).extracting(Backends.Report::name).containsExactly("cuda", "cpu", "reference");
        assertThat(reports).extracting(Backends.Report::chosen).containsExactly(false, true, false);
        assertThat(reports).extracting(Backends.Report::reason).containsExactly("no device", "", "");
    }

    @Test
    void aProviderThatIsNotAutomaticIsTakenOnlyByName() {
        List<BackendProvider> providers = List.of(new Fake("emulated", 9, null, false), REFERENCE);
        try (Backend backend = Backends.open("auto", 1, providers)) {
            assertThat(backend.name()).isEqualTo("reference");
        }
        assertThat(Backends.report(1, providers))
                .extracting(Backends.Report::available)
                .containsExactly(true, true);
        assertThat(Backends.report(1, providers))
                .extracting(Backends.Report::chosen)
                .containsExactly(false, true);
    }

    @Test
    void autoTrainsOnWhatCan() {
        try (Backend backend = Backends.openForTraining("auto", 1)) {
            assertThat(backend.training()).isNotNull();
        }
        try (Backend backend = Backends.openForTraining("reference", 1)) {
            assertThatThrownBy(backend::training).isInstanceOf(UnsupportedOperationException.class);
        }
    }

    @Test
    void theCpuComesBetweenTheDeviceAndTheReference() {
        assertThat(Backends.names()).containsExactly("auto", "cuda", "cpu", "reference", "cuda-emulated");
        List<Backends.Report> reports = Backends.report(2);
        Backends.Report cuda = reports.get(0);
        Backends.Report cpu = reports.get(1);
        assertThat(cuda.available() || !cuda.reason().isEmpty()).isTrue();
        assertThat(cpu.available()).as(cpu.reason()).isTrue();
        assertThat(cpu.chosen()).isEqualTo(!cuda.available());
        String isas = String.join(", ", CpuLibrary.get().availableIsas());
        assertThat(cpu.detail())
                .anyMatch(line -> line.startsWith("instruction set ") && line.contains(isas))
                .contains("2 threads");
        try (Backend backend = Backends.open("auto", 2)) {
            assertThat(backend.name())
                    .startsWith(
                            cuda.available()
                                    ? "cuda-"
                                    : "cpu-" + CpuLibrary.get().isa());
        }
        try (Backend backend = Backends.open("cpu", 2)) {
            assertThat(backend.training()).isNotNull();
        }
    }

    @Test
    void everyCoreIsTakenUnlessToldOtherwise() {
        try (Backend backend = Backends.open("cpu", 0)) {
            assertThat(backend.threads()).isBetween(1, Runtime.getRuntime().availableProcessors());
        }
    }

    @Test
    void theReferenceNamesWhatTrains() {
        try (Backend backend = Backends.open("reference", 0)) {
            assertThatThrownBy(backend::training)
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessageContaining("use the cpu backend");
        }
    }

    @Test
    void aClosedBackendRefusesInsteadOfCrashing() {
        Backend backend = Backends.open("cpu", 1);
        Kernels kernels = backend.kernels();
        backend.close();
        assertThatThrownBy(backend::synchronize)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
        try (Backend other = Backends.open("cpu", 1);
                Arena arena = Arena.ofConfined()) {
            Tensor x = other.allocate(arena, DType.F32, 2, 3);
            Tensor out = other.allocate(arena, DType.F32, 2, 3);
            assertThatThrownBy(() -> kernels.round(out, x, null))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("closed");
        }
    }

    @Test
    void memoryOfAClosedArenaIsRefusedInsteadOfRead() {
        try (Backend backend = Backends.open("cpu", 1);
                Arena arena = Arena.ofConfined()) {
            Tensor x;
            try (Arena gone = Arena.ofConfined()) {
                x = backend.allocate(gone, DType.F32, 2, 3);
            }
            Tensor out = backend.allocate(arena, DType.F32, 2, 3);
            assertThatThrownBy(() -> backend.kernels().round(out, x, null)).isInstanceOf(IllegalStateException.class);
        }
    }

    @Test
    void moreMemoryThanThereIsSaysHowMuchWasAskedFor() {
        try (Backend backend = Backends.open("cpu", 1);
                Arena arena = Arena.ofConfined()) {
            assertThatThrownBy(() -> backend.allocate(arena, DType.F32, 1L << 50))
                    .isInstanceOf(KernelException.class)
                    .hasMessageContaining("needs " + (1L << 32) + " MiB");
        }
    }

    /// Prints the backend that its argument asks for, or why there is none.
    static final class Opener {
        private Opener() {}

        public static void main(String[] args) {
            try (Backend backend = Backends.open(args[0], 1)) {
                System.out.println("opened " + backend.name());
            } catch (KernelException | IllegalArgumentException e) {
                System.out.println(e.getClass().getSimpleName() + ": " + e.getMessage());
            }
        }
    }

    private static String openInAnotherProcess(String request, Map<String, String> environment, String... options)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-Xshare:auto", "-XX:TieredStopAtLevel=1"));
        command.addAll(List.of(options));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Opener.class.getName(), request));
        ProcessBuilder builder = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD);
        builder.environment().putAll(environment);
        Process process = builder.start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).isZero();
        return out.strip();
    }

    private static String nativeIn(Object directory) {
        return "-D" + CpuLibrary.DIRECTORY_PROPERTY + "=" + directory;
    }

    /// Where this process takes its library from.
    private static String[] sameLibrary() {
        String directory = System.getProperty(CpuLibrary.DIRECTORY_PROPERTY);
        return directory == null ? new String[0] : new String[] {nativeIn(directory)};
    }

    @Test
    void aFolderWithoutTheLibraryIsNamed(@TempDir Path empty) throws IOException, InterruptedException {
        assertThat(openInAnotherProcess("cpu", Map.of(), nativeIn(empty)))
                .startsWith("KernelException: " + empty.resolve("libsjd2_cpu.so") + " does not exist")
                .contains(CpuLibrary.DIRECTORY_PROPERTY);
        assertThat(openInAnotherProcess("auto", Map.of(), nativeIn(empty))).isEqualTo("opened reference");
    }

    @Test
    void aBrokenLibraryIsNamed(@TempDir Path folder) throws IOException, InterruptedException {
        Files.writeString(folder.resolve("libsjd2_cpu.so"), "not a library");
        assertThat(openInAnotherProcess("cpu", Map.of(), nativeIn(folder)))
                .startsWith("KernelException: " + folder.resolve("libsjd2_cpu.so") + " cannot be loaded");
    }

    @Test
    void theEnvironmentChoosesTheInstructionSet() throws IOException, InterruptedException {
        assertThat(openInAnotherProcess("auto", Map.of("SJD2_CPU_ISA", "generic"), sameLibrary()))
                .isEqualTo("opened cpu-generic");
        assertThat(openInAnotherProcess("auto", Map.of("SJD2_CPU_ISA", "mmx"), sameLibrary()))
                .startsWith("IllegalArgumentException: ")
                .contains("SJD2_CPU_ISA=mmx", "generic");
    }

    @Test
    void thePropertyStandsInForAuto() throws IOException, InterruptedException {
        assertThat(openInAnotherProcess("auto", Map.of(), "-D" + Backends.PROPERTY + "=reference"))
                .isEqualTo("opened reference");
        assertThat(openInAnotherProcess("auto", Map.of(), "-D" + Backends.PROPERTY + "=cuda"))
                .satisfies(answer -> assertThat(
                                answer.startsWith("opened cuda-") || answer.startsWith("KernelException: "))
                        .as(answer)
                        .isTrue());
    }
}
