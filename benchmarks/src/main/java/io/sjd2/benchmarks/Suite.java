package io.sjd2.benchmarks;

import io.sjd2.kernel.cpu.CpuPeak;
import java.lang.reflect.Field;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/// Selections of benchmarks, and running them: every set of parameters in a process of its own.
final class Suite {
    private final int threads;
    private final Path home;
    /// Pictures run through all of the engine: Java takes seconds to compile what they meet.
    private static final long PICTURES_TIMES = 3;

    private static final long LENGTH_MILLIS = 1500;
    private static final long QUICK_MILLIS = 450;

    private final long millis;

    /// @param quick  shorter iterations, for a first look
    Suite(int threads, Path home, boolean quick) {
        this.threads = threads;
        this.home = home;
        this.millis = quick ? QUICK_MILLIS : LENGTH_MILLIS;
    }

    /// A benchmark with the parameters that it is run at; every combination.
    ///
    /// @param type        the benchmark's class
    /// @param parameters  name to values with commas between; those not named keep their first value
    record Selection(Class<?> type, Map<String, String> parameters) {
        static Selection of(Class<?> type, String... namesAndValues) {
            Map<String, String> parameters = new LinkedHashMap<>();
            for (int i = 0; i < namesAndValues.length; i += 2) {
                parameters.put(namesAndValues[i], namesAndValues[i + 1]);
            }
            return new Selection(type, parameters);
        }

        /// How many processes it takes.
        int size() {
            return parameters.values().stream()
                    .mapToInt(values -> values.split(",").length)
                    .reduce(1, (a, b) -> a * b);
        }

        /// Every combination, as a selection of its own.
        List<Selection> points() {
            List<Map<String, String>> points = List.of(Map.of());
            for (Map.Entry<String, String> parameter : parameters.entrySet()) {
                List<Map<String, String>> longer = new ArrayList<>();
                for (Map<String, String> point : points) {
                    for (String value : parameter.getValue().split(",")) {
                        Map<String, String> with = new LinkedHashMap<>(point);
                        with.put(parameter.getKey(), value);
                        longer.add(with);
                    }
                }
                points = longer;
            }
            return points.stream().map(point -> new Selection(type, point)).toList();
        }

        /// The class's name without the ending that all of them have.
        String name() {
            return type.getSimpleName().replace("Benchmark", "");
        }
    }

    /// What a performance engineer looks at first: products, attention and sampling at a real shape, passes of all
    /// widths, a step beside its pass, and pictures.
    static List<Selection> sensible() {
        String janus = "janus-pro-1b";
        List<Selection> all = new ArrayList<>();
        all.add(Selection.of(
                MatmulBenchmark.class, "model", janus, "dtype", "bf16", "rows", "1,16,64", "product", "gate_up,down"));
        all.add(Selection.of(LayerProductsBenchmark.class, "model", janus, "dtype", "f32,bf16", "rows", "1,16,64"));
        all.add(Selection.of(
                AttentionBenchmark.class, "model", janus, "dtype", "f32,bf16", "rows", "1,64", "kvLen", "2400"));
        for (Class<?> rowWise : List.of(
                RmsNormBenchmark.class,
                RopeAppendBenchmark.class,
                SwigluBenchmark.class,
                WindowInputBenchmark.class,
                SequenceInputBenchmark.class)) {
            all.add(Selection.of(rowWise, "model", janus, "dtype", "bf16", "rows", "64"));
        }
        all.add(Selection.of(
                TargetProbsBenchmark.class, "model", janus, "dtype", "bf16", "rows", "64", "topK", "0,100"));
        all.add(Selection.of(
                VerifyBenchmark.class, "model", janus, "dtype", "bf16", "rows", "64", "decoder", "MAXIMAL"));
        all.add(Selection.of(
                ConvBenchmark.class, "model", "demo", "dtype", "f32,bf16", "rows", "64", "channels", "128"));
        all.add(Selection.of(
                ForwardPassBenchmark.class, "model", janus, "dtype", "bf16", "rows", "1,4,16,32,64,96", "batch", "1"));
        all.add(Selection.of(
                ForwardPassBenchmark.class, "model", janus, "dtype", "f32", "rows", "1,16,64", "batch", "1"));
        all.add(Selection.of(ForwardPassBenchmark.class, "model", janus, "dtype", "bf16", "rows", "16", "batch", "2"));
        all.add(Selection.of(
                ForwardPassBenchmark.class, "model", "lumina-7b", "dtype", "bf16", "rows", "1,64", "batch", "1"));
        all.add(Selection.of(
                ForwardPassBenchmark.class,
                "model",
                "demo",
                "layers",
                "0",
                "dtype",
                "bf16",
                "rows",
                "1,16,64",
                "batch",
                "1"));
        all.add(Selection.of(
                DecodeStepBenchmark.class,
                "model",
                "demo",
                "layers",
                "0",
                "dtype",
                "bf16",
                "rows",
                "1,16,64",
                "batch",
                "2"));
        all.add(Selection.of(DecodeStepBenchmark.class, "model", janus, "dtype", "bf16", "rows", "1,64", "batch", "1"));
        // Whole, with guidance: what a picture of that model would take at the bundled model's compression.
        all.add(Selection.of(
                DecodeStepBenchmark.class,
                "model",
                janus,
                "layers",
                "0",
                "dtype",
                "bf16",
                "rows",
                "1,16,32,64",
                "batch",
                "2"));
        all.add(Selection.of(
                DecodeStepBenchmark.class,
                "model",
                Shape.HOLLOW.toString(),
                "layers",
                "0",
                "dtype",
                "bf16",
                "rows",
                "1",
                "batch",
                "2"));
        all.add(Selection.of(GenerateBenchmark.class, "decoder", "ar,exact,sjd-mc,sjd2-mc", "rows", "0"));
        all.add(Selection.of(LoadBenchmark.class, "dtype", "bf16"));
        return all;
    }

