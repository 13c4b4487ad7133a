package io.sjd2.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;

/// One iteration of the decode loop, maximal coupling, as the decoder runs it. Less {@link ForwardPassBenchmark}
/// it is what sampling, verification and the host take.
public class DecodeStepBenchmark extends PassBenchmark {
    /// Time until the host knows what was committed.
    @Benchmark
    public void latency() {
        pass().step();
    }
}
