package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.model.Conditions;
import io.sjd2.model.LmFixture;
import io.sjd2.model.LoadListener;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.ModelFiles;
import io.sjd2.model.Prompt;
import io.sjd2.model.Scorer;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.testing.BiasedFixture;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every published family as the trainer's network: its loss is that of the engine's own forward pass, and its
/// gradients are the slopes of that loss.
class FamilyGradientsTest {
    private static final int EXAMPLES = 2;
    private static final long SEED = 5;

    @TempDir
    Path temp;

    /// f32 losses of two passes that add in different orders.
    private static final double LOSS = 2e-5;
    /// What a slope from differences may be off by: the curvature along the step, and the rounding of two f32 losses.
    private static final double SLOPE = 0.03;

    /// Below, the step that moves the loss enough leaves the part where it is straight.
    private static final double LEAST_SLOPE = 5e-3;

    static Stream<String> families() {
        List<String> published =
                List.of("chameleon", "chameleon_swin", "emu3", "janus", "llamagen_t2i", "llamagen_c2i");
        return Stream.concat(published.stream(), published.stream().limit(4).map(name -> name + BiasedFixture.SUFFIX));
    }

    private Path folder(String name) throws IOException {
        return name.endsWith(BiasedFixture.SUFFIX)
                ? BiasedFixture.write(LmFixture.folder(name.replace(BiasedFixture.SUFFIX, "")), temp.resolve(name))
                : LmFixture.folder(name);
    }

    private static Grid grid(ModelDescription d) {
        return d.picture().fixed() ? d.grid() : new Grid(4, 4);
    }

    /// A few examples with random codes behind random prompts.
    private static TrainingData data(ModelDescription d, @Nullable Conditions conditions) {
        Random random = new Random(SEED);
        Grid grid = grid(d);
        List<TrainingData.Example> examples = new ArrayList<>();
        for (int i = 0; i < EXAMPLES; i++) {
            int[] codes = random.ints(grid.cells(), 0, d.codes()).toArray();
            examples.add(new TrainingData.Example(new int[0], codes, prompts(d, conditions, random, i)));
        }
        return new TrainingData() {
            @Override
            public long size() {
                return examples.size();
            }

            @Override
            public Example example(long index) {
                return examples.get((int) index);
            }
        };
    }

    private static TrainingData.Prompts prompts(
            ModelDescription d, @Nullable Conditions conditions, Random random, int i) {
        if (conditions == null) {
            int vocabulary = d.transformer().vocabSize();
            return new TrainingData.Prompts(
                    Prompt.of(random.ints(5 + i, 0, vocabulary).toArray()),
                    Prompt.of(random.ints(3, 0, vocabulary).toArray()));
        }
        if (conditions.shape().captionWidth() == 0) {
            return new TrainingData.Prompts(
                    conditions.label(i), conditions.label(conditions.shape().classes()));
        }
        int rows = conditions.shape().rows();
        boolean[] mask = new boolean[rows];
        Arrays.fill(mask, 1 + i, rows, true);
        float[] features = new float[rows * conditions.shape().captionWidth()];
        for (int k = 0; k < features.length; k++) {
            features[k] = (float) random.nextGaussian();
        }
        return new TrainingData.Prompts(conditions.caption(features, mask), conditions.noCaption(mask));
    }

    private interface Use {
        void of(Trainer trainer, TrainingData data, Backend backend) throws IOException;
    }

