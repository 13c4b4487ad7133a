package io.sjd2;

import io.sjd2.decode.DecoderSpec;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.NoiseAdapter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// `generation_config.json`: what a model draws with unless a request says otherwise.
///
/// Values are checked when the model is opened, so that a bad one is reported with its file and not as if the user had
/// asked for it.
final class GenerationConfig {
    private static final String FILE = "generation_config.json";
    private static final double MOST_GUIDANCE = 1000;

    private GenerationConfig() {}

    /// The file of a model folder; an empty object if it has none.
    static Json read(Path folder) throws IOException {
        Path file = folder.resolve(FILE);
        return Files.exists(file) ? Json.read(file) : Json.parse("{}", FILE);
    }

    /// @param family   what the family's authors draw with
    /// @param adapter  null if the model was not fine-tuned
    /// @throws ModelFormatException naming the value that is out of range
    static ModelInfo.Defaults defaults(Json config, ModelDescription.Sampling family, @Nullable NoiseAdapter adapter)
            throws ModelFormatException {
        int topK = config.int32("top_k", family.topK());
        if (topK < 0) {
            throw config.get("top_k").unexpected("at least 1, or 0 to keep every code");
        }
        return new ModelInfo.Defaults(
                decoder(config, adapter),
                adapter == null ? 0 : adapter.defaultLevels(),
                within(config, "guidance_scale", 0, MOST_GUIDANCE, family.guidance()),
                within(config, "temperature", Float.MIN_NORMAL, Float.MAX_VALUE, 1),
                topK,
                within(config, "top_p", Float.MIN_NORMAL, 1, 1));
    }

    private static String decoder(Json config, @Nullable NoiseAdapter adapter) throws ModelFormatException {
        String fallback = DecoderSpec.defaultFor(adapter != null).toString();
        try {
            return DecoderSpec.parse(config.string("decoder", fallback)).toString();
        } catch (IllegalArgumentException e) {
            throw new ModelFormatException(
                    config.source(), String.valueOf(e.getMessage()), "correct \"decoder\" or take it out", e);
        }
    }

    private static double within(Json config, String key, double least, double most, double fallback)
            throws ModelFormatException {
        double value = config.number(key, fallback);
        if (!(value >= least && value <= most)) {
            throw config.get(key).unexpected(least == 0 ? "0 to " + most : "more than 0, at most " + most);
        }
        return value;
    }
}
