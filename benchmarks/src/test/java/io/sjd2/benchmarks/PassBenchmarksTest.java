package io.sjd2.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PassBenchmarksTest {
    @ParameterizedTest
    @CsvSource({"f32,1,1", "f32,6,2", "bf16,6,2"})
    void passesAgreeWithTheReferenceAndRun(String dtype, int rows, int batch) {
        ForwardPassBenchmark forward = new ForwardPassBenchmark();
        DecodeStepBenchmark step = new DecodeStepBenchmark();
        LayerBenchmark layer = new LayerBenchmark();
        for (PassBenchmark benchmark : new PassBenchmark[] {forward, step, layer}) {
            benchmark.model = "tiny";
            benchmark.dtype = dtype;
            benchmark.rows = rows;
            benchmark.batch = batch;
            benchmark.openAndCheck();
        }
        forward.latency();
        step.latency();
        step.latency();
        assertThat(step.pass().accepted()).isBetween(1, rows);
        forward.close();
        step.close();
        layer.latency();
        layer.close();
    }

    @Test
    void costOfAPassIsThatOfItsProductsAndItsCache() {
        ForwardPassBenchmark forward = new ForwardPassBenchmark();
        forward.model = "janus-pro-1b";
        forward.layers = 0;
        forward.dtype = "bf16";
        Cost cost = forward.cost();
        // 24 layers of 4 h^2 + 3 h i, a head of 16,384 codes; the cache adds a little.
        double weights = 24 * (4.0 * 2048 * 2048 + 3.0 * 2048 * 5632) + 16_384.0 * 2048;
        assertThat(cost.bytes()).isBetween(2 * weights, 2.1 * weights);
        assertThat(cost.flop()).isBetween(2 * weights, 2.1 * weights);
        assertThat(cost.cached()).isFalse();
    }

    @Test
    void generatingAndLoadingRun() throws IOException {
        GenerateBenchmark generate = new GenerateBenchmark();
        generate.decoder = "sjd2-exact";
        generate.rows = 16;
        generate.openAndCheck();
        assertThat(generate.latency().tokens()).hasSize(256);
        generate.close();
        LoadBenchmark load = new LoadBenchmark();
        load.openAndCheck();
        assertThat(load.latency()).isPositive();
    }
}
