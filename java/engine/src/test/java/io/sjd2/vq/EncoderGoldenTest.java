package io.sjd2.vq;

import static io.sjd2.vq.VqFixture.difference;
import static io.sjd2.vq.VqFixture.planes;
import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// The encoders against PyTorch's layers: `golden/encoders`, written by `benchmarks/peers/encoder-goldens.sh`, whose
/// README says how the weights come out of a seed.
class EncoderGoldenTest {
    private static final String PICTURE = "picture";
    private static final String CODES = "codes";

    @TempDir
    Path folder;

    @AfterAll
    static void backToTheBest() {
        VqFixture.backToTheBest();
    }

    static Stream<Arguments> everywhere() {
        return VqFixture.backends()
                .flatMap(backend -> VqFixture.NAMES.stream().map(name -> Arguments.of(name, backend)));
    }

    @ParameterizedTest
    @MethodSource("everywhere")
    void everyLayerAndEveryCodeIsPytorchs(String name, String backendName) throws IOException {
        try (SafetensorsFile golden = SafetensorsFile.open(VqFixture.resource("encoders/" + name + ".safetensors"))) {
            EncoderFixture.write(name, folder);
            TensorEntry picture = golden.tensor(PICTURE);
            int height = (int) picture.shape()[1];
            int width = (int) picture.shape()[2];
            int[] expected = golden.tensor(CODES).toInts();
            assertThat(Arrays.stream(expected).distinct().count()).isGreaterThan(6);
            List<String> layers = golden.names().stream()
                    .filter(layer -> !layer.equals(PICTURE) && !layer.equals(CODES))
                    .toList();
            assertThat(layers)
                    .containsExactlyInAnyOrder(
                            "encoder_conv_in",
                            "encoder_level_0",
                            "encoder_level_1",
                            "encoder_mid",
                            "encoder_out",
                            "latent");
            for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
                try (Backend backend = VqFixture.backend(backendName);
                        VqTokenizer tokenizer = ImageTokenizers.open(folder, backend, dtype, true)) {
                    Map<String, float[]> shown = new HashMap<>();
                    int[] codes = tokenizer.encode(picture.toFloats(), height, width, VqListener.NONE, shown::put);
                    if (dtype == DType.BF16) {
                        float[] latent = golden.tensor("latent").toFloats();
                        float[] ours = planes(shown.get("latent"), 1, (int)
                                golden.tensor("latent").shape()[1]);
                        assertThat(difference(latent, ours)).isLessThanOrEqualTo(VqFixture.PICTURES_BF16);
                        assertThat(VqFixture.meanDifference(latent, ours))
                                .isLessThanOrEqualTo(VqFixture.PICTURES_BF16_MEAN);
                        continue;
                    }
                    for (String layer : layers) {
                        TensorEntry entry = golden.tensor(layer);
                        assertThat(difference(entry.toFloats(), planes(shown.get(layer), 1, (int) entry.shape()[1])))
                                .as(layer)
                                .isLessThanOrEqualTo(VqFixture.PICTURES);
                    }
                    assertThat(codes).isEqualTo(expected);
                }
            }
        }
    }
}
