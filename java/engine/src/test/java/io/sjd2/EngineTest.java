package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/// The whole engine over the bundled model: real weights, real kernels, every decoder.
class EngineTest {
    private static final Path DEMO = demo();
    private static final String PROMPT = "a large red circle above a small blue square";

    private static Engine f32;
    private static Engine bf16;

    private static Path demo() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(here.resolve("models/demo"))) {
            here = here.getParent();
        }
        return here.resolve("models/demo");
    }

    @BeforeAll
    static void open() throws IOException {
        f32 = Engine.open(DEMO, EngineOptions.defaults().withDtype(DType.F32));
        bf16 = Engine.open(DEMO, EngineOptions.defaults().withDtype(DType.BF16));
    }

    @AfterAll
    static void close() {
        f32.close();
        bf16.close();
    }

    private static Engine engine(DType dtype) {
        return dtype == DType.F32 ? f32 : bf16;
    }

    static Stream<Arguments> exactCases() {
        return Stream.of(DType.F32, DType.BF16)
                .flatMap(dtype -> Stream.of(1.0, 3.0)
                        .flatMap(guidance -> Stream.of("exact", "sjd2-exact")
                                .flatMap(decoder -> Stream.of(2, 16, 64)
                                        .map(window -> Arguments.of(dtype, guidance, decoder, window)))));
    }

    @ParameterizedTest
    @MethodSource("exactCases")
    void exactDecodersGiveTheTokensOfAutoregression(DType dtype, double guidance, String decoder, int window) {
        GenerationRequest request = GenerationRequest.of(PROMPT)
                .withGuidance(guidance)
                .withImages(3)
                .withSeed(11);
        List<GeneratedImage> expected = engine(dtype).generate(request.withDecoder("ar"), GenerationListener.NONE);
        List<GeneratedImage> actual =
                engine(dtype).generate(request.withDecoder(decoder).withWindow(window), GenerationListener.NONE);
        for (int i = 0; i < expected.size(); i++) {
            assertThat(actual.get(i).tokens())
                    .as("picture %d", i)
                    .containsExactly(expected.get(i).tokens());
            // Two rows leave a slot no pass to lose its noise in, so sjd2-exact may need as many passes as ar there.
            assertThat(actual.get(i).statistics().passes()).isLessThan(window < 16 ? 257 : 256);
        }
    }

    @ParameterizedTest
    @CsvSource({"jacobi", "sjd", "sjd-mc", "sjd-gs", "exact", "sjd2", "sjd2-mc", "sjd2-gs", "sjd2-exact"})
    void topOneIsGreedyForEveryDecoder(String decoder) {
        GenerationRequest request =
                GenerationRequest.of(PROMPT).withGuidance(1.0).withSampling(1.0, 1, 1.0);
        int[] greedy = bf16.generate(request.withDecoder("ar"), GenerationListener.NONE)
                .getFirst()
                .tokens();
        for (int window : new int[] {3, 32}) {
            assertThat(bf16.generate(request.withDecoder(decoder).withWindow(window), GenerationListener.NONE)
                            .getFirst()
                            .tokens())
                    .as("window %d", window)
                    .containsExactly(greedy);
        }
    }

    @Test
    void pictureDependsOnSeedAndIndexAlone() {
        GenerationRequest request = GenerationRequest.of(PROMPT).withSeed(3).withWindow(32);
        List<GeneratedImage> three = bf16.generate(request.withImages(3), GenerationListener.NONE);
        List<GeneratedImage> ten = bf16.generate(request.withImages(10), GenerationListener.NONE);
        for (int i = 0; i < 3; i++) {
            assertThat(ten.get(i).tokens()).containsExactly(three.get(i).tokens());
        }
        assertThat(three.get(0).tokens()).isNotEqualTo(three.get(1).tokens());
    }

    @Test
    void cancellingLeavesTheEngineUsable() {
        GenerationListener impatient = new GenerationListener() {
            private int asked;

            @Override
            public boolean cancelled() {
                return ++asked > 3;
            }
        };
        GenerationRequest request = GenerationRequest.of(PROMPT).withDecoder("ar");
        assertThatThrownBy(() -> bf16.generate(request, impatient)).isInstanceOf(CancellationException.class);
        assertThat(bf16.generate(request, GenerationListener.NONE)).hasSize(1);
    }

    @Test
    void scoresAreLogProbabilities() {
        GeneratedImage image = bf16.generate(
                        GenerationRequest.of(PROMPT).withGuidance(1.0).withDecoder("ar"), GenerationListener.NONE)
                .getFirst();
        double[] scores = bf16.logLikelihood(PROMPT, false, image.codes());
        assertThat(scores).hasSize(256);
        assertThat(Arrays.stream(scores)).allMatch(s -> s <= 0 && s > -30);
        // The same codes in another order are no picture of the model.
        int[][] shuffled = image.codes().clone();
        for (int r = 0; r < 8; r++) {
            int[] other = shuffled[r];
            shuffled[r] = shuffled[15 - r];
            shuffled[15 - r] = other;
        }
        assertThat(sum(bf16.logLikelihood(PROMPT, false, shuffled))).isLessThan(sum(scores) - 5);
    }

    private static double sum(double[] values) {
        double total = 0;
        for (double value : values) {
            total += value;
        }
        return total;
    }

    @Test
    void badPromptsAreNamed() {
        assertThatThrownBy(() -> bf16.generate(GenerationRequest.of("  "), GenerationListener.NONE))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("empty");
        assertThatThrownBy(() -> bf16.generate(GenerationRequest.of("red ".repeat(10_000)), GenerationListener.NONE))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("shorten");
        assertThat(bf16.unknownWords("a red zebra 🦓")).containsExactly("zebra", "🦓");
    }

    @Test
    void damagedModelsAreRefusedByName(@TempDir Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(DEMO)) {
            for (Path file : (Iterable<Path>) files::iterator) {
                Path target = folder.resolve(DEMO.relativize(file).toString());
                if (Files.isDirectory(file)) {
                    Files.createDirectories(target);
                } else {
                    Files.copy(file, target);
                }
            }
        }
        Path shard = folder.resolve("model-00001-of-00002.safetensors");
        byte[] bytes = Files.readAllBytes(shard);
        Files.write(shard, Arrays.copyOf(bytes, bytes.length / 2));
        assertThatThrownBy(() -> Engine.open(folder, EngineOptions.defaults()))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("model-00001-of-00002.safetensors");
        byte[] nan = bytes.clone();
        Arrays.fill(nan, nan.length - 64, nan.length, (byte) 0xff);
        Files.write(shard, nan);
        assertThatThrownBy(() -> Engine.open(folder, EngineOptions.defaults()))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("not finite");
        Files.write(shard, bytes);
        Files.writeString(folder.resolve("config.json"), "{\"model_type\": \"unheard-of\"}");
        assertThatThrownBy(() -> Engine.open(folder, EngineOptions.defaults()))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("unheard-of");
    }
}