    /// A few, in well under two minutes.
    static List<Selection> quick() {
        return List.of(
                Selection.of(
                        MatmulBenchmark.class,
                        "model",
                        "janus-pro-1b",
                        "dtype",
                        "f32,bf16",
                        "rows",
                        "1,16,64",
                        "product",
                        "gate_up"),
                Selection.of(
                        ForwardPassBenchmark.class,
                        "model",
                        "demo",
                        "layers",
                        "0",
                        "dtype",
                        "bf16",
                        "rows",
                        "1,16,64",
                        "batch",
                        "1"),
                Selection.of(GenerateBenchmark.class, "decoder", "ar,sjd2-mc", "rows", "0"));
    }

    /// What peers are compared at: the products of a layer, layers and a whole pass.
    ///
    /// @param quick  the products alone, in under two minutes
    static List<Selection> comparable(boolean quick) {
        String janus = "janus-pro-1b";
        Selection products =
                Selection.of(LayerProductsBenchmark.class, "model", janus, "dtype", "f32,bf16", "rows", "1,16,64");
        if (quick) {
            return List.of(products);
        }
        return List.of(
                products,
                Selection.of(
                        LayerBenchmark.class, "model", janus, "dtype", "f32,bf16", "rows", "1,16,64", "batch", "1"),
                Selection.of(
                        ForwardPassBenchmark.class,
                        "model",
                        janus,
                        "layers",
                        "0",
                        "dtype",
                        "f32,bf16",
                        "rows",
                        "1,16,64",
                        "batch",
                        "1"));
    }

    /// Runs a selection and, right after each of its points, every peer that has the benchmark and the dtype. A peer
    /// whose answer is wrong at a point is left out from there on, and standard error says so.
    List<Measured> compare(Selection selection, Machine machine, List<Peer> peers) {
        List<Measured> all = new ArrayList<>();
        Set<String> failed = new HashSet<>();
        for (Selection point : selection.points()) {
            Measured own = runPoint(point, machine);
            boolean alone = true;
            for (Peer peer : peers) {
                for (Peer.Pair pair : peer.benchmarks()) {
                    String dtype = point.parameters().get("dtype");
                    if (pair.ours() == selection.type()
                            && peer.dtypes().contains(dtype)
                            && !failed.contains(peer.name() + dtype)) {
                        RunResult theirs;
                        try {
                            theirs = results(new Selection(pair.theirs(), point.parameters()))
                                    .iterator()
                                    .next();
                        } catch (IllegalStateException e) {
                            // A peer that computes something else here, or cannot, is no peer here.
                            System.err.println(peer.name() + " is left out of " + selection.name() + " at "
                                    + point.parameters() + " and after, in this dtype: it failed or its answer is"
                                    + " wrong, as said above");
                            failed.add(peer.name() + dtype);
                            continue;
                        }
                        all.add(own.against(
                                peer.name(),
                                theirs.getPrimaryResult().getStatistics().getPercentile(50)));
                        alone = false;
                    }
                }
            }
            if (alone) {
                all.add(own);
            }
        }
        return all;
    }

