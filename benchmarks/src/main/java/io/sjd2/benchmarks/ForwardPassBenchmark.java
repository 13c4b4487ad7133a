package io.sjd2.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;

/// One parallel pass over the window: the model alone, from inputs to logits.
public class ForwardPassBenchmark extends PassBenchmark {
    /// Time until the logits are there.
    @Benchmark
    public void latency() {
        pass().forward();
    }
}
