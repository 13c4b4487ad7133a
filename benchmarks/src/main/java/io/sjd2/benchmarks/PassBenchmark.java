package io.sjd2.benchmarks;

import io.sjd2.tensor.DType;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
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

/// What benchmarks of whole passes share: layers of a model's shape, and a check of the logits against the
/// reference.
@State(Scope.Thread)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 3,
        jvmArgsAppend = {"--enable-native-access=ALL-UNNAMED", "-Xmx2g"})
public abstract class PassBenchmark implements Costed {
    /// The reference is slow, and computes a single row of so many layers.
    private static final int CHECKED_LAYERS = 2;

    /// Relative error in the norm of logits in f32; a whole pass in bf16 rounds at every layer.
    private static final double F32_ERROR = 1e-4;

    private static final double BF16_ERROR = 3e-2;

    @Param("cpu")
    public String backend = "cpu";

    /// Worker threads; 0: every core.
    @Param("0")
    public int threads;

    @Param({"demo", "janus-pro-1b", "lumina-7b"})
    public String model = "demo";

    /// Layers of the model's shape; 0: as many as the model has.
    @Param("2")
    public int layers = 2;

    @Param({"f32", "bf16"})
    public String dtype = "f32";

    /// Positions refined per pass.
    @Param({"1", "4", "16", "32", "64", "96"})
    public int rows = 1;

    /// Sequences of the one image: 2 with guidance.
    @Param({"1", "2"})
    public int batch = 1;

    private @Nullable Pass opened;

    private DType type() {
        return dtype.equals("f32") ? DType.F32 : DType.BF16;
    }

    private int depth() {
        return layers == 0 ? Shape.of(model).layers : layers;
    }

    /// Of the head.
    int codes() {
        return Shape.of(model).codes;
    }

    final Pass pass() {
        Pass pass = opened;
        if (pass == null) {
            throw new IllegalStateException("the benchmark has not been set up");
        }
        return pass;
    }

    @Setup(Level.Trial)
    public final void openAndCheck() {
        check();
        opened = new Pass(backend, threads, Shape.of(model), depth(), codes(), type(), rows, batch);
        opened.step();
        if (opened.accepted() < 1) {
            throw new IllegalStateException(
                    "a step on " + backend + " committed nothing, expected at least one position");
        }
    }

    private void check() {
        int few = Math.min(depth(), CHECKED_LAYERS);
        try (Pass own = new Pass(backend, threads, Shape.of(model), few, codes(), type(), 1, batch);
                Pass reference = new Pass("reference", 0, Shape.of(model), few, codes(), type(), 1, batch)) {
            own.forward();
            reference.forward();
            assertClose(own.logits(), reference.logits());
        }
    }

    private void assertClose(float[] got, float[] want) {
        double error = 0;
        double norm = 0;
        for (int i = 0; i < want.length; i++) {
            error += ((double) got[i] - want[i]) * ((double) got[i] - want[i]);
            norm += (double) want[i] * want[i];
        }
        double allowed = type() == DType.F32 ? F32_ERROR : BF16_ERROR;
        // Written so that NaN fails.
        if (!(Math.sqrt(error) <= allowed * Math.sqrt(norm)) || norm == 0) {
            throw new IllegalStateException(getClass().getSimpleName() + " on " + backend + ", " + model + ", " + dtype
                    + ": logits differ from the reference by " + Math.sqrt(error / norm) + " of their norm, expected at"
                    + " most " + allowed + "; a wrong result is not worth timing");
        }
    }

    @Override
    public final Cost cost() {
        return Pass.cost(Shape.of(model), depth(), codes(), type(), rows, batch);
    }

    @TearDown(Level.Trial)
    public final void close() {
        if (opened != null) {
            opened.close();
            opened = null;
        }
    }
}
