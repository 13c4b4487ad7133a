package io.sjd2.testing;

import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;

/// A fixture as its authors could have trained it, and did not: with a bias in every product of a block, and one row
/// for the norms of all keys beside one for every query head.
public final class BiasedFixture {
    /// What the names of these end in.
    public static final String SUFFIX = "+biases";

    private BiasedFixture() {}

    /// Writes configuration and weights of a fixture's language model in this manner; other files are left to the
    /// caller.
    public static Path write(Path fixture, Path to) throws IOException {
        Files.createDirectories(to);
        String config = Files.readString(fixture.resolve("config.json"));
        String biased = config.contains("\"mlp_bias\": false")
                ? config.replace("\"attention_bias\": false", "\"attention_bias\": true")
                        .replace("\"mlp_bias\": false", "\"mlp_bias\": true")
                : config.replace(
                        "\"text_config\": {", "\"text_config\": {\"attention_bias\": true, \"mlp_bias\": true,");
        if (biased.equals(config)) {
            throw new AssertionError(fixture + " has no place for biases");
        }
        Files.writeString(to.resolve("config.json"), biased);
        Random random = new Random(9);
        SafetensorsWriter writer = new SafetensorsWriter();
        try (SafetensorsFolder weights = SafetensorsFolder.open(fixture, true)) {
            for (String name : weights.names()) {
                TensorEntry entry = weights.tensor(name);
                long[] shape = entry.shape();
                if (name.contains("self_attn.k_norm.")) {
                    int columns = (int) shape[1];
                    writer.addF32(name, new long[] {1, columns}, Arrays.copyOf(entry.toFloats(), columns));
                    continue;
                }
                writer.add(name, entry.dtype(), shape, entry.data());
                if (!name.contains("vision")
                        && name.matches(".*\\.layers\\.\\d+\\.(self_attn|mlp)\\.\\w+_proj\\.weight")) {
                    float[] bias = new float[(int) shape[0]];
                    for (int i = 0; i < bias.length; i++) {
                        bias[i] = (float) (0.2 * random.nextGaussian());
                    }
                    writer.addF32(name.replaceFirst("weight$", "bias"), new long[] {bias.length}, bias);
                }
            }
            writer.write(to.resolve("model.safetensors"));
        }
        return to;
    }
}
