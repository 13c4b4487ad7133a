package io.sjd2.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class OperationBenchmarksTest {
    private static final List<Supplier<OperationBenchmark>> ALL = List.of(
            AttentionBenchmark::new,
            ConvBenchmark::new,
            ConvertBenchmark::new,
            EmbedBenchmark::new,
            GeluBenchmark::new,
            GroupNormBenchmark::new,
            LayerProductsBenchmark::new,
            LogLikelihoodBenchmark::new,
            MatmulBenchmark::new,
            PackConvBenchmark::new,
            PackWeightsBenchmark::new,
            PhiloxBenchmark::new,
            RmsNormAddBenchmark::new,
            RmsNormBenchmark::new,
            RopeAppendBenchmark::new,
            RoundBenchmark::new,
            SequenceInputBenchmark::new,
            SwigluBenchmark::new,
            TargetProbsBenchmark::new,
            VerifyBenchmark::new,
            WindowInputBenchmark::new);

    static Stream<OperationBenchmark> tiny() {
        return ALL.stream()
                .flatMap(maker -> Stream.of("f32", "bf16").map(dtype -> {
                    OperationBenchmark benchmark = maker.get();
                    benchmark.model = "tiny";
                    benchmark.dtype = dtype;
                    benchmark.rows = 5;
                    return benchmark;
                }));
    }

    @ParameterizedTest
    @MethodSource("tiny")
    void findsItsAnswerRightAndRuns(OperationBenchmark benchmark) {
        benchmark.openAndCheck();
        try {
            benchmark.latency();
            benchmark.latency();
        } finally {
            benchmark.close();
        }
        Cost cost = benchmark.cost();
        assertThat(cost).isNotNull();
        assertThat(cost.bytes() + cost.flop()).isPositive();
    }

    @Test
    void vqAttentionFindsItsAnswerRight() {
        VqAttentionBenchmark benchmark = new VqAttentionBenchmark();
        benchmark.model = "tiny";
        benchmark.channels = 16;
        benchmark.openAndCheck();
        benchmark.latency();
        benchmark.close();
    }

    /// Writes another answer the second time it is prepared, which is for the reference.
    private static final class Wrong extends OperationBenchmark {
        private int prepared;

        @Override
        Runnable prepare(Case c) {
            Tensor out = c.output(DType.F32, 4);
            Tensor answer = c.random(DType.F32, ++prepared, 4);
            return () -> c.backend().kernels().convert(out, answer);
        }

        @Override
        public Cost cost() {
            return Cost.of(32, 0, DType.F32, 1);
        }
    }

    @Test
    void wrongAnswerIsNotTimed() {
        Wrong wrong = new Wrong();
        assertThatThrownBy(wrong::openAndCheck)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("differs from the reference");
        wrong.close();
    }
}
