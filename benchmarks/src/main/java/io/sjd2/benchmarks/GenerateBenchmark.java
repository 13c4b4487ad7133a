package io.sjd2.benchmarks;

import io.sjd2.Engine;
import io.sjd2.EngineOptions;
import io.sjd2.GeneratedImage;
import io.sjd2.GenerationListener;
import io.sjd2.GenerationRequest;
import io.sjd2.ScenePrompts;
import io.sjd2.tensor.DType;
import java.io.IOException;
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
    private long seed;

    @Setup(Level.Trial)
    public void openAndCheck() throws IOException {
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
        if (samples < MOST_SAMPLES) {
            decodeSeconds[samples++] = image.statistics().seconds();
        }
        return image;
    }

    @Override
    public @Nullable Cost cost() {
        return null;
    }

    /// Forgets what ran before Java had compiled it.
    @Setup(Level.Iteration)
    public void forget() {
        samples = 0;
    }

    /// What the plan of the window predicts for the decode loop, against what it took in the last iteration.
    ///
    /// @param predicted  seconds
    /// @param measured   seconds, of one picture each
    static String agreement(double predicted, double[] measured) {
        double[] sorted = measured.clone();
        Arrays.sort(sorted);
        double median = sorted[sorted.length / 2];
        double apart = median / predicted - 1;
        return String.format(
                Locale.ROOT,
                "predicted %.4f s a picture, measured %.4f s (median of %d): %+.1f %%, %s %.0f %%",
                predicted,
                median,
                sorted.length,
                100 * apart,
                Math.abs(apart) <= AGREEMENT ? "within" : "NOT within",
                100 * AGREEMENT);
    }

    @TearDown(Level.Trial)
    public void close() {
        if (engine != null) {
            if (samples > 0 && rows == GenerationRequest.AUTO_WINDOW) {
                double predicted = engine.planWindow(
                                decoder, engine.info().defaults().guidance(), 1)
                        .predictedSeconds();
                System.out.println(decoder + ": " + agreement(predicted, Arrays.copyOf(decodeSeconds, samples)));
            }
            engine.close();
            engine = null;
        }
    }
}
