package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.reference.ReferenceBackend;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.Scorer;
import io.sjd2.model.Transformer;
import io.sjd2.tensor.DType;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import io.sjd2.vq.PatchTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// A model folder written by the trainer is the model that was trained: for the engine, and for the trainer itself.
class ModelExportTest {
    private static final int CODES = 16;

    private static PatchTokenizer images() {
        SplittableRandom random = new SplittableRandom(4);
        float[] codebook = new float[CODES * 3 * 2 * 2];
        for (int i = 0; i < codebook.length; i++) {
            codebook[i] = (float) random.nextDouble(-1, 1);
        }
        return new PatchTokenizer(codebook, CODES, 2, 3, 3);
    }

    private static TrainingData data() {
        return new TrainingData() {
            @Override
            public long size() {
                return 16;
            }

            @Override
            public Example example(long index) {
                int[] codes = new int[9];
                java.util.Arrays.setAll(codes, i -> (int) (index + i * (1 + index % 2)) % CODES);
                return new Example(new int[] {3 + (int) index, 20}, codes);
            }
        };
    }

    @Test
    void theEngineScoresWhatTheTrainerScores(@TempDir Path folder) throws IOException {
        String json = WordTokenizerBuilder.build(List.of("red", "blue"), CODES);
        Vocabulary vocabulary = Vocabulary.of(Tokenizer.parse(json, "test"), CODES, 3, 3);
        NetworkShape shape = NetworkShape.demo(vocabulary.size(), CODES, 3, 32, 40, 2, 2, 24);
        TrainOptions options = TrainOptions.defaults(Objective.SJD2_FINETUNE)
                .withSteps(25, 5, 5)
                .withBatch(4, 4)
                .withDtype(DType.F32);
        float[] weights;
        try (Native n = new Native("", 2);
                Trainer trainer = new Trainer(n.kernels, shape, options, vocabulary, data())) {
            trainer.initialise(images());
            trainer.run(p -> true);
            ModelExport.write(trainer, false, List.of("red", "blue"), json, images(), folder);
        }
        try (Native n = new Native("", 2);
                Trainer trainer = new Trainer(n.kernels, shape, options, vocabulary, data());
                Backend backend = new ReferenceBackend();
                Transformer model = Transformer.load(
                        backend, folder, ModelDescription.read(folder), DType.F32, (done, total) -> {})) {
            trainer.load(folder);
            double expected = trainer.evaluate(data(), 1, false);
            TrainingData.Example example = data().example(0);
            int[] prompt = {
                vocabulary.bosToken(), example.caption()[0], example.caption()[1], vocabulary.imageBeginToken()
            };
            double total = 0;
            for (float s : new Scorer(model).score(prompt, example.codes())) {
                total -= s;
            }
            assertThat(Math.abs(total / example.codes().length - expected)).isLessThan(1e-5);
            assertThat(model.noiseAdapter()).isNotNull();
            weights = trainer.weights(false).toFloats();
        }
        assertThat(weights).doesNotContain(Float.NaN);
        try (Stream<Path> files = Files.walk(folder)) {
            assertThat(files.filter(Files::isRegularFile)
                            .map(f -> folder.relativize(f).toString()))
                    .contains(
                            "config.json",
                            "generation_config.json",
                            "model.safetensors",
                            "tokenizer.json",
                            "sjd2.json",
                            "sjd2.safetensors",
                            "vq/config.json",
                            "vq/model.safetensors");
        }
    }
}