    private void train(String name, Objective objective, Use use) throws IOException {
        Path folder = folder(name);
        ModelDescription d = ModelDescription.read(folder);
        try (Backend backend = Backends.openForTraining("cpu", 2);
                Arena arena = Arena.ofShared();
                ModelFiles files = ModelFiles.of(d, folder, true);
                PublishedWeights weights = PublishedWeights.open(folder, d)) {
            TrainingData data = data(d, Transformer.loadConditions(backend, files, arena));
            Grid grid = grid(d);
            int longest = 0;
            for (int i = 0; i < EXAMPLES; i++) {
                longest = Math.max(longest, data.example(i).prompts().longest());
            }
            TrainOptions published = TrainOptions.published();
            TrainOptions options = new TrainOptions(
                    objective,
                    SEED,
                    1,
                    EXAMPLES,
                    EXAMPLES,
                    1e-3f,
                    0,
                    0,
                    OptimizerKind.ADAMW,
                    0,
                    0,
                    0,
                    0,
                    0,
                    DType.F32,
                    // Every sequence carries noise.
                    new NoiseOptions(0.5, 5, 7, 1, 2, 4, 0.4, 0.5, 100, 500),
                    null,
                    published.checkpointInterval());
            try (Trainer trainer = new Trainer(
                    backend.training(),
                    weights.shape(longest + d.picture().length(grid)),
                    options,
                    Vocabulary.of(d, grid),
                    data)) {
                trainer.load(weights);
                use.of(trainer, data, backend);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("families")
    void theCleanLossIsThatOfTheEngine(String name) throws IOException {
        Path folder = folder(name);
        ModelDescription d = ModelDescription.read(folder);
        train(name, Objective.PRETRAIN, (trainer, data, backend) -> {
            double loss = trainer.evaluate(data, EXAMPLES, false);
            try (Transformer model = Transformer.load(backend, folder, d, DType.F32, LoadListener.NONE)) {
                double total = 0;
                for (int i = 0; i < EXAMPLES; i++) {
                    TrainingData.Example example = data.example(i);
                    for (float score :
                            new Scorer(model).score(example.prompts().conditional(), grid(d), example.codes())) {
                        total -= score;
                    }
                }
                assertThat(loss).isCloseTo(total / (EXAMPLES * grid(d).cells()), within(LOSS * loss));
            }
        });
    }

    /// Along the gradient of each tensor, and along random halves of its elements, the loss must climb as the gradient
    /// says.
    @ParameterizedTest
    @MethodSource("families")
    void gradientsAreSlopesOfTheNoisyLoss(String name) throws IOException {
        train(name, Objective.SJD2_FINETUNE, (trainer, data, backend) -> {
            Parameters params = trainer.parameters();
            // The small network of levels ends in zeros: with these nothing would flow back into its first layer.
            Random random = new Random(SEED);
            fill(params.value("sjd2.time_embed.fc2.weight"), random, 0.05);
            trainer.measure();
            trainer.weightsChanged();
            trainer.pass();
            float[] gradients = params.grads().toFloats();
            int checked = 0;
            for (Parameters.Slot slot : params.slots()) {
                for (int half = 0; half < 2; half++) {
                    checked += slope(trainer, slot, gradients, half == 0 ? null : random) ? 1 : 0;
                }
            }
            // Vectors that hardly matter may hide in rounding, matrices do not.
            assertThat(checked).isGreaterThan(params.slots().size());
        });
    }

    private static void fill(Tensor t, Random random, double std) {
        for (long i = 0; i < t.elements(); i++) {
            t.setFloat(i, (float) (std * random.nextGaussian()));
        }
    }

    /// @param random picks the elements; null takes all
    /// @return whether the slope was steep enough to be told from rounding
    private static boolean slope(Trainer trainer, Parameters.Slot slot, float[] gradients, @Nullable Random random) {
        Tensor values = trainer.parameters().value(slot.entry().name());
        int size = Math.toIntExact(slot.entry().elements());
        double[] direction = new double[size];
        double square = 0;
        for (int i = 0; i < size; i++) {
            boolean taken = random == null || random.nextBoolean();
            direction[i] = taken ? gradients[Math.toIntExact(slot.offset()) + i] : 0;
            square += direction[i] * direction[i];
        }
        double norm = Math.sqrt(square);
        if (norm < LEAST_SLOPE) {
            return false;
        }
        float[] before = values.toFloats();
        // A loss that moves by a thousandth is far above the rounding of its mean, and hardly bends on the way.
        double step = 0.001 / norm;
        double[] losses = new double[2];
        for (int side = 0; side < 2; side++) {
            for (int i = 0; i < size; i++) {
                values.setFloat(i, (float) (before[i] + (side == 0 ? -1 : 1) * step * direction[i] / norm));
            }
            trainer.weightsChanged();
            losses[side] = trainer.pass();
        }
        values.fill(before);
        trainer.weightsChanged();
        assertThat((losses[1] - losses[0]) / (2 * step)).as(slot.entry().name()).isCloseTo(norm, within(SLOPE * norm));
        return true;
    }

    /// What `TrainingMemory` says beforehand is what the parts allocate. Of networks as small as these, padding and
    /// alignment are a noticeable part.
    @ParameterizedTest
    @MethodSource("families")
    void memoryIsKnownBeforehand(String name) throws IOException {
        train(name, Objective.SJD2_FINETUNE, (trainer, data, backend) -> {
            NetworkShape shape = trainer.shape();
            long said = TrainingMemory.of(
                            shape, trainer.options(), trainer.vocabulary().cells())
                    .bytes();
            assertThat((double) trainer.allocatedBytes()).isCloseTo(said, within(0.05 * said + 131_072));
        });
    }

    /// Against values of `x Phi(x)` and its derivative to 15 digits, from the series in exact arithmetic.
    @Test
    void geluIsTheExactForm() {
        assertThat(Gelu.phi(0)).isEqualTo(0.5);
        assertThat(Gelu.phi(1)).isCloseTo(0.841344746068543, within(1e-14));
        assertThat(Gelu.phi(-2)).isCloseTo(0.0227501319481792, within(1e-15));
        assertThat(Gelu.phi(5)).isCloseTo(0.999999713348428, within(1e-14));
        assertThat(Gelu.phi(40)).isEqualTo(1);
        assertThat(Gelu.phi(-40)).isZero();
        double h = 1e-5;
        for (double x = -4; x <= 4; x += 0.37) {
            double slope = ((x + h) * Gelu.phi(x + h) - (x - h) * Gelu.phi(x - h)) / (2 * h);
            assertThat(Gelu.derivative(x)).isCloseTo(slope, within(1e-9));
        }
    }
}
