package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.ModelFormatException;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// What a run promises: it learns, threads do not show, a killed run continues bit for bit, NaN stops it.
class TrainerTest {
    private static final int CODES = 12;
    private static final Vocabulary VOCABULARY = new Vocabulary(4 + 8 + CODES, 1, 2, 4 + 8, CODES, 4, 4);

    /// Pictures of stripes: the caption names two codes that take turns.
    private static final class Stripes implements TrainingData {
        @Override
        public long size() {
            return 40;
        }

        @Override
        public Example example(long index) {
            int a = (int) (index % 8);
            int b = (int) (index / 8 % 5);
            int[] codes = new int[16];
            for (int i = 0; i < codes.length; i++) {
                codes[i] = i % 2 == 0 ? a : b;
            }
            int[] caption = new int[(int) (2 + index % 3)];
            Arrays.fill(caption, 4 + b);
            caption[0] = 4 + a;
            return new Example(caption, codes);
        }
    }

    private static NetworkShape shape() {
        return NetworkShape.demo(VOCABULARY.size(), CODES, 4, 32, 48, 2, 2, 24);
    }

    private static TrainOptions options(Objective objective, OptimizerKind optimizer, DType dtype) {
        return TrainOptions.defaults(objective)
                .withSeed(5)
                .withSteps(12, 3, 4)
                .withBatch(6, 3)
                .withLearningRate(0.01f)
                .withOptimizer(optimizer)
                .withDtype(dtype);
    }

    private static Trainer trainer(Native n, TrainOptions options) {
        return new Trainer(n.kernels, shape(), options, VOCABULARY, new Stripes());
    }

    private static float[] train(TrainOptions options, int threads) throws IOException {
        try (Native n = new Native("", threads);
                Trainer trainer = trainer(n, options)) {
            trainer.initialise(null);
            trainer.run(p -> true);
            return everything(trainer);
        }
    }

    /// Weights and their average, which between them depend on all other state.
    private static float[] everything(Trainer trainer) {
        float[] values = trainer.weights(false).toFloats();
        float[] average = trainer.weights(true).toFloats();
        float[] all = Arrays.copyOf(values, values.length + average.length);
        System.arraycopy(average, 0, all, values.length, average.length);
        return all;
    }

    @Test
    void learnsStripes() throws IOException {
        TrainOptions options =
                options(Objective.PRETRAIN, OptimizerKind.MUON, DType.BF16).withSteps(120, 10, 40);
        try (Native n = new Native("", 2);
                Trainer trainer = trainer(n, options)) {
            trainer.initialise(null);
            double before = trainer.evaluate(new Stripes(), 40, false);
            double[] last = new double[1];
            trainer.run(p -> {
                last[0] = p.loss();
                return true;
            });
            assertThat(before).isGreaterThan(0.8 * Math.log(CODES));
            // Caption and picture decide every code; only the dropped captions cost something.
            assertThat(trainer.evaluate(new Stripes(), 40, false)).isLessThan(0.05);
            assertThat(trainer.evaluate(new Stripes(), 40, true)).isLessThan(1.0);
            assertThat(trainer.step()).isEqualTo(120);
        }
    }

    @Test
    void adamwLearnsToo() throws IOException {
        TrainOptions options =
                options(Objective.PRETRAIN, OptimizerKind.ADAMW, DType.F32).withSteps(120, 10, 40);
        try (Native n = new Native("", 2);
                Trainer trainer = trainer(n, options)) {
            trainer.initialise(null);
            trainer.run(p -> true);
            assertThat(trainer.evaluate(new Stripes(), 40, false)).isLessThan(0.2);
        }
    }

