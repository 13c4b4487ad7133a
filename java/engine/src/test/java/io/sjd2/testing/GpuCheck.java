package io.sjd2.testing;

import io.sjd2.Reports;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.KernelException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// `bin/gpu-check` of the bundle: the contract tests of the CUDA backend, in Java and in C++, and a generation, on a
/// machine that has neither a JDK nor a build. A verdict per operation on standard output, the same as JSON in a
/// file.
public final class GpuCheck {
    private static final int WRONG = 1;
    private static final int USAGE = 2;
    private static final int NO_DEVICE = 77;

    /// @param home      folder of the bundle
    /// @param emulated  whether the emulated device is checked instead of the machine's
    /// @param json      where the report goes
    private record Options(Path home, boolean emulated, Path json) {
        String backend() {
            return emulated ? "cuda-emulated" : "cuda";
        }
    }

    private GpuCheck() {}

    /// Runs the checks and ends the process.
    public static void main(String[] args) throws IOException {
        Options options;
        try {
            options = parse(args);
        } catch (IllegalArgumentException e) {
            System.err.println("gpu-check: " + e.getMessage());
            System.err.println("usage: gpu-check [--emulated] [--json FILE]");
            System.exit(USAGE);
            return;
        }
        System.exit(run(options));
    }

    private static Options parse(String[] args) {
        Path home = null;
        Path json = Path.of("gpu-check.json");
        boolean emulated = false;
        for (int i = 0; i < args.length; i++) {
            switch (args[i]) {
                case "--emulated" -> emulated = true;
                case "--home" -> home = Path.of(valueOf(args, i++));
                case "--json" -> json = Path.of(valueOf(args, i++));
                default -> throw new IllegalArgumentException("there is no option " + args[i]);
            }
        }
        if (home == null) {
            throw new IllegalArgumentException("--home is missing: run bin/gpu-check of a bundle");
        }
        return new Options(home, emulated, json);
    }

    private static String valueOf(String[] args, int option) {
        if (option + 1 == args.length) {
            throw new IllegalArgumentException(args[option] + " wants a value");
        }
        return args[option + 1];
    }

    private static int run(Options options) throws IOException {
        String device;
        try (Backend backend = Backends.open(options.backend(), 1)) {
            device = backend.name();
        } catch (KernelException e) {
            System.out.println("gpu-check: nothing was checked: " + e.getMessage());
            return NO_DEVICE;
        }
        String commit = commit(options.home());
        System.out.println("gpu-check of " + commit + " on " + device);
        if (options.emulated()) {
            System.out.println(
                    "The emulated device runs on the CPU: this tries the checks and proves nothing about a GPU.");
        }
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("commit", commit);
        report.put("time", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
        report.put("backend", device);
        report.put("emulated", options.emulated());
        // Looking at the machine's device loads its driver, beside which no emulated one can be.
        report.put("device", options.emulated() ? List.of() : detailOf(options.backend()));
        List<Verdict> verdicts = new ArrayList<>();
        verdicts.addAll(programs(options));
        verdicts.addAll(ContractRun.of(options.emulated()));
        verdicts.addAll(GenerationCheck.run(options.home().resolve("models/demo"), options.backend()));
        report.put("verdicts", verdicts.stream().map(Verdict::toJson).toList());
        boolean right = verdicts.stream().noneMatch(verdict -> verdict.outcome() == Verdict.Outcome.WRONG);
        report.put("right", right);
        verdicts.forEach(GpuCheck::print);
        Files.writeString(options.json(), Reports.json(report));
        System.out.println((right ? "all right" : "something is wrong") + "; report: " + options.json());
        return right ? 0 : WRONG;
    }

    private static List<String> detailOf(String backend) {
        return Backends.report(1).stream()
                .filter(found -> found.name().equals(backend))
                .flatMap(found -> found.detail().stream())
                .toList();
    }

    private static String commit(Path home) throws IOException {
        Path file = home.resolve("COMMIT");
        return Files.exists(file) ? Files.readString(file).strip() : "unknown";
    }

    private static void print(Verdict verdict) {
        System.out.println(String.format(
                Locale.ROOT,
                "%-50s %-8s %s",
                verdict.name(),
                verdict.outcome().name().toLowerCase(Locale.ROOT),
                verdict.about()));
    }

    /// The contract tests that need no Java, each a program that ends with 0, or 77 where it was skipped.
    private static List<Verdict> programs(Options options) throws IOException {
        Path folder = options.home().resolve(options.emulated() ? "check/emulated" : "check/device");
        if (!Files.isDirectory(folder)) {
            return List.of(new Verdict("programs", Verdict.Outcome.WRONG, folder + " is missing", null));
        }
        List<Path> programs;
        try (Stream<Path> files = Files.list(folder)) {
            programs = files.filter(file -> file.toString().endsWith("_test"))
                    .sorted()
                    .toList();
        }
        List<Verdict> verdicts = new ArrayList<>();
        for (Path program : programs) {
            verdicts.add(program(program));
        }
        return verdicts;
    }

    private static Verdict program(Path program) throws IOException {
        Process process =
                new ProcessBuilder(program.toString()).redirectErrorStream(true).start();
        List<String> lines =
                new String(process.getInputStream().readAllBytes()).lines().toList();
        int status;
        try {
            status = process.waitFor();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while " + program + " was running", e);
        }
        Verdict.Outcome outcome = switch (status) {
            case 0 -> Verdict.Outcome.RIGHT;
            case NO_DEVICE -> Verdict.Outcome.SKIPPED;
            default -> Verdict.Outcome.WRONG;
        };
        String last = lines.isEmpty() ? "no output" : lines.getLast();
        return new Verdict(
                program.getFileName().toString(),
                outcome,
                outcome == Verdict.Outcome.WRONG ? "exit code " + status + ": " + lines.getFirst() : last,
                lines.size() > 1 ? String.join("\n", lines) : null);
    }

    /// What was found of one operation, program or picture.
    ///
    /// @param about   one line
    /// @param detail  everything that a program said or a failure holds; null if that is no more
    record Verdict(
            String name,
            Outcome outcome,
            String about,
            @Nullable String detail) {
        enum Outcome {
            RIGHT,
            WRONG,
            SKIPPED
        }

        Map<String, Object> toJson() {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("name", name);
            json.put("verdict", outcome.name().toLowerCase(Locale.ROOT));
            json.put("about", about);
            json.put("detail", detail);
            return json;
        }
    }
}
