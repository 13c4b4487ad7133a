package io.sjd2;

import io.sjd2.kernel.Backends;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// What this machine offers the engine, what the engine would choose, and why nothing better.
///
/// @param java      version and place of the Java runtime
/// @param system    operating system and architecture
/// @param cores     processors that this process may use
/// @param memory    bytes of memory of the machine, 0 if unknown
/// @param backends  best first
public record Diagnosis(String java, String system, int cores, long memory, List<BackendFinding> backends) {
    public Diagnosis {
        backends = List.copyOf(backends);
    }

    /// One backend.
    ///
    /// @param name      what to ask for
    /// @param available whether it opens here
    /// @param chosen    whether `auto` takes it
    /// @param detail    what was found
    /// @param reason    why it is not available, or why it is no better; may be empty
    public record BackendFinding(String name, boolean available, boolean chosen, List<String> detail, String reason) {}

    /// Looks around; opens nothing for longer than it takes to see that it opens.
    ///
    /// @param threads worker threads to report for; 0 takes every core
    public static Diagnosis run(int threads) {
        List<BackendFinding> backends = new ArrayList<>();
        for (Backends.Report report : Backends.report(threads)) {
            backends.add(new BackendFinding(
                    report.name(), report.available(), report.chosen(), report.detail(), report.reason()));
        }
        long memory =
                ManagementFactory.getOperatingSystemMXBean() instanceof com.sun.management.OperatingSystemMXBean system
                        ? system.getTotalMemorySize()
                        : 0;
        return new Diagnosis(
                Runtime.version() + " from " + System.getProperty("java.vendor") + " at "
                        + System.getProperty("java.home"),
                System.getProperty("os.name") + " " + System.getProperty("os.version") + ", "
                        + System.getProperty("os.arch"),
                Runtime.getRuntime().availableProcessors(),
                memory,
                backends);
    }

    /// Whether any backend can run.
    public boolean healthy() {
        return backends.stream().anyMatch(BackendFinding::available);
    }

    /// As JSON.
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("java", java);
        json.put("system", system);
        json.put("cores", cores);
        json.put("memory_bytes", memory);
        List<Object> list = new ArrayList<>();
        for (BackendFinding backend : backends) {
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("name", backend.name());
            entry.put("available", backend.available());
            entry.put("chosen", backend.chosen());
            entry.put("detail", backend.detail());
            entry.put("reason", backend.reason());
            list.add(entry);
        }
        json.put("backends", list);
        return json;
    }
}
