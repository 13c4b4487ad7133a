package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.kernel.Kernels.RopePairs;
import io.sjd2.model.Config.Defaults;
import io.sjd2.model.ModelDescription.Sampling;
import io.sjd2.model.PromptFormat.Unconditional;
import io.sjd2.model.TransformerConfig.Biases;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.model.TransformerConfig.NormPlacement;
import io.sjd2.model.TransformerConfig.QkNormShape;
import io.sjd2.model.TransformerConfig.Rope;
import io.sjd2.model.WeightNames.Affine;
import io.sjd2.model.WeightNames.ImagePath;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// What the configurations of the published families say, in the engine's words. `docs/models.md` lists the
/// conventions.
final class Families {
    /// Chameleon's LayerNorm of q and k has this epsilon whatever the configuration says.
    private static final float CHAMELEON_QK_EPS = 1e-5f;

    /// Positions left to a prompt before a smaller picture becomes the usual one.
    private static final int PROMPT_ROOM = 512;

    private static final Pattern CHAMELEON_CODE = Pattern.compile("IMGIMG([A-J]{1,9})Z");
    private static final Pattern EMU3_CODE = Pattern.compile("<\\|visual token (\\d{1,9})\\|>");

    /// What Emu3's authors add to every prompt, and what they guide away from.
    private static final String EMU3_WRAPPER = "{prompt} masterpiece, film grained, best quality.";

    private static final String EMU3_NEGATIVE =
            "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, worst"
                    + " quality, low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry.";

    private Families() {}

    /// This project's own kind.
    static ModelDescription own(Json config) throws ModelFormatException {
        Grid grid = new Grid(Config.in(config, "grid_height", 1, 1024), Config.in(config, "grid_width", 1, 1024));
        TransformerConfig c = Config.llama(config, Defaults.LLAMA, NormPlacement.PRE, null);
        for (String key :
                List.of("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")) {
            config.get(key);
        }
        Config.in(config, "max_position_embeddings", grid.cells() + 1, 1 << 22);
        int codes = Config.in(config, "image_codes", 2, c.vocabSize());
        int first = Config.in(config, "image_first_token_id", 0, c.vocabSize() - codes);
        List<String> words = new ArrayList<>();
        if (config.has("caption_words")) {
            for (Json word : config.get("caption_words").items()) {
                words.add(word.string());
            }
        }
        return new ModelDescription(
                "sjd2",
                c.withTargetGrid(grid),
                List.of(WeightNames.llama("model.", "image_head.weight", false, true)),
                CodeMap.contiguous(first, codes),
                false,
                false,
                PictureFormat.plain(grid, true, Config.in(config, "patch_size", 1, 64)),
                null,
                Config.in(config, "bos_token_id", 0, c.vocabSize() - 1),
                Config.in(config, "image_begin_token_id", 0, c.vocabSize() - 1),
                null,
                Sampling.PLAIN,
                List.copyOf(words));
    }

    /// Chameleon and Lumina-mGPT.
    static ModelDescription chameleon(Json config, Path folder) throws IOException {
        TransformerConfig c = Config.llama(
                config,
                Defaults.CHAMELEON,
                Config.flag(config, "swin_norm", false) ? NormPlacement.POST_BRANCH : NormPlacement.PRE,
                new QkNormShape(CHAMELEON_QK_EPS));
        Vocabulary vocabulary = Vocabulary.find(config, folder, c.vocabSize());
        CodeMap codes = vocabulary.codes("IMGIMG..Z", Families::chameleonCode);
        int pixels = config.has("vq_config") ? Config.factor(config.get("vq_config"), "channel_multiplier", 16) : 16;
        int units = largestSize(vocabulary);
        PictureFormat sizes = new PictureFormat(
                new Grid(48, 48),
                false,
                2,
                pixels,
                16,
                vocabulary.id("<reserved08799>"),
                List.of(vocabulary.id("<eoss>")));
        return new ModelDescription(
                "chameleon",
                c,
                heads(config, config, List.of(WeightNames.llama("model.", "lm_head.weight", true, false))),
                codes,
                true,
                false,
                fitted(sizes, c.maxPositions(), 2 * units),
                new PromptFormat(
                        "",
                        Config.in(config, "bos_token_id", 0, c.vocabSize() - 1, 0),
                        "Generate an image of {width}x{height} according to the following prompt:\n"
                                + "{prompt}<reserved08706>",
                        "<racm3:break>{height_token}{width_token}",
                        Unconditional.START_ONLY,
                        "",
                        ""),
                -1,
                -1,
                null,
                new Sampling(3, 2000),
                List.of());
    }

