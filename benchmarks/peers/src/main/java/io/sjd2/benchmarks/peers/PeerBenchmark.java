package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.Shape;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.util.concurrent.TimeUnit;
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

/// Another engine at one of our benchmarks; its parameters are those of ours, and its answer is checked as ours is.
@State(Scope.Thread)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 3,
        jvmArgsAppend = {"--enable-native-access=ALL-UNNAMED", "--add-modules=jdk.incubator.vector", "-Xmx4g"})
public abstract class PeerBenchmark {
    /// Threads that compute; 0: every core.
    @Param("0")
    public int threads;

    @Param({"demo", "janus-pro-1b", "lumina-7b"})
    public String model = "demo";

    @Param({"f32", "bf16"})
    public String dtype = "f32";

    @Param({"1", "16", "64"})
    public int rows = 1;

    final Shape shape() {
        return Shape.of(model);
    }

    final DType type() {
        return dtype.equals("f32") ? DType.F32 : DType.BF16;
    }

    final int threadCount() {
        return threads == 0 ? Runtime.getRuntime().availableProcessors() : threads;
    }

    /// Opens the engine and computes once.
    ///
    /// @throws IllegalStateException if the answer is wrong
    abstract void open() throws IOException;

    /// One call, until its result is there.
    abstract void call();

    abstract void shut();

    @Setup(Level.Trial)
    public final void openAndCheck() throws IOException {
        open();
    }

    @Benchmark
    public final void latency() {
        call();
    }

    @TearDown(Level.Trial)
    public final void close() {
        shut();
    }
}
