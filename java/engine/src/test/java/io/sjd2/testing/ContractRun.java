package io.sjd2.testing;

import io.sjd2.testing.GpuCheck.Verdict;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/// The JUnit tests of a CUDA backend, run outside of a build: a verdict per operation, and one per test that is of
/// none.
final class ContractRun implements TestExecutionListener {
    private static final List<String> ON_A_DEVICE = List.of("io.sjd2.kernel.CudaKernelsTest");
    private static final List<String> EMULATED = List.of(
            "io.sjd2.kernel.CudaEmulatedKernelsTest",
            "io.sjd2.kernel.cuda.CudaBackendTest",
            "io.sjd2.kernel.cuda.CudaProductsTest");
    /// A case of a parameterised test is shown by its number and what it is: `[7] c = matmul bf16 [33, 65] ...`.
    private static final Pattern CASE = Pattern.compile("\\[\\d+] (?:\\w+ ?= ?)?([a-z]\\w*) .*");

    /// What happened to the tests of one name.
    private static final class Tally {
        private int tests;
        private int failed;
        private int skipped;
        private @Nullable String firstFailure;
    }

    private final Map<String, Tally> tallies = new TreeMap<>();

    private ContractRun() {}

    /// @param emulated  whether to run those for the emulated device, not those for the machine's
    static List<Verdict> of(boolean emulated) throws IOException {
        // The tests write their report of errors below this folder.
        Path folder = Files.createTempDirectory("sjd2-check-");
        System.setProperty("basedir", folder.toString());
        try {
            ContractRun run = new ContractRun();
            LauncherDiscoveryRequest request = LauncherDiscoveryRequestBuilder.request()
                    .selectors((emulated ? EMULATED : ON_A_DEVICE)
                            .stream().map(DiscoverySelectors::selectClass).toList())
                    .build();
            LauncherFactory.create().execute(request, run);
            return run.verdicts();
        } finally {
            deleteFolder(folder);
        }
    }

    private static void deleteFolder(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult result) {
        if (test.isTest() || result.getStatus() != TestExecutionResult.Status.SUCCESSFUL) {
            note(test, result);
        }
    }

    @Override
    public void executionSkipped(TestIdentifier test, String reason) {
        Tally tally = tallyOf(test);
        tally.tests++;
        tally.skipped++;
        tally.firstFailure = tally.firstFailure == null ? reason : tally.firstFailure;
    }

    private void note(TestIdentifier test, TestExecutionResult result) {
        Tally tally = tallyOf(test);
        tally.tests++;
        if (result.getStatus() == TestExecutionResult.Status.SUCCESSFUL) {
            return;
        }
        boolean skipped = result.getStatus() == TestExecutionResult.Status.ABORTED;
        tally.skipped += skipped ? 1 : 0;
        tally.failed += skipped ? 0 : 1;
        if (tally.firstFailure == null) {
            tally.firstFailure = test.getDisplayName() + ": "
                    + result.getThrowable().map(Throwable::toString).orElse("no reason");
        }
    }

    private Tally tallyOf(TestIdentifier test) {
        Matcher found = CASE.matcher(test.getDisplayName());
        String name = found.matches() ? found.group(1) : methodOf(test);
        return tallies.computeIfAbsent(name, key -> new Tally());
    }

    private static String methodOf(TestIdentifier test) {
        return test.getSource()
                .filter(MethodSource.class::isInstance)
                .map(source -> ((MethodSource) source).getMethodName())
                .orElseGet(test::getDisplayName);
    }

    private List<Verdict> verdicts() {
        Map<String, Map<String, Double>> worst = OperationsReport.worstByOperation();
        List<Verdict> verdicts = new ArrayList<>();
        tallies.forEach((name, tally) -> verdicts.add(verdict(name, tally, worst.getOrDefault(name, Map.of()))));
        return verdicts;
    }

    private static Verdict verdict(String name, Tally tally, Map<String, Double> worst) {
        Verdict.Outcome outcome = tally.failed > 0
                ? Verdict.Outcome.WRONG
                : tally.skipped == tally.tests ? Verdict.Outcome.SKIPPED : Verdict.Outcome.RIGHT;
        String errors = worst.entrySet().stream()
                .map(entry -> String.format(Locale.ROOT, "%s %.2f", entry.getKey(), entry.getValue()))
                .collect(Collectors.joining(", "));
        String about = tally.tests
                + (tally.tests == 1 ? " test" : " tests")
                + (tally.failed > 0 ? ", " + tally.failed + " failed" : "")
                + (tally.skipped > 0 ? ", " + tally.skipped + " skipped" : "")
                + (errors.isEmpty() ? "" : ", worst error in ulp " + errors);
        return new Verdict(name, outcome, about, tally.firstFailure);
    }
}