    /// Runs one selection, point by point.
    ///
    /// @throws IllegalStateException if a benchmark fails, as one whose answer is wrong does
    List<Measured> run(Selection selection, Machine machine) {
        return selection.points().stream()
                .map(point -> runPoint(point, machine))
                .toList();
    }

    private Measured runPoint(Selection point, Machine machine) {
        Cost cost = cost(point.type(), point.parameters());
        // A shared machine is a tenth faster or slower some minutes later: roofs are taken on both sides. What else
        // runs can only lower them.
        Map<CpuPeak, Double> roofs = new EnumMap<>(CpuPeak.class);
        measure(roofs, cost, machine);
        RunResult result = results(point).iterator().next();
        measure(roofs, cost, machine);
        BenchmarkParams params = result.getParams();
        Map<String, String> values = new LinkedHashMap<>();
        for (String key : params.getParamsKeys()) {
            values.put(key, params.getParam(key));
        }
        values.remove("backend");
        values.remove("threads");
        values.remove("folder");
        double allocated =
                result.getSecondaryResults().get("gc.alloc.rate.norm").getScore();
        var statistics = result.getPrimaryResult().getStatistics();
        return Measured.of(
                point.name(),
                values,
                statistics.getPercentile(50),
                statistics.getN(),
                allocated,
                cost,
                cost == null ? null : Measured.Bound.tightest(cost, roofs));
    }

    private void measure(Map<CpuPeak, Double> roofs, @Nullable Cost cost, Machine machine) {
        if (cost != null) {
            for (CpuPeak roof : machine.roofs(cost)) {
                roofs.merge(roof, Machine.peakNow(threads, roof), Math::max);
            }
        }
    }

    private Collection<RunResult> results(Selection selection) {
        long length = selection.type() == GenerateBenchmark.class ? PICTURES_TIMES * millis : millis;
        ChainedOptionsBuilder options = new OptionsBuilder()
                .include("^" + selection.type().getName().replace(".", "\\.") + "\\.latency$")
                .forks(1)
                // One iteration: behind each, this process reads and sums up what the other sends, with code that
                // nothing has compiled yet, on cores that the next iteration needs.
                .warmupIterations(1)
                .warmupTime(TimeValue.milliseconds(length / 2))
                .measurementIterations(1)
                .measurementTime(TimeValue.milliseconds(length))
                .shouldFailOnError(true)
                .verbosity(VerboseMode.SILENT)
                .addProfiler(GCProfiler.class)
                .jvmArgsPrepend(flags());
        selection.parameters().forEach((name, values) -> options.param(name, values.split(",")));
        options.param("threads", Integer.toString(threads));
        try {
            return new Runner(options.build()).run();
        } catch (RunnerException e) {
            throw new IllegalStateException(
                    selection.name() + " failed: " + e.getMessage() + "; run it alone to see why: java -cp '"
                            + System.getProperty("java.class.path") + "' org.openjdk.jmh.Main "
                            + selection.name(),
                    e);
        }
    }

    /// Properties that the benchmarks' processes need; what a class asks for itself is appended behind them.
    private String[] flags() {
        List<String> flags = new ArrayList<>(List.of(
                "-Dsjd2.home=" + home,
                // JMH still measures objects that way.
                "--sun-misc-unsafe-memory-access=allow"));
        for (String name : List.of(
                "sjd2.native.dir",
                "sjd2.cache",
                "org.bytedeco.javacpp.cachedir",
                "ENGINE_CACHE_DIR",
                "DJL_CACHE_DIR",
                "ai.djl.offline")) {
            if (System.getProperty(name) != null) {
                flags.add("-D" + name + "=" + System.getProperty(name));
            }
        }
        return flags.toArray(String[]::new);
    }

    /// What a call costs at these parameters.
    static @Nullable Cost cost(Class<?> type, Map<String, String> parameters) {
        try {
            Object benchmark = type.getConstructor().newInstance();
            for (Map.Entry<String, String> parameter : parameters.entrySet()) {
                Field field = type.getField(parameter.getKey());
                if (field.getType() == int.class) {
                    field.setInt(benchmark, Integer.parseInt(parameter.getValue()));
                } else if (field.getType() == String.class) {
                    field.set(benchmark, parameter.getValue());
                }
            }
            return ((Costed) benchmark).cost();
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(type + " is public, with public parameters", e);
        }
    }
}
