package io.sjd2.vq;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.SyntheticName;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Image tokenisers in folders: patch tokenisers by [#load], convolutional ones of published models by [#open],
/// either by [#openCodec].
///
/// A patch tokeniser is `{"model_type": "sjd2_patch", "codes", "patch_size", "grid_height", "grid_width"}` and one
/// tensor, `codebook` `[codes, patch, patch, 3]` in [-1, 1].
public final class ImageTokenizers {
    /// The folder within a model folder.
    public static final String FOLDER = "vq";

    /// Folders of a model in which its image tokeniser may lie: our own, and those of the publications.
    private static final List<String> PLACES = List.of(
            FOLDER, "vqgan", "vision_tokenizer", "tokenizer", "chameleon/tokenizer", "vq_model", "image_tokenizer");

    private static final String CONFIG = "config.json";
    private static final String YAML = "vqgan.yaml";
    private static final String CHECKPOINT = "vqgan.ckpt";
    private static final String PATCH_TYPE = "sjd2_patch";
    private static final int CHANNELS = 3;

    private ImageTokenizers() {}

    /// Finds and opens the image tokeniser of a model, of either kind.
    ///
    /// @param folder the model's folder, the tokeniser's, or the name of a made-up model ([SyntheticName])
    /// @param dtype  of the weights of a convolutional one, f32 or bf16
    /// @param map    whether files are mapped while they are read
    /// @throws ModelFormatException if there is none, or it does not fit its configuration
    /// @throws IOException if reading fails
    public static ImageCodec openCodec(Path folder, Backend backend, DType dtype, boolean map) throws IOException {
        return openCodec(folder, backend, dtype, map, null);
    }

    /// As {@link #openCodec(Path, Backend, DType, boolean)}, for a picture that is known already.
    ///
    /// @param expected another picture is made all the same; null where none is known
    public static ImageCodec openCodec(
            Path folder, Backend backend, DType dtype, boolean map, VqTokenizer.@Nullable Expected expected)
            throws IOException {
        for (Path place : List.of(folder.resolve(FOLDER), folder)) {
            if (isPatches(place)) {
                return new PatchCodec(patches(place));
            }
        }
        return open(folder, backend, dtype, map, expected);
    }

    private static boolean isPatches(Path folder) throws IOException {
        Path file = folder.resolve(CONFIG);
        if (!Files.exists(file)) {
            return false;
        }
        Json config = Json.read(file);
        return config.isObject()
                && config.has("model_type")
                && config.get("model_type").isString()
                && config.get("model_type").string().equals(PATCH_TYPE);
    }

    /// Finds and opens the convolutional image tokeniser of a model, wherever it lies: in a folder of its own (`vq/`,
    /// `vqgan/` ...), beside the model as `vqgan.ckpt` with `vqgan.yaml` or as `vq*.pt`, or among the model's own
    /// weights.
    ///
    /// @param folder the model's folder, or the tokeniser's
    /// @param map    whether files are mapped while they are read
    /// @throws ModelFormatException if there is none, or it does not fit its configuration
    /// @throws IOException if reading fails
    public static VqTokenizer open(Path folder, Backend backend, DType dtype, boolean map) throws IOException {
        return open(folder, backend, dtype, map, null);
    }

    private static VqTokenizer open(
            Path folder, Backend backend, DType dtype, boolean map, VqTokenizer.@Nullable Expected expected)
            throws IOException {
        SyntheticName synthetic = SyntheticName.of(folder);
        if (synthetic != null) {
            return VqTokenizer.open(
                    SyntheticVq.config(synthetic),
                    new SyntheticVq(synthetic.toString(), synthetic.seed()),
                    backend,
                    dtype,
                    expected);
        }
        List<Path> places = new ArrayList<>();
        Path bare = null;
        for (String name : PLACES) {
            Path place = folder.resolve(name);
            if (Files.isDirectory(place) && WeightFiles.present(place)) {
                places.add(place);
            } else if (Files.exists(place.resolve(YAML))) {
                bare = place;
            }
        }
        if (places.isEmpty() && bare != null) {
            throw new ModelFormatException(
                    bare.toString(), "holds " + YAML + ", but no weights", "put " + CHECKPOINT + " beside it");
        }
        if (Files.isDirectory(folder) && WeightFiles.present(folder)) {
            places.add(folder);
        }
        for (Path place : places) {
            Path yaml = place.resolve(YAML);
            Json config = null;
            Path single = null;
            if (Files.exists(yaml)) {
                config = Yaml.read(yaml);
                // Beside a model's own weights, those of the tokeniser are the file with its name.
                single = Files.exists(place.resolve(CHECKPOINT)) ? place.resolve(CHECKPOINT) : null;
            } else if (Files.exists(place.resolve(CONFIG))) {
                Json found = Json.read(place.resolve(CONFIG));
                config = found.isObject() && VqConfig.describes(found) ? found : null;
            }
            if (config != null) {
                VqConfig parsed = VqConfig.parse(config);
                try (WeightFiles weights =
                        single == null ? WeightFiles.open(place, map) : WeightFiles.openFile(single, map)) {
                    return VqTokenizer.open(parsed, weights, backend, dtype, expected);
                }
            }
        }
        for (Path place : places) {
            for (Path file : WeightFiles.pytorchFiles(place)) {
                // Other files of this folder are the language model's, and large.
                if (file.getFileName().toString().startsWith("vq") || !place.equals(folder)) {
                    try (WeightFiles weights = WeightFiles.openFile(file, map)) {
                        VqConfig inferred = VqShapes.infer(weights);
                        if (inferred != null) {
                            return VqTokenizer.open(inferred, weights, backend, dtype, expected);
                        }
                    }
                }
            }
        }
        if (!places.isEmpty() && !places.getFirst().equals(folder)) {
            throw new ModelFormatException(
                    places.getFirst().toString(),
                    "holds weights without a configuration that says of which image tokeniser",
                    "put its " + CONFIG + " or " + YAML + " beside them");
        }
        throw new ModelFormatException(
                folder.toString(),
                "holds no image tokeniser that is known, neither itself nor in one of " + PLACES,
                "put its configuration (" + CONFIG + " or " + YAML + ") and weights into " + FOLDER + "/");
    }

    /// Reads the patch tokeniser in `folder`.
    ///
    /// @throws ModelFormatException if it is missing, of an unknown type, or its tensors do not fit its configuration
    public static ImageTokenizer load(Path folder) throws IOException {
        return patches(folder);
    }

    private static PatchTokenizer patches(Path folder) throws IOException {
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
