package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.model.TransformerConfig.Grid;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// What a checkpoint's `config.json` says, in the engine's words: everything needed to load its weights and frame a
/// prompt.
///
/// @param family       `sjd2`, `chameleon`, `emu3`, `janus` or `llamagen`
/// @param transformer  shapes and conventions
/// @param names        tensor names, in every form that was published; a folder has one of them
/// @param codeMap      the token of each code; where codes are no tokens, code `c` itself
/// @param headByToken  whether the output head has a row per token, of which those of codes are used
/// @param imageTable   whether codes have an embedding table and a head of their own
/// @param picture      what stands behind a prompt
/// @param prompt       text around a prompt; null for our own kind and where no text is taken
/// @param bosToken     starts every prompt of our own kind, else -1
/// @param imageToken   ends every prompt of our own kind: the picture begins; else -1
/// @param condition    what is taken instead of text, or null
/// @param sampling     what its authors draw with
/// @param captionWords the words it was trained on, lower case, for warnings; empty: any word may mean something
public record ModelDescription(
        String family,
        TransformerConfig transformer,
        List<WeightNames> names,
        CodeMap codeMap,
        boolean headByToken,
        boolean imageTable,
        PictureFormat picture,
        @Nullable PromptFormat prompt,
        int bosToken,
        int imageToken,
        @Nullable ConditionShape condition,
        Sampling sampling,
        List<String> captionWords) {

    /// What a family's authors draw with, unless a folder's `generation_config.json` says otherwise.
    ///
    /// @param guidance  scale of classifier-free guidance
    /// @param topK      codes kept; 0 keeps every code
    public record Sampling(double guidance, int topK) {
        /// No guidance, no filter.
        static final Sampling PLAIN = new Sampling(1, 0);
    }

    /// The name of the file that describes a model folder.
    public static final String CONFIG_FILE = "config.json";

    private static final String TYPE = "model_type";

    /// Reads `config.json` of a model folder; LlamaGen's published files need none.
    ///
    /// @param folder  or the name of a made-up model ({@link io.sjd2.io.SyntheticName})
    /// @throws ModelFormatException if the file is missing, is not a configuration, states an unknown `model_type`, or
    /// a
    ///     value is out of range
    public static ModelDescription read(Path folder) throws IOException {
        SyntheticModel synthetic = SyntheticModel.of(folder);
        if (synthetic != null) {
            return synthetic.description();
        }
        Path file = folder.resolve(CONFIG_FILE);
        if (!Files.isDirectory(folder)) {
            throw new ModelFormatException(
                    folder.toString(), "is not a folder", "give the folder that holds the model's " + CONFIG_FILE);
        }
        if (!Files.exists(file)) {
            Json inferred = LlamaGenShapes.infer(folder);
            if (inferred != null) {
                return Families.llamaGen(inferred, folder);
            }
            throw new ModelFormatException(
                    folder.toString(), "holds no " + CONFIG_FILE, "give the folder of a model in Hugging Face layout");
        }
        return parse(Json.read(file), folder);
    }

    /// @param folder  where names of tokens are looked up that the configuration does not give
    static ModelDescription parse(Json config, Path folder) throws IOException {
        if (!config.has(TYPE) && config.has("gpt_type")) {
            return Families.llamaGen(config, folder);
        }
        return switch (config.get(TYPE).string()) {
            case "sjd2" -> Families.own(config);
            case "chameleon", "chameleon_xllmx" -> Families.chameleon(config, folder);
            case "emu3", "Emu3", "emu3_text_model" -> Families.emu3(config, folder);
            case "janus", "multi_modality" -> Families.janus(config, folder);
            case "llamagen_gpt", "llamagen" -> Families.llamaGen(config, folder);
            default ->
                throw config.get(TYPE).unexpected("one of: sjd2, chameleon, emu3, janus, multi_modality, llamagen_gpt");
        };
    }

    /// The text tokeniser of a model folder; the usual place if there is none.
    public static Path tokenizerFile(Path folder) {
        return Vocabulary.tokenizerFile(folder);
    }

    /// The same over an image tokeniser whose codes stand for squares of other pixels than the configuration told.
    public ModelDescription withPixels(int edge) {
        return new ModelDescription(
                family,
                transformer,
                names,
                codeMap,
                headByToken,
                imageTable,
                picture.withPixels(edge),
                prompt,
                bosToken,
                imageToken,
                condition,
                sampling,
                captionWords);
    }

    /// Number of sampled ids, C.
    public int codes() {
        return codeMap.size();
    }

    /// The grid used when no size is asked for.
    public Grid grid() {
        return picture.grid();
    }

    /// Pixels per code's edge.
    public int patchSize() {
        return picture.pixels();
    }

    /// Positions that a picture of the usual size takes behind its prompt.
    public int imageLength() {
        return picture.length(grid());
    }

    /// The vocabulary's id of a local id: a code, or a structural token from {@link #codes} on.
    public int token(int localId) {
        return localId < codes() ? codeMap.token(localId) : picture.forcedTokens()[localId - codes()];
    }

    /// Rows of the output head in the file.
    int headRows() {
        return headByToken ? transformer.vocabSize() : codes();
    }
}