    private static int chameleonCode(String token) {
        Matcher matcher = CHAMELEON_CODE.matcher(token);
        if (!matcher.matches()) {
            return -1;
        }
        int code = 0;
        for (char letter : matcher.group(1).toCharArray()) {
            code = 10 * code + (letter - 'A');
        }
        return code;
    }

    private static int largestSize(Vocabulary vocabulary) {
        int units = 0;
        while (vocabulary.has(PromptFormat.sizeToken(2 * (units + 1)))) {
            units++;
        }
        return units;
    }

    /// Emu3, as converted (`text_config`) and as first published (flat).
    static ModelDescription emu3(Json config, Path folder) throws IOException {
        Json text = config.has("text_config") ? config.get("text_config") : config;
        TransformerConfig c = Config.llama(text, Defaults.EMU3, NormPlacement.PRE, null);
        Vocabulary vocabulary = Vocabulary.find(config, folder, c.vocabSize());
        CodeMap codes = vocabulary.codes("<|visual token NNNNNN|>", Families::emu3Code);
        Json names = tokenizerConfig(folder);
        String begin = token(names, "bos_token", "<|extra_203|>");
        PictureFormat sizes = new PictureFormat(
                new Grid(90, 90),
                false,
                1,
                config.has("vq_config") ? Config.factor(config.get("vq_config"), "channel_multiplier", 8) : 8,
                config.has("vq_config") ? Config.factor(config.get("vq_config"), "channel_multiplier", 8) : 8,
                vocabulary.id(token(names, "eol_token", "<|extra_200|>")),
                List.of(
                        vocabulary.id(token(names, "eof_token", "<|extra_201|>")),
                        vocabulary.id(token(names, "eoi_token", "<|image end|>")),
                        vocabulary.id(token(names, "eos_token", "<|extra_204|>"))));
        return new ModelDescription(
                "emu3",
                c,
                heads(
                        config,
                        text,
                        List.of(
                                WeightNames.llama("model.text_model.", "lm_head.weight", false, false),
                                WeightNames.llama("text_model.model.", "text_model.lm_head.weight", false, false),
                                WeightNames.llama("model.", "lm_head.weight", false, false))),
                codes,
                true,
                false,
                fitted(sizes, c.maxPositions(), 1024),
                new PromptFormat(
                        begin,
                        vocabulary.id(begin),
                        EMU3_WRAPPER,
                        token(names, "boi_token", "<|image start|>") + "{rows}*{columns}"
                                + token(names, "image_wrapper_token", "<|image token|>"),
                        Unconditional.NEGATIVE,
                        EMU3_NEGATIVE,
                        ""),
                -1,
                -1,
                null,
                new Sampling(3, 2048),
                List.of());
    }

    private static int emu3Code(String token) {
        Matcher matcher = EMU3_CODE.matcher(token);
        return matcher.matches() ? Integer.parseInt(matcher.group(1)) : -1;
    }

