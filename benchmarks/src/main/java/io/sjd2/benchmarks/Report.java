package io.sjd2.benchmarks;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.DoubleSummaryStatistics;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// Results of one run on one machine, as JSON and as a table.
///
/// @param date     day of the run, `2026-11-24`
/// @param machine  where, with its limits
/// @param results  in the order of the run
/// @param projections  what they say of a large model
record Report(String date, Machine machine, List<Measured> results, List<Projection> projections) {
    /// What computes in the dtype of its weights; other operations compute in f32 whatever the weights are.
    private static final List<String> PRODUCTS =
            List.of("Matmul", "LayerProducts", "Layer", "ForwardPass", "DecodeStep");

    Report {
        results = List.copyOf(results);
        projections = List.copyOf(projections);
    }

    /// A name for files: day, device and commit.
    String name() {
        return date + "-" + machine.device() + "-" + machine.commit();
    }

    /// The whole document.
    String json() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("format", "sjd2-benchmarks-1");
        json.put("date", date);
        json.put("machine", machine.toJson());
        json.put("results", results.stream().map(Measured::toJson).toList());
        json.put("projections", projections.stream().map(Projection::toJson).toList());
        return Json.prettyText(json);
    }

    /// The results alone, as an array.
    String jsonResults() {
        return Json.prettyText(results.stream().map(Measured::toJson).toList());
    }

    /// Whether a file holds a report; other files lie beside them.
    static boolean isReport(Json json) throws ModelFormatException {
        return json.isObject() && json.string("format", "").equals("sjd2-benchmarks-1");
    }

    static Report read(Path file) throws IOException {
        Json json = Json.read(file);
        List<Measured> results = new ArrayList<>();
        for (Json result : json.get("results").items()) {
            results.add(Measured.fromJson(result));
        }
        List<Projection> projections = new ArrayList<>();
        for (Json projection : json.get("projections").items()) {
            projections.add(Projection.fromJson(projection));
        }
        return new Report(json.get("date").string(), Machine.fromJson(json.get("machine")), results, projections);
    }

    /// One line on the machine and one on its limits.
    String headline() {
        return String.format(
                Locale.ROOT,
                "%s, %d threads, %s; commit %s, JDK %s, %s%npeaks: read %.1f GB/s, copy %.1f GB/s, f32 %.0f GFLOP/s,"
                        + " bf16 %.0f GFLOP/s; load before: %.2f",
                machine.cpu(),
                machine.threads(),
                machine.isa(),
                machine.commit(),
                machine.jdk(),
                machine.compiler(),
                machine.readRate() * 1e-9,
                machine.copyRate() * 1e-9,
                machine.f32Rate() * 1e-9,
                machine.bf16Rate() * 1e-9,
                machine.load());
    }

    /// Cells of the table, headings first; the peer's columns only where somebody was compared with.
    List<List<String>> cells() {
        boolean peers = results.stream().anyMatch(result -> result.peer() != null);
        List<List<String>> cells = new ArrayList<>();
        List<String> headings = new ArrayList<>(
                List.of("benchmark", "at", "dtype", "rows", "median µs", "GB/s", "GFLOP/s", "of roof", "roof"));
        if (peers) {
            headings.addAll(List.of("peer", "its µs", "ratio"));
        }
        cells.add(headings);
        for (Measured m : results) {
            List<String> row = new ArrayList<>(List.of(
                    m.benchmark(),
                    m.parameters().entrySet().stream()
                            .map(e -> e.getKey().equals("model") ? e.getValue() : e.getKey() + " " + e.getValue())
                            .collect(Collectors.joining(", ")),
                    m.dtype(),
                    m.rows() == 0 ? "" : Integer.toString(m.rows()),
                    number(m.medianMicros(), 1),
                    number(m.gbPerSecond(), 1),
                    number(m.gflopPerSecond(), 1),
                    m.rooflineShare() == null ? "" : number(100 * m.rooflineShare(), 0) + " %",
                    m.roof() == null ? "" : m.roof()));
            if (peers) {
                row.addAll(List.of(m.peer() == null ? "" : m.peer(), number(m.peerMicros(), 1), number(m.ratio(), 2)));
            }
            cells.add(row);
        }
        return cells;
    }

    /// What the results say beside their numbers: of memory that iterations allocate, and of a large model.
    List<String> sentences() {
        List<String> sentences = new ArrayList<>();
        results.stream()
                .filter(m -> m.benchmark().equals("DecodeStep"))
                // The profiler counts what the virtual machine and JMH allocate meanwhile, too: the longer, the more.
                .mapToDouble(Measured::allocated)
                .min()
                .ifPresent(least -> sentences.add(String.format(
                        Locale.ROOT,
                        "While the shortest iteration of the decode loop runs, its process allocates %.0f bytes on the"
                                + " Java heap, by JMH's allocation profiler; DecodeAllocationTest holds the loop to none",
                        least)));
        hostShare().ifPresent(sentences::add);
        peaks("memory", "", "reading", "GB/s").ifPresent(sentences::add);
        peaks("arithmetic", "f32", "f32", "GFLOP/s").ifPresent(sentences::add);
        peaks("arithmetic", "bf16", "bf16", "GFLOP/s").ifPresent(sentences::add);
        projections.stream()
                .map(p -> String.format(
                        Locale.ROOT,
                        "%s at the shape of %s, window %d: %.2f tokens per pass (%d pictures of the bundled model) times"
                                + " %.2f ms / %.2f ms per iteration: %.2f times the speed of ar, conversion %.2f",
                        p.decoder(),
                        p.model(),
                        p.rows(),
                        p.compression(),
                        p.pictures(),
                        p.arMicros() * 1e-3,
                        p.micros() * 1e-3,
                        p.speedup(),
                        p.conversion()))
                .forEach(sentences::add);
        return sentences;
    }

    /// What an iteration takes besides arithmetic, from one whose layers are nearly empty: Java, the foreign function
    /// interface, waking threads, and the entries of kernels. An upper bound for the first two.
    private Optional<String> hostShare() {
        return wholeStep(Shape.HOLLOW)
                .flatMap(hollow -> wholeStep(Shape.JANUS_PRO_1B)
                        .map(whole -> String.format(
                                Locale.ROOT,
                                "An iteration of %d layers that are %d wide takes %.0f us: calls from Java into the library and"
                                        + " the entries of its operations, %.2f %% of the %.1f ms of one at the shape of %s,"
                                        + " one row",
                                Shape.HOLLOW.layers,
                                Shape.HOLLOW.hidden,
                                hollow.medianMicros(),
                                100 * hollow.medianMicros() / whole.medianMicros(),
                                whole.medianMicros() * 1e-3,
                                Shape.JANUS_PRO_1B)));
    }

    /// How much a roof moved from benchmark to benchmark, which is how far two times of one report can be compared.
    private Optional<String> peaks(String roof, String dtype, String name, String unit) {
        DoubleSummaryStatistics peaks = results.stream()
                .filter(m -> PRODUCTS.contains(m.benchmark()) && roof.equals(m.roof()))
                .filter(m -> dtype.isEmpty() || dtype.equals(m.dtype()))
                .flatMap(m -> Stream.ofNullable(m.peakPerSecond()))
                .collect(Collectors.summarizingDouble(Double::doubleValue));
        return peaks.getCount() == 0
                ? Optional.empty()
                : Optional.of(String.format(
                        Locale.ROOT,
                        "The peak of %s, taken beside every product and pass that it bounds, was %.0f to %.0f %s",
                        name,
                        peaks.getMin() * 1e-9,
                        peaks.getMax() * 1e-9,
                        unit));
    }

    private Optional<Measured> wholeStep(Shape shape) {
        return results.stream()
                .filter(m -> m.benchmark().equals("DecodeStep")
                        && m.rows() == 1
                        && shape.toString().equals(m.parameters().get("model"))
                        && "0".equals(m.parameters().get("layers")))
                .findFirst();
    }

    private static String number(@Nullable Double value, int digits) {
        return value == null ? "" : String.format(Locale.ROOT, "%." + digits + "f", value);
    }

    /// For a terminal: headline, then columns.
    String text() {
        List<List<String>> cells = cells();
        int[] widths = new int[cells.getFirst().size()];
        for (List<String> row : cells) {
            for (int i = 0; i < widths.length; i++) {
                widths[i] = Math.max(widths[i], row.get(i).length());
            }
        }
        StringBuilder out = new StringBuilder(headline()).append("\n\n");
        for (List<String> row : cells) {
            StringBuilder line = new StringBuilder();
            for (int i = 0; i < widths.length; i++) {
                String cell = row.get(i);
                String padding = " ".repeat(widths[i] - cell.length());
                boolean left = i < 3 || i == 8 || i == 9;
                line.append(left ? cell + padding : padding + cell).append("  ");
            }
            out.append(line.toString().stripTrailing()).append('\n');
        }
        if (!sentences().isEmpty()) {
            out.append('\n');
            sentences().forEach(sentence -> out.append(sentence).append('\n'));
        }
        return out.toString();
    }
}
