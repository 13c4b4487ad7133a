package io.sjd2.vq;

import static io.sjd2.vq.VqFixture.difference;
import static io.sjd2.vq.VqFixture.planes;
import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import java.util.zip.CRC32;
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
    private static final String TABLE = "quantize.embedding.weight";

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

    private static Path fixture(String name) {
        Path fixture = VqFixture.folder(name);
        return switch (name) {
            case "chameleon" -> fixture.resolve("vqgan");
            case "llamagen_t2i" -> fixture.resolve("vq");
            default -> fixture;
        };
    }

    private record Weight(long[] shape, float[] values) {}

    /// What the golden's metadata says of the weights: a line each of name, shape, mean and spread.
    private static Map<String, Weight> weights(SafetensorsFile golden) {
        long seed = Long.parseLong(golden.metadata().get("seed"));
        Map<String, Weight> weights = new LinkedHashMap<>();
        for (String line : golden.metadata().get("weights").split("\n")) {
            String[] parts = line.split(" ");
            long[] shape = Arrays.stream(parts[1].split(","))
                    .mapToLong(Long::parseLong)
                    .toArray();
            double mean = Double.parseDouble(parts[2]);
            double spread = Double.parseDouble(parts[3]);
            CRC32 hash = new CRC32();
            hash.update(parts[0].getBytes(StandardCharsets.UTF_8));
            SplittableRandom random = new SplittableRandom(seed + hash.getValue());
            float[] values = new float[(int) Arrays.stream(shape).reduce(1, (a, b) -> a * b)];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) (mean + spread * (2 * random.nextDouble() - 1));
            }
            weights.put(parts[0], new Weight(shape, values));
        }
        return weights;
    }

    /// A fixture's decoder with the golden's encoder.
    private void writeFolder(String name, Map<String, Weight> weights) throws IOException {
        Path fixture = fixture(name);
        try (SafetensorsFile file = SafetensorsFile.open(fixture.resolve("model.safetensors"))) {
            String prefix = file.names().stream()
                    .filter(n -> n.endsWith(TABLE))
                    .map(n -> n.substring(0, n.length() - TABLE.length()))
                    .findFirst()
                    .orElseThrow();
            SafetensorsWriter writer = new SafetensorsWriter();
            for (String tensor : file.names()) {
                TensorEntry entry = file.tensor(tensor);
                if (!tensor.startsWith(prefix) || !weights.containsKey(tensor.substring(prefix.length()))) {
                    writer.add(tensor, entry.dtype(), entry.shape(), entry.data());
                }
            }
            weights.forEach((tensor, w) -> writer.addF32(prefix + tensor, w.shape(), w.values()));
            writer.write(folder.resolve("model.safetensors"));
        }
        Files.copy(fixture.resolve("config.json"), folder.resolve("config.json"));
    }

    @ParameterizedTest
    @MethodSource("everywhere")
    void everyLayerAndEveryCodeIsPytorchs(String name, String backendName) throws IOException {
        try (SafetensorsFile golden = SafetensorsFile.open(VqFixture.resource("encoders/" + name + ".safetensors"))) {
            writeFolder(name, weights(golden));
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
