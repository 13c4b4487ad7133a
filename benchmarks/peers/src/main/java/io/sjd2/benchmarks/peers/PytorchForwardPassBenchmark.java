package io.sjd2.benchmarks.peers;

/// A whole pass, from inputs to logits.
public class PytorchForwardPassBenchmark extends PytorchPassBenchmark {
    @Override
    int codes() {
        return shape().codes;
    }
}
