package io.sjd2.cli;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 bench`: starts the benchmarks' own program, so that the engine and the command line stay free of JMH.
@Command(
        name = "bench",
        header = "Measure this machine, and how close the engine comes to it.",
        description = {
            "",
            "Measures memory and arithmetic first, then runs benchmarks, each in a process of its own and after a"
                    + " check of its answer, and prints time, bandwidth, operations, share of the roof and which roof"
                    + " binds. Takes under ten minutes, with --quick about one. Anything else that runs meanwhile"
                    + " spoils the numbers.",
            "",
            "Examples:",
            "  sjd2 bench",
            "  sjd2 bench --quick --json",
            "  sjd2 bench --only forwardpass,decodestep --out report.json",
            ""
        },
        footer = {
            "",
            "--json prints an array of objects with benchmark, parameters, dtype, rows, median_us, samples, gb_per_s,"
                    + " gflop_per_s, roofline_share, roof, peer, peer_median_us and ratio. --out writes the same"
                    + " together with the machine and its peaks."
        })
final class BenchCommand implements Callable<Integer> {
    private static final Path HOME = Path.of(System.getProperty("sjd2.home", "."));

    @Option(names = "--quick", description = "Fewer benchmarks and shorter ones, for a first look.")
    private boolean quick;

    @Option(
            names = "--only",
            paramLabel = "NAMES",
            split = ",",
            description = "Benchmarks to run, by name without the ending Benchmark. Default: all of the selection.")
    private List<String> only = new ArrayList<>();

    @Option(
            names = {"-t", "--threads"},
            paramLabel = "N",
            defaultValue = "0",
            description = "Worker threads; 0: every core. Default: ${DEFAULT-VALUE}.")
    private int threads;

    @Option(
            names = {"-o", "--out"},
            paramLabel = "FILE",
            description = "Write the report as JSON, with the machine and its peaks.")
    private @Nullable Path out;

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    BenchCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        if (threads < 0) {
            throw new IllegalArgumentException(
                    "threads is " + threads + ", expected a number from 1, or 0 for every core");
        }
        Process process = new ProcessBuilder(commandLine(HOME))
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        try {
            // The benchmarks print their results at the very end, so that there is little to hold.
            Thread reader = Thread.ofPlatform().daemon().start(() -> copy(process));
            while (!process.waitFor(200, TimeUnit.MILLISECONDS)) {
                if (console.cancelled()) {
                    throw new CancellationException("no benchmark is left running");
                }
            }
            reader.join();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while benchmarks ran");
        } finally {
            process.descendants().forEach(ProcessHandle::destroy);
            process.destroy();
        }
        if (process.exitValue() != 0) {
            throw new IllegalStateException(
                    "the benchmarks failed with exit code " + process.exitValue() + ": what they said is above");
        }
        return 0;
    }

    private void copy(Process process) {
        try {
            console.out().print(new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
        } catch (IOException e) {
            console.warn("the benchmarks' results cannot be read: " + e.getMessage());
        }
    }

    /// The program and its arguments.
    ///
    /// @throws IOException if the benchmarks are not built
    List<String> commandLine(Path home) throws IOException {
        Path target = home.resolve("benchmarks").resolve("target");
        Path jar = target.resolve("sjd2-benchmarks.jar");
        if (!Files.exists(jar)) {
            throw new IOException(jar + " is missing: build it with mvn -DskipTests -pl benchmarks -am package, in "
                    + home.toAbsolutePath());
        }
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "--sun-misc-unsafe-memory-access=allow",
                "-Dsjd2.home=" + home.toAbsolutePath().normalize(),
                "-cp",
                jar + File.pathSeparator + target.resolve("lib").resolve("*"),
                "io.sjd2.benchmarks.BenchMain",
                "--threads",
                Integer.toString(threads)));
        only.forEach(name -> command.addAll(List.of("--only", name)));
        if (out != null) {
            command.addAll(List.of("--out", out.toAbsolutePath().toString()));
        }
        if (quick) {
            command.add("--quick");
        }
        if (json) {
            command.add("--json");
        }
        return command;
    }
}
