package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.kernel.Kernels.RopePairs;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.model.TransformerConfig.NormPlacement;
import io.sjd2.model.TransformerConfig.Rope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// What a checkpoint's `config.json` says, in the engine's words: everything needed to load its weights and frame a prompt.
///
/// @param family       for messages: `sjd2`
/// @param transformer  shapes and conventions
/// @param names        tensor names
/// @param codes        number of sampled ids, C
/// @param firstCode    token id of code 0; code `c` is token `firstCode + c`
/// @param headFirstRow row of the output head that predicts code 0
/// @param headRows     rows of the output head in the file
/// @param grid         tokens of one picture
/// @param patchSize    pixels per token edge
/// @param bosToken     starts every prompt
/// @param imageToken   ends every prompt: the picture begins
/// @param captionWords the words it was trained on, lower case, for warnings; empty: any word may mean something
public record ModelDescription(
        String family,
        TransformerConfig transformer,
        WeightNames names,
        int codes,
        int firstCode,
        int headFirstRow,
        int headRows,
        Grid grid,
        int patchSize,
        int bosToken,
        int imageToken,
        List<String> captionWords) {

    /// The name of the file that describes a model folder.
    public static final String CONFIG_FILE = "config.json";

    /// Reads `config.json` of a model folder.
    ///
    /// @throws ModelFormatException if the file is missing, is not a configuration, states an unknown `model_type`, or a
    ///     value is out of range
    public static ModelDescription read(Path folder) throws IOException {
        Path file = folder.resolve(CONFIG_FILE);
        if (!Files.isDirectory(folder)) {
            throw new ModelFormatException(
                    folder.toString(), "is not a folder", "give the folder that holds the model's " + CONFIG_FILE);
        }
        if (!Files.exists(file)) {
            throw new ModelFormatException(
                    folder.toString(), "holds no " + CONFIG_FILE, "give the folder of a model in Hugging Face layout");
        }
        return parse(Json.read(file));
    }

    static ModelDescription parse(Json config) throws ModelFormatException {
        String type = config.get("model_type").string();
        return switch (type) {
            case "sjd2" -> own(config);
            default -> throw config.get("model_type").unexpected("one of: sjd2");
        };
    }

    private static ModelDescription own(Json config) throws ModelFormatException {
        int hidden = in(config, "hidden_size", 1, 1 << 20);
        int heads = in(config, "num_attention_heads", 1, 1 << 16);
        int kvHeads = config.has("num_key_value_heads") ? in(config, "num_key_value_heads", 1, heads) : heads;
        if (heads % kvHeads != 0) {
            throw config.get("num_key_value_heads").unexpected("a divisor of num_attention_heads " + heads);
        }
        int headDim = config.has("head_dim") ? in(config, "head_dim", 2, 256) : hidden / heads;
        if (headDim < 2 || headDim % 2 != 0 || headDim > 256) {
            throw config.unexpected("an even head_dim of at most 256, not " + headDim);
        }
        Grid grid = new Grid(in(config, "grid_height", 1, 1024), in(config, "grid_width", 1, 1024));
        int vocab = in(config, "vocab_size", 1, 1 << 24);
        int codes = in(config, "image_codes", 2, vocab);
        int firstCode = in(config, "image_first_token_id", 0, vocab - codes);
        TransformerConfig transformer = new TransformerConfig(
                hidden,
                in(config, "intermediate_size", 1, 1 << 22),
                in(config, "num_hidden_layers", 1, 4096),
                heads,
                kvHeads,
                headDim,
                epsilon(config, "rms_norm_eps"),
                NormPlacement.PRE,
                null,
                new Rope(positive(config, "rope_theta"), RopePairs.HALF_SPLIT),
                vocab,
                in(config, "max_position_embeddings", grid.cells() + 1, 1 << 22),
                grid);
        return new ModelDescription(
                "sjd2",
                transformer,
                WeightNames.llama("model.", "image_head.weight", false, true),
                codes,
                firstCode,
                0,
                codes,
                grid,
                in(config, "patch_size", 1, 64),
                in(config, "bos_token_id", 0, vocab - 1),
                in(config, "image_begin_token_id", 0, vocab - 1),
                words(config));
    }

    private static List<String> words(Json config) throws ModelFormatException {
        List<String> words = new ArrayList<>();
        if (config.has("caption_words")) {
            for (Json word : config.get("caption_words").items()) {
                words.add(word.string());
            }
        }
        return List.copyOf(words);
    }

    private static int in(Json config, String key, int low, int high) throws ModelFormatException {
        Json value = config.get(key);
        int v = value.int32();
        if (v < low || v > high) {
            throw value.unexpected("an integer from " + low + " to " + high);
        }
        return v;
    }

    private static float epsilon(Json config, String key) throws ModelFormatException {
        Json value = config.get(key);
        double v = value.number();
        if (!(v > 0 && v < 1)) {
            throw value.unexpected("a number between 0 and 1");
        }
        return (float) v;
    }

    private static double positive(Json config, String key) throws ModelFormatException {
        Json value = config.get(key);
        double v = value.number();
        if (!(v > 0 && v < 1e12)) {
            throw value.unexpected("a positive number");
        }
        return v;
    }

    /// Positions that one picture takes behind its prompt.
    public int imageLength() {
        return grid.cells();
    }
}
