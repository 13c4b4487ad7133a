package io.sjd2.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/// The comparison of prediction and measurement, on given numbers.
class GenerateBenchmarkTest {
    @Test
    void theMedianIsHeldAgainstThePrediction() {
        assertThat(GenerateBenchmark.agreement(1.9, 2.1, new double[] {9, 2.2, 2.1}))
                .contains("measured 2.2000 s (median of 3)", "+10.0 %", ", within 15 %");
        assertThat(GenerateBenchmark.agreement(1.9, 2.1, new double[] {1.6})).contains("-20.0 %", "NOT within 15 %");
    }
}