    @ParameterizedTest
    @EnumSource(Objective.class)
    void threadsDoNotShow(Objective objective) throws IOException {
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            TrainOptions options = options(objective, OptimizerKind.MUON, dtype);
            float[] one = train(options, 1);
            assertThat(train(options, 2)).isEqualTo(one);
            assertThat(train(options, 3)).isEqualTo(one);
        }
    }

    private static final class Killed extends RuntimeException {
        private static final long serialVersionUID = 1L;
    }

    /// Killed after every step in turn, with checkpoints every two steps: the last one is up to a step old.
    @ParameterizedTest
    @EnumSource(Objective.class)
    void aKilledRunContinuesBitForBit(Objective objective, @TempDir Path folder) throws IOException {
        for (OptimizerKind optimizer : OptimizerKind.values()) {
            TrainOptions plain = options(objective, optimizer, DType.BF16);
            float[] whole = train(plain, 2);
            for (int killAt = 1; killAt <= plain.steps(); killAt++) {
                Path file = folder.resolve(optimizer + "-" + killAt + ".ckpt");
                TrainOptions options = plain.withCheckpoint(file, 2);
                int stop = killAt;
                try (Native n = new Native("", 2);
                        Trainer trainer = trainer(n, options)) {
                    assertThat(trainer.resume()).isFalse();
                    trainer.initialise(null);
                    assertThatThrownBy(() -> trainer.run(p -> {
                                if (p.step() == stop) {
                                    throw new Killed();
                                }
                                return true;
                            }))
                            .isInstanceOf(Killed.class);
                }
                try (Native n = new Native("", 1);
                        Trainer trainer = trainer(n, options)) {
                    if (!trainer.resume()) {
                        assertThat(killAt).isLessThanOrEqualTo(2);
                        trainer.initialise(null);
                    }
                    trainer.run(p -> true);
                    assertThat(everything(trainer))
                            .as("killed at step %d", killAt)
                            .isEqualTo(whole);
                }
            }
        }
    }

    @Test
    void stoppingWritesACheckpointOfThatStep(@TempDir Path folder) throws IOException {
        TrainOptions plain = options(Objective.PRETRAIN, OptimizerKind.MUON, DType.F32);
        TrainOptions options = plain.withCheckpoint(folder.resolve("run.ckpt"), 100);
        float[] whole = train(plain, 2);
        try (Native n = new Native("", 2);
                Trainer trainer = trainer(n, options)) {
            trainer.initialise(null);
            trainer.run(p -> p.step() < 5);
        }
        try (Native n = new Native("", 2);
                Trainer trainer = trainer(n, options)) {
            assertThat(trainer.resume()).isTrue();
            assertThat(trainer.step()).isEqualTo(5);
            trainer.run(p -> true);
            assertThat(everything(trainer)).isEqualTo(whole);
        }
    }

    @Test
    void aLossThatIsNotANumberStopsAndKeepsTheCheckpoint(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("run.ckpt");
        TrainOptions options =
                options(Objective.PRETRAIN, OptimizerKind.MUON, DType.F32).withCheckpoint(file, 2);
        try (Native n = new Native("", 2);
                Trainer trainer = trainer(n, options)) {
            trainer.initialise(null);
            byte[][] kept = new byte[1][];
            assertThatThrownBy(() -> trainer.run(p -> {
                        if (p.step() == 5) {
                            trainer.parameters().value("model.norm.weight").setFloat(0, Float.NaN);
                            try {
                                kept[0] = Files.readAllBytes(file);
                            } catch (IOException e) {
                                throw new java.io.UncheckedIOException(e);
                            }
                        }
                        return true;
                    }))
                    .isInstanceOf(TrainingDivergedException.class)
                    .hasMessageContaining("step 5")
                    .hasMessageContaining(file.toString());
            assertThat(Files.readAllBytes(file)).isEqualTo(kept[0]);
        }
        try (Native n = new Native("", 2);
                Trainer trainer = trainer(n, options)) {
            assertThat(trainer.resume()).isTrue();
            assertThat(trainer.step()).isEqualTo(4);
        }
    }

    @Test
    void aCheckpointOfAnotherRunIsRefused(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("run.ckpt");
        TrainOptions options =
                options(Objective.PRETRAIN, OptimizerKind.MUON, DType.F32).withCheckpoint(file, 2);
        try (Native n = new Native("", 1);
                Trainer trainer = trainer(n, options)) {
            trainer.initialise(null);
            trainer.run(p -> p.step() < 2);
        }
        try (Native n = new Native("", 1);
                Trainer other = trainer(n, options.withSeed(6))) {
            assertThatThrownBy(other::resume)
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining(file.toString())
                    .hasMessageContaining("seed");
        }
        Files.write(file, Arrays.copyOf(Files.readAllBytes(file), 1000));
        try (Native n = new Native("", 1);
                Trainer same = trainer(n, options)) {
            assertThatThrownBy(same::resume).isInstanceOf(ModelFormatException.class);
        }
    }

    @Test
    void theRateWarmsUpStaysAndFalls() {
        TrainOptions options =
                TrainOptions.defaults(Objective.PRETRAIN).withSteps(100, 10, 20).withLearningRate(1);
        assertThat(options.rateAt(0)).isEqualTo(0.1f);
        assertThat(options.rateAt(9)).isEqualTo(1);
        assertThat(options.rateAt(50)).isEqualTo(1);
        assertThat(options.rateAt(80)).isEqualTo(1);
        assertThat(options.rateAt(99)).isEqualTo(0.05f);
    }
}
