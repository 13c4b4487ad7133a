package io.sjd2.vq;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.zip.CRC32;

/// Image tokenisers with the encoders of `golden/encoders`, whose weights come out of a seed.
public final class EncoderFixture {
    private static final String TABLE = "quantize.embedding.weight";

    private EncoderFixture() {}

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

    /// Writes a fixture's image tokeniser with the golden's encoder: `config.json` and `model.safetensors`.
    public static void write(String name, Path folder) throws IOException {
        Path fixture = fixture(name);
        Files.copy(fixture.resolve("config.json"), folder.resolve("config.json"));
        addEncoder(name, fixture.resolve("model.safetensors"), folder.resolve("model.safetensors"));
    }

    /// Writes a file of weights anew with the golden's encoder among them.
    public static void addEncoder(String name, Path weightsFile, Path out) throws IOException {
        Map<String, Weight> weights;
        try (SafetensorsFile golden = SafetensorsFile.open(VqFixture.resource("encoders/" + name + ".safetensors"))) {
            weights = weights(golden);
        }
        try (SafetensorsFile file = SafetensorsFile.open(weightsFile)) {
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
            writer.write(out);
        }
    }
}
