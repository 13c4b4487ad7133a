package io.sjd2.benchmarks;

import io.sjd2.Engine;
import io.sjd2.EngineOptions;
import io.sjd2.GeneratedImage;
import io.sjd2.GenerationListener;
import io.sjd2.GenerationRequest;
import io.sjd2.ScenePrompts;
import io.sjd2.WindowPlan;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.runner.IterationType;

/// One picture of the bundled model, from prompt to pixels.
@State(Scope.Thread)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
@Fork(
        value = 3,
        jvmArgsAppend = {"--enable-native-access=ALL-UNNAMED", "-Xmx2g"})
public class GenerateBenchmark implements Costed {
    /// Enough that their mean compression is the model's.
    private static final List<String> PROMPTS = ScenePrompts.heldOut(16);

    @Param("cpu")
    public String backend = "cpu";

    @Param("0")
    public int threads;

    /// Under the home folder, which the property `sjd2.home` names.
    @Param("models/demo")
    public String folder = "models/demo";

    @Param({"ar", "jacobi", "sjd", "sjd-mc", "sjd-gs", "exact", "sjd2", "sjd2-mc", "sjd2-gs", "sjd2-exact"})
    public String decoder = "ar";

    /// Positions refined per pass; 0: what the engine chooses.
    @Param("0")
    public int rows;

    @Param("bf16")
    public String dtype = "bf16";

    /// How far the decode loop may take from what the window's plan predicts.
    private static final double AGREEMENT = 0.15;

    private static final int MOST_SAMPLES = 10_000;

    private final double[] decodeSeconds = new double[MOST_SAMPLES];
    private int samples;

    private @Nullable Engine engine;
    private @Nullable WindowPlan plan;
    private @Nullable Path cache;
    private boolean counting;
    private long seed;

    @Setup(Level.Trial)
    public void openAndCheck() throws IOException {
        // A user's windows, and so the pictures of a seed, stay as they are.
        Path folderOfCurves = Files.createTempDirectory("sjd2-bench");
        cache = folderOfCurves;
        System.setProperty("sjd2.cache", folderOfCurves.toString());
        Engine opened = Engine.open(
                Path.of(System.getProperty("sjd2.home", "."), folder),
                EngineOptions.defaults()
                        .withBackend(backend)
                        .withThreads(threads)
                        .withDtype(dtype.equals("f32") ? DType.F32 : DType.BF16));
        engine = opened;
        GeneratedImage image = generate(opened, decoder, 7);
        if (!Arrays.equals(image.tokens(), generate(opened, decoder, 7).tokens())) {
            throw new IllegalStateException(decoder + ": the same seed gave two pictures");
        }
        if (decoder.endsWith("exact")
                && !Arrays.equals(image.tokens(), generate(opened, "ar", 7).tokens())) {
            throw new IllegalStateException(decoder + ": tokens differ from those of ar for the same seed");
        }
        if (rows == GenerationRequest.AUTO_WINDOW) {
            plan = opened.planWindow(decoder, opened.info().defaults().guidance(), 1);
        }
    }

    private GeneratedImage generate(Engine opened, String name, long withSeed) {
        String prompt = PROMPTS.get((int) (withSeed % PROMPTS.size()));
        GenerationRequest request = GenerationRequest.of(prompt)
                .withSeed(withSeed)
                .withDecoder(name)
                .withWindow(name.equals("ar") ? GenerationRequest.AUTO_WINDOW : rows);
        return opened.generate(request, GenerationListener.NONE).getFirst();
    }

    /// Time of one picture; each has its own seed.
    @Benchmark
    public GeneratedImage latency() {
        Engine opened = engine;
        if (opened == null) {
            throw new IllegalStateException("the benchmark has not been set up");
        }
        GeneratedImage image = generate(opened, decoder, seed++);
        if (counting && samples < MOST_SAMPLES) {
            decodeSeconds[samples++] = image.statistics().seconds();
        }
        return image;
    }

    @Override
    public @Nullable Cost cost() {
        return null;
    }

    /// Leaves out what runs before Java has compiled it.
    @Setup(Level.Iteration)
    public void begin(IterationParams iteration) {
        counting = iteration.getType() == IterationType.MEASUREMENT;
    }

    /// What plans of the window predict for the decode loop, against what it took.
    ///
    /// A shared machine may be a tenth faster or slower some seconds later. The passes are measured on both sides of
    /// the pictures, and the mean of what both predict is what the pictures should take.
    ///
    /// @param before    predicted seconds from passes measured before the pictures
    /// @param after     and from passes measured behind them
    /// @param measured  seconds, of one picture each
    static String agreement(double before, double after, double[] measured) {
        double predicted = (before + after) / 2;
        double[] sorted = measured.clone();
        Arrays.sort(sorted);
        double median = sorted[sorted.length / 2];
        double apart = median / predicted - 1;
        return String.format(
                Locale.ROOT,
                "predicted %.4f s a picture (%.4f before, %.4f after), measured %.4f s (median of %d): %+.1f %%, %s %.0f %%",
                predicted,
                before,
                after,
                median,
                sorted.length,
                100 * apart,
                Math.abs(apart) <= AGREEMENT ? "within" : "NOT within",
                100 * AGREEMENT);
    }

    private static double predictedSeconds(WindowPlan curve, int window) {
        return curve.points().stream()
                .filter(point -> point.window() == window)
                .mapToDouble(curve::predictedSeconds)
                .findFirst()
                .orElseThrow();
    }

    @TearDown(Level.Trial)
    public void close() throws IOException {
        Engine opened = engine;
        engine = null;
        if (opened != null) {
            try (opened) {
                WindowPlan taken = plan;
                if (samples > 0 && taken != null) {
                    WindowPlan again =
                            opened.tuneWindow(decoder, opened.info().defaults().guidance(), 1);
                    System.out.println(decoder + ": window " + taken.window() + ", "
                            + agreement(
                                    taken.predictedSeconds(),
                                    predictedSeconds(again, taken.window()),
                                    Arrays.copyOf(decodeSeconds, samples)));
                }
            }
        }
        Path curves = cache;
        cache = null;
        if (curves != null) {
            try (DirectoryStream<Path> files = Files.newDirectoryStream(curves)) {
                for (Path file : files) {
                    Files.delete(file);
                }
            }
            Files.delete(curves);
        }
    }
}
