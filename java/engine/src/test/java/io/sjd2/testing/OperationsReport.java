package io.sjd2.testing;

import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/// The worst error of each operation, backend and dtype that the contract tests saw, written to `target/operations.md`.
public final class OperationsReport {
    private static final Map<String, Double> WORST = new TreeMap<>();

    private OperationsReport() {}

    /// Notes the error of one case.
    public static synchronized void add(String operation, String backend, DType dtype, double ulps) {
        WORST.merge(operation + " | " + backend + " | " + dtype.label(), ulps, Math::max);
    }

    /// Everything noted so far, by operation and dtype, the worst of all backends.
    public static synchronized Map<String, Map<String, Double>> worstByOperation() {
        Map<String, Map<String, Double>> worst = new TreeMap<>();
        WORST.forEach((key, ulps) -> {
            String[] parts = key.split(" \\| ");
            worst.computeIfAbsent(parts[0], operation -> new TreeMap<>()).merge(parts[2], ulps, Math::max);
        });
        return worst;
    }

    /// Writes everything noted so far.
    public static synchronized void write() {
        StringBuilder text = new StringBuilder("# Operations\n\n"
                + "Worst error against f64 in units in the last place of the output's dtype (of the largest value"
                + " where\n"
                + "sums may cancel), as the contract tests measured it.\n\n"
                + "| operation | backend | dtype | worst error (ulp) |\n"
                + "| --- | --- | --- | --- |\n");
        WORST.forEach(
                (key, ulps) -> text.append("| ").append(key).append(String.format(Locale.ROOT, " | %.2f |%n", ulps)));
        Path target = Path.of(System.getProperty("basedir", "."), "target");
        try {
            Files.createDirectories(target);
            Files.writeString(target.resolve("operations.md"), text);
        } catch (IOException e) {
            throw new AssertionError("could not write " + target.resolve("operations.md"), e);
        }
    }
}
