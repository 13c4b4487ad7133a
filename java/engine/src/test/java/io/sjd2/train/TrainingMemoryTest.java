package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What is said to be needed is what is allocated, by counting it.
class TrainingMemoryTest {
    /// Rows of padding, tables of angles, and the optimiser's list of matrices are not worth a formula.
    private static final double TOLERANCE = 0.05;

    /// Counts what is asked for.
    private static final class CountingArena implements Arena {
        private final Arena arena = Arena.ofConfined();
        private long bytes;

        @Override
        public MemorySegment allocate(long size, long alignment) {
            bytes += size;
            return arena.allocate(size, alignment);
        }

        @Override
        public MemorySegment.Scope scope() {
            return arena.scope();
        }

        @Override
        public void close() {
            arena.close();
        }
    }

    @ParameterizedTest
    @CsvSource({"PRETRAIN, F32, 2", "PRETRAIN, BF16, 5", "SJD2_FINETUNE, BF16, 3"})
    void theEstimateIsWhatIsAllocated(Objective objective, DType dtype, int microBatch) {
        NetworkShape shape = NetworkShape.demo(700, 512, 16, 128, 320, 3, 2, 288);
        TrainOptions options = TrainOptions.defaults(objective)
                .withBatch(microBatch, microBatch)
                .withDtype(dtype);
        try (Backend backend = Backends.openForTraining("auto", 1);
                CountingArena arena = new CountingArena()) {
            Parameters params = new Parameters(shape, arena);
            new Optimizer(backend.training(), params, options, arena);
            int rows = microBatch * shape.maxPositions();
            new SequenceBatch(arena, microBatch, rows);
            new Network(backend.training(), params, dtype, arena, rows, microBatch * 256);
            TrainingMemory estimate = TrainingMemory.of(shape, options);
            assertThat((double) estimate.bytes()).isCloseTo(arena.bytes, within(TOLERANCE * arena.bytes));
        }
    }

    @Test
    void aRunThatDoesNotFitIsRefusedWithNumbers() {
        TrainingMemory need = new TrainingMemory(3_000_000_000L, 1_500_000_000L);
        need.require(4_500_000_000L);
        need.require(0);
        assertThatIllegalStateException()
                .isThrownBy(() -> need.require(4_499_999_999L))
                .withMessageContaining("4.50 GB")
                .withMessageContaining("weights and optimiser 3.00 GB")
                .withMessageContaining("--micro-batch");
    }

    @Test
    void theMachineHasMemory() {
        assertThat(TrainingMemory.available()).isGreaterThan(1 << 20);
    }
}
