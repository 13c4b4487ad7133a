package io.sjd2.benchmarks;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// `docs/performance.md`, made of the reports among `benchmarks/results/*.json`: no number is typed by hand.
final class PerformancePage {
    private static final String INTRODUCTION = """
        # Performance

        <!-- Made by `benchmarks/page.sh` from the reports in benchmarks/results. Not to be edited. -->

        Times are medians of calls, each set of parameters in a process of its own, after a check of the answer.
        *of roof* is the least time that this machine could take over the time that was taken: bytes that must be
        moved over the measured read bandwidth, or operations over the measured multiply-add rate, whichever is
        more, as measured right before and after each benchmark: the better of both. Where a cache holds the data from
        call to call, only the arithmetic roof is counted.
        *ratio* is the peer's time over ours.

        Run it yourself: `./sjd2 bench`, `./sjd2 bench --quick`, `./sjd2 bench --peers`, `./sjd2 bench --help`.
        """;

    private PerformancePage() {}

    /// Writes the page anew.
    ///
    /// @param folder  where the reports lie, among other files
    static void write(Path folder, Path page) throws IOException {
        AtomicFiles.write(page, text(folder));
    }

    static String text(Path folder) throws IOException {
        StringBuilder out = new StringBuilder(INTRODUCTION);
        List<Path> reports = reports(folder);
        for (Path file : reports) {
            append(out, file);
        }
        if (reports.isEmpty()) {
            out.append("\nNo report has been taken on a quiet machine yet.\n");
        }
        return out.toString();
    }

    private static List<Path> reports(Path folder) throws IOException {
        List<Path> reports = new ArrayList<>();
        try (Stream<Path> files = Files.list(folder)) {
            for (Path file :
                    files.filter(f -> f.toString().endsWith(".json")).sorted().toList()) {
                if (Report.isReport(Json.read(file))) {
                    reports.add(file);
                }
            }
        }
        return reports;
    }

    private static void append(StringBuilder out, Path file) throws IOException {
        Report report = Report.read(file);
        out.append("\n## ")
                .append(report.date())
                .append(", ")
                .append(report.machine().cpu())
                .append("\n\n");
        out.append("From [")
                .append(file.getFileName())
                .append("](../benchmarks/results/")
                .append(file.getFileName());
        out.append("): ").append(report.headline().replace("\n", " ")).append(".\n\n");
        List<List<String>> cells = report.cells();
        for (int row = 0; row < cells.size(); row++) {
            out.append(cells.get(row).stream().collect(Collectors.joining(" | ", "| ", " |\n")));
            if (row == 0) {
                out.append("| --- ".repeat(cells.getFirst().size())).append("|\n");
            }
        }
        if (!report.sentences().isEmpty()) {
            out.append('\n');
            report.sentences()
                    .forEach(sentence -> out.append("- ").append(sentence).append(".\n"));
        }
    }
}
