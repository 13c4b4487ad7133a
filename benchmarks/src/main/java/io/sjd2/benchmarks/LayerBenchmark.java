package io.sjd2.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;

/// Decoder layers one after another, two unless told otherwise, with a head too small to count: so many that no cache
/// holds the weights from call to call.
public class LayerBenchmark extends PassBenchmark {
    @Override
    int codes() {
        return Pass.FEW_CODES;
    }

    /// Time until the last layer's result is there.
    @Benchmark
    public void latency() {
        pass().forward();
    }
}