    /// Janus and Janus-Pro, as converted (`text_config`) and as first published (`language_config`).
    static ModelDescription janus(Json config, Path folder) throws IOException {
        boolean converted = config.has("text_config");
        Json text = config.get(converted ? "text_config" : "language_config");
        TransformerConfig c = Config.llama(text, Defaults.LLAMA, NormPlacement.PRE, null);
        Json vq = converted ? config.get("vq_config") : empty(config, "gen_vision_config", "params");
        int codes = Config.in(vq, converted ? "num_embeddings" : "image_token_size", 2, 1 << 24, 16_384);
        int pixels = Config.factor(vq, converted ? "channel_multiplier" : "ch_mult", 16);
        boolean stated = vq.has("num_patches");
        int edge = Config.in(vq, "num_patches", 1, 1024, 24);
        PictureFormat plain = PictureFormat.plain(new Grid(edge, edge), stated, pixels);
        Json names = tokenizerConfig(folder);
        WeightNames current = WeightNames.llama("model.language_model.", "lm_head.weight", false, false)
                .withImage(new ImagePath(
                        "model.generation_embeddings.weight",
                        new Affine("model.generation_aligner.fc1"),
                        "model.generation_aligner.hidden_layers.{layer}",
                        0,
                        1,
                        new Affine("model.generation_head.proj_out"),
                        new Affine("model.generation_head.vision_head")));
        WeightNames original = WeightNames.llama("language_model.model.", "language_model.lm_head.weight", false, false)
                .withImage(new ImagePath(
                        "gen_embed.weight",
                        new Affine("gen_aligner.layers.0"),
                        "gen_aligner.layers.{layer}",
                        2,
                        2,
                        new Affine("gen_head.output_mlp_projector"),
                        new Affine("gen_head.vision_head")));
        return new ModelDescription(
                "janus",
                c,
                heads(config, text, List.of(current, original)),
                CodeMap.contiguous(0, codes),
                false,
                true,
                stated ? plain : fitted(plain, c.maxPositions(), 1024),
                new PromptFormat(
                        "",
                        Config.in(text, "bos_token_id", 0, c.vocabSize() - 1, -1),
                        "<|User|>: {prompt}\n\n<|Assistant|>:",
                        token(names, "boi_token", "<begin_of_image>"),
                        Unconditional.PADDED,
                        "",
                        token(names, "pad_token", "<\uff5c\u2581pad\u2581\uff5c>")),
                -1,
                -1,
                null,
                new Sampling(5, 1000),
                List.of());
    }

    private static Json empty(Json config, String... path) throws ModelFormatException {
        Json at = config;
        for (String key : path) {
            if (!at.has(key)) {
                return Json.parse("{}", config.source());
            }
            at = at.get(key);
        }
        return at;
    }

    /// LlamaGen: conditioned on caption features or on a class, rotary positions in the plane.
    static ModelDescription llamaGen(Json config, Path folder) throws IOException {
        int dim = Config.in(config, "dim", 1, 1 << 20);
        int heads = Config.in(config, "n_head", 1, 1 << 16);
        int kvHeads = Config.in(config, "n_kv_head", 1, heads, heads);
        int headDim = dim / heads;
        Config.checkHeadDim(config, headDim);
        if (dim % heads != 0 || heads % kvHeads != 0 || headDim % 4 != 0) {
            throw config.get("n_head").unexpected("heads of a multiple of 4 elements that divide dim " + dim);
        }
        String type = config.string("gpt_type", "t2i");
        boolean captions = type.equals("t2i");
        if (!captions && !type.equals("c2i")) {
            throw config.get("gpt_type").unexpected("t2i or c2i");
        }
        int cells = Config.in(config, "block_size", 1, 1 << 20, 256);
        int edge = (int) Math.round(Math.sqrt(cells));
        if (edge * edge != cells) {
            throw config.get("block_size").unexpected("the square of a grid's edge");
        }
        int rows = Config.in(config, "cls_token_num", 1, 4096, captions ? 120 : 1);
        Grid grid = new Grid(edge, edge);
        int codes = Config.in(config, "vocab_size", 2, 1 << 24);
        Path vq = folder.resolve("vq").resolve(ModelDescription.CONFIG_FILE);
        int pixels = Files.exists(vq) ? Config.factor(Json.read(vq), "decoder_ch_mult", 16) : 16;
        TransformerConfig c = new TransformerConfig(
                dim,
                llamaGenMlp(config, dim),
                Config.in(config, "n_layer", 1, 4096),
                heads,
                kvHeads,
                headDim,
                Config.epsilon(config, "norm_eps", 1e-5),
                NormPlacement.PRE,
                null,
                new Rope(Config.positive(config, "rope_base", 10_000), RopePairs.ADJACENT, rows, grid),
                codes,
                rows + cells,
                Biases.NONE,
                null);
        return new ModelDescription(
                "llamagen",
                c,
                List.of(WeightNames.llamaGen()),
                CodeMap.contiguous(0, codes),
                false,
                false,
                PictureFormat.plain(grid, true, pixels),
                null,
                -1,
                -1,
                captions
                        ? new ConditionShape(
                                ConditionShape.Kind.CAPTION,
                                rows,
                                Config.in(config, "caption_dim", 1, 1 << 20, 2048),
                                0)
                        : new ConditionShape(
                                ConditionShape.Kind.CLASS, rows, 0, Config.in(config, "num_classes", 1, 1 << 24, 1000)),
                captions ? new Sampling(7.5, 1000) : new Sampling(4, 2000),
                List.of());
    }

