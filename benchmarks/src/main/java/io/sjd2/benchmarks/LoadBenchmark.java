package io.sjd2.benchmarks;

import io.sjd2.Engine;
import io.sjd2.EngineOptions;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Path;
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
import org.openjdk.jmh.annotations.Warmup;

/// Opening a model folder whose files the system already holds in memory, until a picture could be asked for.
@State(Scope.Thread)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 3,
        jvmArgsAppend = {"--enable-native-access=ALL-UNNAMED", "-Xmx2g"})
public class LoadBenchmark implements Costed {
    @Param("cpu")
    public String backend = "cpu";

    @Param("0")
    public int threads;

    /// Under the home folder, which the property `sjd2.home` names.
    @Param("models/demo")
    public String folder = "models/demo";

    @Param({"f32", "bf16"})
    public String dtype = "bf16";

    private long weightBytes;

    private Engine open() throws IOException {
        return Engine.open(
                Path.of(System.getProperty("sjd2.home", "."), folder),
                EngineOptions.defaults()
                        .withBackend(backend)
                        .withThreads(threads)
                        .withDtype(dtype.equals("f32") ? DType.F32 : DType.BF16));
    }

    @Setup(Level.Trial)
    public void openAndCheck() throws IOException {
        try (Engine engine = open()) {
            weightBytes = engine.info().weightBytes();
        }
        if (weightBytes <= 0) {
            throw new IllegalStateException(
                    folder + ": loaded " + weightBytes + " bytes of weights, expected more than none");
        }
    }

    /// Time from a closed folder to an open engine, and closing it.
    @Benchmark
    public long latency() throws IOException {
        try (Engine engine = open()) {
            return engine.info().weightBytes();
        }
    }

    @Override
    public @Nullable Cost cost() {
        return null;
    }
}
