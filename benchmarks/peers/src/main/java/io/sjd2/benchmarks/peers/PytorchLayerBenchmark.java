package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.Pass;

/// Decoder layers one after another.
public class PytorchLayerBenchmark extends PytorchPassBenchmark {
    @Override
    int codes() {
        return Pass.FEW_CODES;
    }
}