    /// Two thirds of four times the width, scaled and rounded up as LlamaGen rounds.
    private static int llamaGenMlp(Json config, int dim) throws ModelFormatException {
        long hidden = 2L * (4L * dim) / 3;
        if (config.has("ffn_dim_multiplier")) {
            hidden = (long) (Config.positive(config, "ffn_dim_multiplier", 1) * hidden);
        }
        int multiple = Config.in(config, "multiple_of", 1, 1 << 20, 256);
        long rounded = (hidden + multiple - 1) / multiple * multiple;
        if (rounded < 1 || rounded > 1 << 22) {
            throw config.unexpected("an MLP of 1 to " + (1 << 22) + " elements, not " + rounded);
        }
        return (int) rounded;
    }

    /// With tied weights the token table is the output head too.
    ///
    /// @param text  the part of the configuration that describes the decoder; the whole may say it in its place
    private static List<WeightNames> heads(Json config, Json text, List<WeightNames> names)
            throws ModelFormatException {
        return Config.flag(text, "tie_word_embeddings", Config.flag(config, "tie_word_embeddings", false))
                ? names.stream().map(n -> n.withHead(n.embedding())).toList()
                : names;
    }

    private static Json tokenizerConfig(Path folder) throws IOException {
        Path file = folder.resolve("tokenizer_config.json");
        Json json = Files.exists(file) ? Json.read(file) : Json.parse("{}", file.toString());
        return json.isObject() ? json : Json.parse("{}", file.toString());
    }

    /// The spelling of a special token, which is a text or an object around one.
    private static String token(Json names, String key, String fallback) throws ModelFormatException {
        if (!names.has(key)) {
            return fallback;
        }
        Json value = names.get(key);
        return value.isObject() ? value.get("content").string() : value.string();
    }

    /// The published grid where it fits beside a prompt, else the largest square that does.
    private static PictureFormat fitted(PictureFormat format, int maxPositions, int mostCodes) {
        int room = maxPositions - Math.min(maxPositions / 8, PROMPT_ROOM);
        int edge = Math.min(format.grid().height(), mostCodes / format.unit() * format.unit());
        while (edge > format.unit() && format.length(new Grid(edge, edge)) > room) {
            edge -= format.unit();
        }
        Grid grid = new Grid(Math.max(edge, format.unit()), Math.max(edge, format.unit()));
        return new PictureFormat(
                grid,
                format.fixed(),
                format.unit(),
                format.pixels(),
                format.nominalPixels(),
                format.rowEnd(),
                format.pictureEnd());
    }
}
