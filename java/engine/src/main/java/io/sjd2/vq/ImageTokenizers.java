package io.sjd2.vq;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/// Image tokenisers as folders: `config.json` and `model.safetensors`.
///
/// A patch tokeniser is `{"model_type": "sjd2_patch", "codes", "patch_size", "grid_height", "grid_width"}` and one tensor,
/// `codebook` `[codes, patch, patch, 3]` in [-1, 1].
public final class ImageTokenizers {
    /// The folder within a model folder.
    public static final String FOLDER = "vq";

    private static final String CONFIG = "config.json";
    private static final String PATCH_TYPE = "sjd2_patch";
    private static final int CHANNELS = 3;

    private ImageTokenizers() {}

    /// Reads the tokeniser in `folder`.
    ///
    /// @throws ModelFormatException if it is missing, of an unknown type, or its tensors do not fit its configuration
    public static ImageTokenizer load(Path folder) throws IOException {
        Path file = folder.resolve(CONFIG);
        if (!Files.exists(file)) {
            throw new ModelFormatException(
                    folder.toString(), "holds no " + CONFIG, "the model's folder must contain its image tokeniser");
        }
        Json config = Json.read(file);
        Json type = config.get("model_type");
        if (!type.string().equals(PATCH_TYPE)) {
            throw type.unexpected("one of: " + PATCH_TYPE);
        }
        int codes = config.get("codes").int32();
        int patch = config.get("patch_size").int32();
        int height = config.get("grid_height").int32();
        int width = config.get("grid_width").int32();
        try (SafetensorsFile weights = SafetensorsFile.open(folder.resolve("model.safetensors"))) {
            TensorEntry codebook = weights.tensor("codebook");
            long[] expected = {codes, patch, patch, CHANNELS};
            if (!Arrays.equals(codebook.shape(), expected)) {
                throw new ModelFormatException(
                        weights.source(),
                        "tensor " + codebook + " should be " + Arrays.toString(expected) + " by " + CONFIG,
                        "the configuration and the weights belong to different tokenisers");
            }
            try {
                return new PatchTokenizer(codebook.toFloats(), codes, patch, height, width);
            } catch (IllegalArgumentException e) {
                throw new ModelFormatException(folder.toString(), e.getMessage(), "train the tokeniser again", e);
            }
        }
    }

    /// Writes `tokenizer` to `folder`, which is made if it is not there; each file appears whole or not at all.
    public static void save(PatchTokenizer tokenizer, Path folder) throws IOException {
        Files.createDirectories(folder);
        int patch = tokenizer.patch();
        new SafetensorsWriter()
                .addF32("codebook", new long[] {tokenizer.codes(), patch, patch, CHANNELS}, tokenizer.codebook())
                .write(folder.resolve("model.safetensors"));
        Map<String, Object> config = new LinkedHashMap<>();
        config.put("model_type", PATCH_TYPE);
        config.put("codes", tokenizer.codes());
        config.put("patch_size", patch);
        config.put("grid_height", tokenizer.gridHeight());
        config.put("grid_width", tokenizer.gridWidth());
        AtomicFiles.write(folder.resolve(CONFIG), Json.prettyText(config) + "\n");
    }
}
