package io.sjd2.vq;

import static io.sjd2.vq.VqFixture.difference;
import static io.sjd2.vq.VqFixture.planes;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// The encoders against {@link EncoderOracle}, layer by layer and down to the codes.
class VqEncoderTest {
    private static final int HEIGHT = 12;
    private static final int WIDTH = 20;
    private static final long SEED = 3;
    /// Codes that are nearly as near as the nearest may come out either way.
    private static final double CLEAR = 1e-4;

    private static final Map<String, EncoderOracle> ORACLES = new HashMap<>();

    @TempDir
    Path folder;

    @AfterAll
    static void backToTheBest() {
        ORACLES.clear();
        VqFixture.backToTheBest();
    }

    static Stream<Arguments> everywhere() {
        return VqFixture.backends()
                .flatMap(backend -> VqFixture.NAMES.stream().map(name -> Arguments.of(name, backend)));
    }

    /// Has encoded the picture, which need not be done for every backend again.
    private static EncoderOracle oracle(String name) {
        return ORACLES.computeIfAbsent(name, key -> {
            EncoderOracle oracle = new EncoderOracle(name, SEED);
            oracle.encode(picture(), HEIGHT, WIDTH);
            return oracle;
        });
    }

    private static Path weights(String name) {
        Path fixture = VqFixture.folder(name);
        return switch (name) {
            case "chameleon" -> fixture.resolve("vqgan");
            case "llamagen_t2i" -> fixture.resolve("vq");
            default -> fixture;
        };
    }

    private static float[] picture() {
        SplittableRandom random = new SplittableRandom(SEED);
        float[] picture = new float[3 * HEIGHT * WIDTH];
        for (int i = 0; i < picture.length; i++) {
            picture[i] = (float) (random.nextDouble() * 2 - 1);
        }
        return picture;
    }

    private static float[] table(String name) throws IOException {
        try (SafetensorsFile file = SafetensorsFile.open(weights(name).resolve("model.safetensors"))) {
            String table = file.names().stream()
                    .filter(n -> n.endsWith("quantize.embedding.weight"))
                    .findFirst()
                    .orElseThrow();
            return file.tensor(table).toFloats();
        }
    }

    private static float[] floats(double[] values) {
        float[] out = new float[values.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = (float) values[i];
        }
        return out;
    }

    @ParameterizedTest
    @MethodSource("everywhere")
    void everyLayerAndEveryCodeIsTheOracles(String name, String backendName) throws IOException {
        float[] picture = picture();
        EncoderOracle oracle = oracle(name);
        EncoderOracle.Picture latent = oracle.shown.get("latent");
        List<Double> margins = new ArrayList<>();
        int[] expected = oracle.nearest(latent, table(name), margins);
        assertThat(Collections.min(margins)).as("the picture decides clearly").isGreaterThan(CLEAR);
        assertThat(Arrays.stream(expected).distinct().count()).isGreaterThan(6);
        oracle.write(weights(name), folder);
        try (Backend backend = VqFixture.backend(backendName);
                VqTokenizer tokenizer = ImageTokenizers.open(folder, backend, DType.F32, true)) {
            assertThat(tokenizer.encodes()).isTrue();
            Map<String, float[]> shown = new HashMap<>();
            int[] codes = tokenizer.encode(picture, HEIGHT, WIDTH, VqListener.NONE, shown::put);
            oracle.shown.forEach((layer, golden) -> assertThat(
                            difference(floats(golden.values()), planes(shown.get(layer), 1, golden.channels())))
                    .as(layer)
                    .isLessThanOrEqualTo(VqFixture.PICTURES));
            assertThat(oracle.shown).hasSizeGreaterThanOrEqualTo(6);
            assertThat(codes).isEqualTo(expected);
        }
    }

    @ParameterizedTest
    @MethodSource("everywhere")
    void latentPicturesInBf16AreNear(String name, String backendName) throws IOException {
        float[] picture = picture();
        EncoderOracle oracle = oracle(name);
        EncoderOracle.Picture latent = oracle.shown.get("latent");
        oracle.write(weights(name), folder);
        try (Backend backend = VqFixture.backend(backendName);
                VqTokenizer tokenizer = ImageTokenizers.open(folder, backend, DType.BF16, true)) {
            Map<String, float[]> shown = new HashMap<>();
            tokenizer.encode(picture, HEIGHT, WIDTH, VqListener.NONE, shown::put);
            float[] ours = planes(shown.get("latent"), 1, latent.channels());
            assertThat(difference(floats(latent.values()), ours)).isLessThanOrEqualTo(VqFixture.PICTURES_BF16);
            assertThat(VqFixture.meanDifference(floats(latent.values()), ours))
                    .isLessThanOrEqualTo(VqFixture.PICTURES_BF16_MEAN);
        }
    }

    @Test
    void progressRunsUpToTheWholeAndNeverBack() throws IOException {
        oracle("emu3").write(weights("emu3"), folder);
        try (Backend backend = VqFixture.backend("cpu");
                VqTokenizer tokenizer = ImageTokenizers.open(folder, backend, DType.F32, true)) {
            List<long[]> heard = new ArrayList<>();
            VqListener listener = (done, total) -> heard.add(new long[] {done, total});
            int[] codes = tokenizer.encode(picture(), HEIGHT, WIDTH, listener);
            assertRises(heard);
            heard.clear();
            tokenizer.decode(codes, HEIGHT / 2, WIDTH / 2, listener);
            assertRises(heard);
            assertThat(heard.getFirst()[1]).isEqualTo(tokenizer.decodeFlop(HEIGHT / 2, WIDTH / 2));
        }
    }

    private static void assertRises(List<long[]> heard) {
        assertThat(heard).hasSizeGreaterThan(10);
        for (int i = 1; i < heard.size(); i++) {
            assertThat(heard.get(i)[0]).isGreaterThan(heard.get(i - 1)[0]);
            assertThat(heard.get(i)[1]).isEqualTo(heard.get(0)[1]);
        }
        assertThat(heard.getLast()[0]).isEqualTo(heard.getLast()[1]);
    }

    @Test
    void picturesThatDoNotFitAreRefused() throws IOException {
        oracle("chameleon").write(weights("chameleon"), folder);
        try (Backend backend = VqFixture.backend("cpu");
                VqTokenizer tokenizer = ImageTokenizers.open(folder, backend, DType.F32, true)) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> tokenizer.encode(new float[3 * 7 * 8], 7, 8, VqListener.NONE))
                    .withMessageContaining("8 x 7")
                    .withMessageContaining("multiples of 2");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> tokenizer.encode(new float[5], 8, 8, VqListener.NONE))
                    .withMessageContaining("5 numbers");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> tokenizer.decode(new int[] {0, 128}, 1, 2, VqListener.NONE))
                    .withMessageContaining("code 1 is 128");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> tokenizer.decode(new int[5], 2, 3, VqListener.NONE))
                    .withMessageContaining("5 codes");
        }
    }

    @Test
    void weightsWithoutAnEncoderSayThat() throws IOException {
        try (Backend backend = VqFixture.backend("cpu");
                VqTokenizer tokenizer = ImageTokenizers.open(weights("janus"), backend, DType.F32, true)) {
            assertThat(tokenizer.encodes()).isFalse();
            assertThatThrownBy(() -> tokenizer.encode(picture(), HEIGHT, WIDTH, VqListener.NONE))
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessageContaining("holds no encoder");
        }
    }
}
