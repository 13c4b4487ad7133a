package io.sjd2.benchmarks;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
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

/// One operation at the shapes of a model. `latency` enqueues one call and waits for the device.
///
/// Before anything is timed, the first rows of what the backend computes are held against the reference backend.
@State(Scope.Thread)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 3,
        jvmArgsAppend = {"--enable-native-access=ALL-UNNAMED", "-Xmx2g"})
public abstract class OperationBenchmark implements Costed {
    /// Relative error in the norm that an f32 result may have: sums in f32, in another order.
    private static final double F32_ERROR = 1e-5;

    /// And a bf16 result: one rounding, and those of what went into it.
    private static final double BF16_ERROR = 6e-3;

    private static final int CHECKED_ROWS = 4;

    @Param("cpu")
    public String backend = "cpu";

    /// Worker threads; 0: every core.
    @Param("0")
    public int threads;

    @Param({"demo", "janus-pro-1b", "lumina-7b"})
    public String model = "demo";

    @Param({"f32", "bf16"})
    public String dtype = "f32";

    /// Positions refined per pass.
    @Param({"1", "16", "64"})
    public int rows = 1;

    private @Nullable Case timed;
    private Runnable call = () -> {};

    /// Allocates what a call touches and returns the call. The call may be repeated.
    abstract Runnable prepare(Case c);

    /// Rows of the case that is held against the reference: few, as the reference is slow. All where a row's
    /// result depends on the others.
    int checkedRows() {
        return Math.min(rows, CHECKED_ROWS);
    }

    final Shape shape() {
        return Shape.of(model);
    }

    final DType type() {
        return dtype.equals("f32") ? DType.F32 : DType.BF16;
    }

    @Setup(Level.Trial)
    public final void openAndCheck() {
        Case opened = new Case(backend, threads, shape(), type(), rows);
        timed = opened;
        call = prepare(opened);
        try (Case reference = new Case("reference", 0, shape(), type(), checkedRows())) {
            prepare(reference).run();
            reference.backend().synchronize();
            call.run();
            opened.backend().synchronize();
            for (int i = 0; i < reference.outputs().size(); i++) {
                assertClose(i, opened, reference);
            }
        }
    }

    private void assertClose(int output, Case opened, Case reference) {
        Tensor tensor = opened.outputs().get(output);
        double[] got = opened.download(tensor);
        double[] want = reference.download(reference.outputs().get(output));
        double error = 0;
        double norm = 0;
        for (int i = 0; i < want.length; i++) {
            error += (got[i] - want[i]) * (got[i] - want[i]);
            norm += want[i] * want[i];
        }
        double allowed = switch (tensor.dtype()) {
            case F32 -> F32_ERROR;
            case BF16 -> BF16_ERROR;
            default -> 0;
        };
        // Written so that NaN fails; an output of zeros means that nothing was computed.
        if (!(Math.sqrt(error) <= allowed * Math.sqrt(norm)) || norm == 0) {
            throw new IllegalStateException(
                    getClass().getSimpleName() + " on " + opened.backend().name() + ", " + model
                            + ", " + dtype + ", " + rows + " rows: output " + output + " differs from the reference by "
                            + Math.sqrt(error / norm) + " of its norm, expected at most " + allowed
                            + "; a wrong result is not worth timing");
        }
    }

    /// Time until the result is there.
    @Benchmark
    public final void latency() {
        call.run();
        if (timed != null) {
            timed.backend().synchronize();
        }
    }

    @TearDown(Level.Trial)
    public final void close() {
        if (timed != null) {
            timed.close();
            timed = null;
        }
    }
}
