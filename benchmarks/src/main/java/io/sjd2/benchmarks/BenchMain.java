package io.sjd2.benchmarks;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.ServiceLoader;
import java.util.stream.Collectors;

/// `sjd2 bench`: measures the machine, runs a selection and prints how far each result is from the roof.
///
/// ```
/// BenchMain [--quick] [--peers] [--json] [--threads N] [--only NAME]... [--out FILE] [--store FOLDER]
/// BenchMain --page RESULTS_FOLDER PAGE
/// ```
public final class BenchMain {
    private BenchMain() {}

    public static void main(String[] args) throws IOException {
        List<String> arguments = new ArrayList<>(List.of(args));
        if (arguments.size() == 3 && arguments.getFirst().equals("--page")) {
            PerformancePage.write(Path.of(arguments.get(1)), Path.of(arguments.get(2)));
            return;
        }
        boolean quick = arguments.remove("--quick");
        boolean json = arguments.remove("--json");
        boolean compare = arguments.remove("--peers");
        String out = value(arguments, "--out", "");
        String store = value(arguments, "--store", "");
        int threads = Integer.parseInt(value(arguments, "--threads", "0"));
        List<String> only = new ArrayList<>();
        for (String name = value(arguments, "--only", ""); !name.isEmpty(); name = value(arguments, "--only", "")) {
            only.add(name.toLowerCase(Locale.ROOT));
        }
        if (!arguments.isEmpty()) {
            throw new IllegalArgumentException("unknown argument " + arguments.getFirst());
        }
        Path home =
                Path.of(System.getProperty("sjd2.home", ".")).toAbsolutePath().normalize();
        List<Peer> peers = compare
                ? ServiceLoader.load(Peer.class).stream()
                        .map(ServiceLoader.Provider::get)
                        .toList()
                : List.of();
        if (compare && peers.isEmpty()) {
            throw new IllegalStateException("no peer is on the class path: sjd2 bench --peers builds and names them");
        }
        List<Suite.Selection> all = compare ? Suite.comparable(quick) : quick ? Suite.quick() : Suite.sensible();
        List<Suite.Selection> selections = all.stream()
                .filter(s -> only.isEmpty() || only.contains(s.name().toLowerCase(Locale.ROOT)))
                .toList();
        if (selections.isEmpty()) {
            throw new IllegalArgumentException("no benchmark is called " + String.join(" or ", only) + "; there are "
                    + all.stream().map(Suite.Selection::name).distinct().collect(Collectors.joining(", ")));
        }
        // Results alone go to standard output; JMH hands what its processes say to whatever stands for it.
        PrintStream results = System.out;
        System.setOut(System.err);
        // Found out before, not after ten minutes of measuring.
        List<Path> folders = new ArrayList<>();
        if (!store.isEmpty()) {
            folders.addAll(List.of(Path.of(store, "machines"), Path.of(store, "results")));
        }
        if (!out.isEmpty()) {
            folders.add(Path.of(out).toAbsolutePath().getParent());
        }
        for (Path folder : folders) {
            Files.createDirectories(folder);
            if (!Files.isWritable(folder)) {
                throw new IOException(folder + ": may not be written to: name another file with --out");
            }
        }
        Report report = run(selections, peers, threads, home, quick);
        if (!out.isEmpty()) {
            AtomicFiles.write(Path.of(out), report.json());
        }
        if (!store.isEmpty()) {
            Path machine = Path.of(store, "machines", report.machine().device() + ".json");
            AtomicFiles.write(machine, Json.prettyText(report.machine().toJson()));
            String kind = (compare ? "-peers" : "") + (quick ? "-quick" : "") + (only.isEmpty() ? "" : "-part");
            Path file = Path.of(store, "results", report.name() + kind + ".json");
            AtomicFiles.write(file, report.json());
            System.err.println("stored " + machine + " and " + file);
        }
        results.print(json ? report.jsonResults() : report.text());
    }

    private static String value(List<String> arguments, String name, String fallback) {
        int at = arguments.indexOf(name);
        if (at < 0) {
            return fallback;
        }
        if (at + 1 == arguments.size()) {
            throw new IllegalArgumentException(name + " needs a value");
        }
        arguments.remove(at);
        return arguments.remove(at);
    }

    private static final int PEAK_ROUNDS = 4;

    private static Report run(List<Suite.Selection> selections, List<Peer> peers, int threads, Path home, boolean quick)
            throws IOException {
        System.err.println("measuring the machine ...");
        Machine machine = Machine.measure(threads, home, quick ? 1 : PEAK_ROUNDS);
        Suite suite = new Suite(threads, home, quick);
        int total = selections.stream().mapToInt(Suite.Selection::size).sum();
        int done = 0;
        List<Measured> results = new ArrayList<>();
        for (Suite.Selection selection : selections) {
            System.err.printf(Locale.ROOT, "%3d of %d  %s %s%n", done, total, selection.name(), selection.parameters());
            results.addAll(peers.isEmpty() ? suite.run(selection, machine) : suite.compare(selection, machine, peers));
            done += selection.size();
        }
        List<Projection> projections = List.of();
        try {
            projections = Projection.of(results, threads, home);
        } catch (IOException | RuntimeException | LinkageError e) {
            // What took minutes to measure is kept.
            System.err.println("the projection to a large model failed, the rest stands: " + e);
        }
        return new Report(LocalDate.now(ZoneOffset.UTC).toString(), machine, results, projections);
    }
}
