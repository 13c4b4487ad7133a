package io.sjd2.benchmarks;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.kernel.cpu.CpuBackend;
import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.kernel.cpu.CpuPeak;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// The machine that results were taken on, and what it can do at best with the threads that ran them.
///
/// @param cpu         the processor's name
/// @param threads     worker threads
/// @param memory      bytes of memory
/// @param load        tasks that ran or waited beside the benchmarks over the last minute, as the system counts
///                    them, when they began; 0 on a quiet machine
/// @param isa         instruction set in use
/// @param jdk         Java runtime
/// @param compiler    what the CPU library was compiled with
/// @param commit      of the sources; ends in `-dirty` where they were changed
/// @param readRate    bytes read per second
/// @param copyRate    bytes read and written per second by a copy
/// @param f32Rate     floating-point operations per second, f32
/// @param bf16Rate    floating-point operations per second, bf16 products with f32 sums
record Machine(
        String cpu,
        int threads,
        long memory,
        double load,
        String isa,
        String jdk,
        String compiler,
        String commit,
        double readRate,
        double copyRate,
        double f32Rate,
        double bf16Rate) {

    /// How far a peak may be off for a moment.
    private static final double NEAR = 2;

    /// Looks at the machine and measures its limits; takes two seconds a round.
    ///
    /// @param rounds  what else runs can only lower a peak, so the highest of several is nearest to it
    static Machine measure(int threads, Path home, int rounds) {
        var system = ManagementFactory.getOperatingSystemMXBean();
        // Before the peaks, which are a load themselves.
        double load = system.getSystemLoadAverage();
        long memory = system instanceof com.sun.management.OperatingSystemMXBean os ? os.getTotalMemorySize() : 0;
        try (CpuBackend backend = new CpuBackend(threads)) {
            return new Machine(
                    cpuName(),
                    backend.threads(),
                    memory,
                    load,
                    CpuLibrary.get().isa(),
                    Runtime.version() + " (" + System.getProperty("java.vendor") + ")",
                    CpuLibrary.get().compiler(),
                    commit(home),
                    peak(backend, CpuPeak.READ, rounds),
                    peak(backend, CpuPeak.COPY, rounds),
                    peak(backend, CpuPeak.F32, rounds),
                    peak(backend, CpuPeak.BF16, rounds));
        }
    }

    private static double peak(CpuBackend backend, CpuPeak kind, int rounds) {
        double highest = 0;
        for (int i = 0; i < rounds; i++) {
            highest = Math.max(highest, backend.measurePeak(kind));
        }
        return highest;
    }

    /// One peak as it is at this moment, in the unit of its kind; takes some tenths of a second.
    static double peakNow(int threads, CpuPeak kind) {
        try (CpuBackend backend = new CpuBackend(threads)) {
            return backend.measurePeak(kind);
        }
    }

    private static String cpuName() {
        try {
            return Files.readAllLines(Path.of("/proc/cpuinfo")).stream()
                    .filter(line -> line.startsWith("model name"))
                    .map(line -> line.substring(line.indexOf(':') + 1).strip())
                    .findFirst()
                    .orElse(System.getProperty("os.arch"));
        } catch (IOException e) {
            return System.getProperty("os.arch");
        }
    }

    private static String commit(Path home) {
        try {
            Process git = new ProcessBuilder(
                            "git",
                            "-C",
                            home.toString(),
                            "describe",
                            "--always",
                            "--dirty",
                            "--exclude=*",
                            "--abbrev=12")
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            String name = new String(git.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
            return git.waitFor() == 0 && !name.isEmpty() ? name : "unknown";
        } catch (IOException e) {
            // A source archive has no history, and git may be missing.
            return "unknown";
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UncheckedIOException(new IOException("interrupted while asking git for the commit", e));
        }
    }

    /// A name for files: processor, threads and instruction set.
    String device() {
        String name = cpu + "-" + threads + "-threads-" + isa;
        return name.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]+", "-").replaceAll("^-|-$", "");
    }

    /// The peaks that may bound a cost here, even where they are a half off: one, or memory and arithmetic.
    List<CpuPeak> roofs(Cost cost) {
        CpuPeak arithmetic = cost.dtype() == DType.BF16 ? CpuPeak.BF16 : CpuPeak.F32;
        double memory = cost.cached() ? 0 : cost.seconds(CpuPeak.READ, peak(CpuPeak.READ));
        double compute = cost.seconds(arithmetic, peak(arithmetic));
        List<CpuPeak> roofs = new ArrayList<>();
        if (memory > compute / NEAR) {
            roofs.add(CpuPeak.READ);
        }
        // Also where a cost is neither, as of a copy within a cache: its share is then 0.
        if (compute >= memory / NEAR) {
            roofs.add(arithmetic);
        }
        return roofs;
    }

    /// What was measured of a kind, per second.
    double peak(CpuPeak kind) {
        return switch (kind) {
            case READ -> readRate;
            case COPY -> copyRate;
            case F32 -> f32Rate;
            case BF16 -> bf16Rate;
        };
    }

    Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("cpu", cpu);
        json.put("threads", threads);
        json.put("memory_bytes", memory);
        json.put("load_before", load);
        json.put("isa", isa);
        json.put("jdk", jdk);
        json.put("compiler", compiler);
        json.put("commit", commit);
        json.put("read_bytes_per_s", readRate);
        json.put("copy_bytes_per_s", copyRate);
        json.put("f32_flop_per_s", f32Rate);
        json.put("bf16_flop_per_s", bf16Rate);
        return json;
    }

    static Machine fromJson(Json json) throws ModelFormatException {
        return new Machine(
                json.get("cpu").string(),
                json.get("threads").int32(),
                json.get("memory_bytes").int64(),
                json.get("load_before").number(),
                json.get("isa").string(),
                json.get("jdk").string(),
                json.get("compiler").string(),
                json.get("commit").string(),
                json.get("read_bytes_per_s").number(),
                json.get("copy_bytes_per_s").number(),
                json.get("f32_flop_per_s").number(),
                json.get("bf16_flop_per_s").number());
    }
}
