package io.sjd2.cli;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
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
                    + " check of its answer, and prints time, bandwidth, operations, share of the roof as it is at that"
                    + " minute, and which roof binds. Takes under ten minutes, with --quick about one. Anything else"
                    + " that runs meanwhile spoils the numbers.",
            "",
            "With --peers, PyTorch (f32 with MKL, bf16 with oneDNN) and Jlama run the same shapes with the same weights"
                    + " and threads, each right after ours. They are built on demand, which fetches 220 MB"
                    + " the first time.",
            "",
            "Examples:",
            "  sjd2 bench",
            "  sjd2 bench --quick --json",
            "  sjd2 bench --peers --quick --json",
            "  sjd2 bench --only forwardpass,decodestep --out report.json",
            ""
        },
        footer = {
            "",
            "--json prints an array of objects with benchmark, parameters, dtype, rows, median_us, samples, gb_per_s,"
                    + " gflop_per_s, roofline_share, roof, peak_per_s, peer, peer_median_us and ratio: the peer's time"
                    + " over ours."
                    + " A report of the same together with the machine and its peaks is kept in build/bench, with"
                    + " --publish in benchmarks/results, from which docs/performance.md is then made anew; --out names"
                    + " another file."
        })
final class BenchCommand implements Callable<Integer> {
    private static final Path HOME = Path.of(System.getProperty("sjd2.home", "."));
    private static final String BENCHMARKS_JAR = "benchmarks/target/sjd2-benchmarks.jar";
    private static final String PEERS_JAR = "benchmarks/peers/target/sjd2-peers.jar";

    @Option(names = "--quick", description = "Fewer benchmarks and shorter ones, for a first look.")
    private boolean quick;

    @Option(names = "--peers", description = "Run other engines beside ours and give the ratios.")
    private boolean peers;

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

    @Option(
            names = "--publish",
            description = "Keep the report and the machine in benchmarks/ and make docs/performance.md anew.")
    private boolean publish;

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
        if (peers) {
            buildPeers(HOME);
        }
        run(commandLine(HOME), true, "the benchmarks failed: what they said is above");
        if (publish) {
            run(
                    program(HOME, "--page", "benchmarks/results", "docs/performance.md"),
                    false,
                    "docs/performance.md was not made anew: what went wrong is above");
        }
        return 0;
    }

    /// Whether the native library was built for this machine alone, which the launcher does: it is not built again for
    /// all.
    private static boolean isLocalBuild(Path home) throws IOException {
        Path cache = home.resolve("build/cpu/CMakeCache.txt");
        return Files.exists(cache) && Files.readString(cache).contains("SJD2_LOCAL:BOOL=ON");
    }

    /// Builds the peers' module unless it is there and newer than its sources and our benchmarks.
    private void buildPeers(Path home) throws IOException {
        Path jar = home.resolve(PEERS_JAR);
        if (Files.exists(jar) && !newerThan(jar, home)) {
            return;
        }
        console.note("building the peers; the first time this fetches 220 MB");
        List<String> maven = List.of(
                "mvn",
                "-B",
                "-ntp",
                "-q",
                "-Ppeers",
                "-Dmaven.test.skip=true",
                "-DskipCuda=true",
                "-Dnative.local=" + (isLocalBuild(home) ? "ON" : "OFF"),
                "-pl",
                "benchmarks/peers",
                "-am",
                "package");
        run(
                maven,
                false,
                "the peers could not be built: what Maven said is above. They come from Maven Central, so the first"
                        + " build needs a network; run it by hand with " + String.join(" ", maven));
    }

    private static boolean newerThan(Path jar, Path home) throws IOException {
        FileTime built = Files.getLastModifiedTime(jar);
        Path module = home.resolve("benchmarks").resolve("peers");
        List<Path> files = new ArrayList<>(List.of(home.resolve(BENCHMARKS_JAR), module.resolve("pom.xml")));
        try (Stream<Path> sources = Files.walk(module.resolve("src"))) {
            sources.filter(Files::isRegularFile).forEach(files::add);
        }
        for (Path file : files) {
            if (Files.exists(file) && Files.getLastModifiedTime(file).compareTo(built) > 0) {
                return true;
            }
        }
        return false;
    }

    /// Runs a program to its end.
    ///
    /// @param results  whether its standard output is ours; what Maven says is not
    private void run(List<String> command, boolean results, String failure) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command)
                .directory(HOME.toAbsolutePath().toFile())
                .redirectError(ProcessBuilder.Redirect.INHERIT);
        builder.environment().put("JAVA25_HOME", System.getProperty("java.home"));
        builder.environment().putIfAbsent("JAVA_HOME", System.getProperty("java.home"));
        Process process;
        try {
            process = builder.start();
        } catch (IOException e) {
            throw new IOException(command.getFirst() + " cannot be started: " + e.getMessage(), e);
        }
        try {
            // The benchmarks print their results at the very end, so that there is little to hold.
            Thread reader = Thread.ofPlatform().daemon().start(() -> copy(process, results));
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
            throw new IllegalStateException(failure);
        }
    }

    private void copy(Process process, boolean results) {
        try {
            String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (results) {
                console.out().print(text);
            } else if (!text.isBlank()) {
                console.note(text.strip());
            }
        } catch (IOException e) {
            console.warn("the benchmarks' results cannot be read: " + e.getMessage());
        }
    }

    /// The program and its arguments.
    ///
    /// @throws IOException if the benchmarks are not built
    List<String> commandLine(Path home) throws IOException {
        List<String> arguments = new ArrayList<>(List.of("--threads", Integer.toString(threads)));
        only.forEach(name -> arguments.addAll(List.of("--only", name)));
        if (out != null) {
            arguments.addAll(List.of("--out", out.toAbsolutePath().toString()));
        } else {
            Path store =
                    publish ? home.resolve("benchmarks") : home.resolve("build").resolve("bench");
            arguments.addAll(
                    List.of("--store", store.toAbsolutePath().normalize().toString()));
        }
        if (quick) {
            arguments.add("--quick");
        }
        if (peers) {
            arguments.add("--peers");
        }
        if (json) {
            arguments.add("--json");
        }
        return program(home, arguments.toArray(String[]::new));
    }

    private List<String> program(Path home, String... arguments) throws IOException {
        Path jar = home.resolve(peers ? PEERS_JAR : BENCHMARKS_JAR);
        if (!Files.exists(jar)) {
            throw new IOException(jar + " is missing: build it with mvn -DskipTests -pl benchmarks -am package, in "
                    + home.toAbsolutePath());
        }
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "--sun-misc-unsafe-memory-access=allow",
                "-Dsjd2.home=" + home.toAbsolutePath().normalize()));
        if (peers) {
            // Where the peers unpack their libraries, and leave to ask nobody outside.
            Path unpacked =
                    home.resolve("build").resolve("peers").toAbsolutePath().normalize();
            for (String property : List.of("org.bytedeco.javacpp.cachedir", "ENGINE_CACHE_DIR", "DJL_CACHE_DIR")) {
                command.add("-D" + property + "=" + unpacked);
            }
            command.add("-Dai.djl.offline=true");
        }
        command.addAll(List.of(
                "-cp",
                jar + File.pathSeparator + jar.resolveSibling("lib").resolve("*"),
                "io.sjd2.benchmarks.BenchMain"));
        command.addAll(List.of(arguments));
        return command;
    }
}
