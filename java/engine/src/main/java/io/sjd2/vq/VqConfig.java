package io.sjd2.vq;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// What a convolutional image tokeniser looks like, whichever family and configuration style it comes from.
///
/// Levels count from the full resolution: level `i` works on pictures of `1 / 2^i` of the size. Immutable.
///
/// @param family           decides about norms, the order of levels in names, and rounding
/// @param codes            rows of the code table
/// @param codeWidth        its columns
/// @param normalisedCodes  whether rows have length 1 when they are looked up and compared
/// @param latentChannels   channels between the table and the networks
/// @param pictureChannels  of the picture: 3
/// @param decoderChannels  per level
/// @param encoderChannels  per level
/// @param encoderStem      channels of the encoder before its first level
/// @param residualBlocks   per level of the encoder; the decoder has one more
/// @param attention        per level: whether attention follows each residual block
/// @param temporalFactor   frames that one code stands for, a power of two; 1 where there is no time
public record VqConfig(
        Family family,
        int codes,
        int codeWidth,
        boolean normalisedCodes,
        int latentChannels,
        int pictureChannels,
        List<Integer> decoderChannels,
        List<Integer> encoderChannels,
        int encoderStem,
        int residualBlocks,
        List<Boolean> attention,
        int temporalFactor) {
    /// Groups that channels are normalised in; no configuration states another number.
    static final int GROUPS = 32;
    /// What is added to the variance of a group.
    static final float GROUP_EPS = 1e-6f;
    /// What is added to the variances that the temporal part was trained with.
    static final float BATCH_EPS = 1e-5f;

    private static final int MOST_LEVELS = 10;
    private static final int MOST_CHANNELS = 1 << 16;
    private static final List<Integer> SIXTEENFOLD = List.of(1, 1, 2, 2, 4);

    /// The families of image tokenisers.
    public enum Family {
        /// Chameleon, Lumina-mGPT: the VQGAN of "Taming Transformers".
        CHAMELEON,
        /// Emu3: a video tokeniser whose norms are modulated by the codes.
        EMU3,
        /// Janus, Janus-Pro: LlamaGen's tokeniser.
        JANUS,
        /// LlamaGen.
        LLAMAGEN;

        /// Whether 8-bit pictures are rounded to nearest; the others cut off.
        public boolean rounds() {
            return this == LLAMAGEN;
        }

        /// Whether the decoder's levels are numbered in the order they run in, lowest resolution first.
        boolean countsUpwards() {
            return this == JANUS || this == LLAMAGEN;
        }
    }

    /// @throws IllegalArgumentException naming the first number that does not fit
    public VqConfig {
        decoderChannels = List.copyOf(decoderChannels);
        encoderChannels = List.copyOf(encoderChannels);
        attention = List.copyOf(attention);
        range("codes", codes, 1, 1 << 24);
        range("code width", codeWidth, 1, MOST_CHANNELS);
        range("latent channels", latentChannels, 1, MOST_CHANNELS);
        range("picture channels", pictureChannels, 3, 3);
        range("levels", decoderChannels.size(), 1, MOST_LEVELS);
        range("residual blocks", residualBlocks, 1, 64);
        range("temporal factor", temporalFactor, 1, 64);
        if (Integer.bitCount(temporalFactor) != 1) {
            throw new IllegalArgumentException("temporal factor is " + temporalFactor + ", expected a power of two");
        }
        if (encoderChannels.size() != decoderChannels.size() || attention.size() != decoderChannels.size()) {
            throw new IllegalArgumentException("the encoder has " + encoderChannels.size() + " levels, the decoder "
                    + decoderChannels.size() + "; expected as many");
        }
        channels("decoder", decoderChannels);
        channels("encoder", encoderChannels);
        channels("encoder stem", List.of(encoderStem));
    }

    private static void channels(String where, List<Integer> channels) {
        for (int c : channels) {
            if (c < GROUPS || c > MOST_CHANNELS || c % GROUPS != 0) {
                throw new IllegalArgumentException(
                        where + " channels are " + channels + ", expected multiples of " + GROUPS + " groups");
            }
        }
    }

    private static void range(String name, int value, int least, int most) {
        if (value < least || value > most) {
            throw new IllegalArgumentException(name + " is " + value + ", expected " + least + " to " + most);
        }
    }

    /// How many levels there are.
    public int levels() {
        return decoderChannels.size();
    }

    /// Pixels along the side of the square that one code stands for.
    public int factor() {
        return 1 << (levels() - 1);
    }

    /// Whether a configuration, a model's or a tokeniser's own, describes an image tokeniser that is known.
    static boolean describes(Json config) throws ModelFormatException {
        return part(config) != null;
    }

    private record Part(Family family, Json json) {}

    private static @Nullable Part part(Json config) throws ModelFormatException {
        String type = config.has("model_type") && config.get("model_type").isString()
                ? config.get("model_type").string()
                : "";
        if (config.has("vq_config")) {
            Json inner = config.get("vq_config");
            String innerType = inner.isObject() ? inner.string("model_type", "") : "";
            Family family = familyOf(innerType);
            family = family == null ? familyOf(type) : family;
            if (family != null) {
                return new Part(family, inner);
            }
        }
        if (config.has("gen_vision_config")) {
            return new Part(Family.JANUS, config.get("gen_vision_config"));
        }
        if (config.has("ddconfig")) {
            return new Part(Family.CHAMELEON, config);
        }
        if (config.has("model") && config.get("model").has("params") && type.isEmpty()) {
            return new Part(Family.CHAMELEON, config.get("model").get("params"));
        }
        boolean own = !config.has("text_config") && !config.has("hidden_size") && !config.has("dim");
        Family family = familyOf(type);
        return family != null && own ? new Part(family, config) : null;
    }

    private static @Nullable Family familyOf(String type) {
        return switch (type) {
            case "vqgan", "chameleon_vqgan", "chameleon" -> Family.CHAMELEON;
            case "emu3_vqgan", "emu3", "Emu3VisionVQ", "Emu3" -> Family.EMU3;
            case "janus_vqgan", "janus", "gen_vision", "multi_modality" -> Family.JANUS;
            case "llamagen_vq" -> Family.LLAMAGEN;
            default -> null;
        };
    }

    /// Reads a configuration of any of the families: the tokeniser's own, or a model's that contains it.
    ///
    /// @throws ModelFormatException if it describes no known tokeniser, or one that cannot be
    public static VqConfig parse(Json config) throws ModelFormatException {
        Part part = part(config);
        if (part == null) {
            throw new ModelFormatException(
                    config.source(),
                    "describes no image tokeniser that is known",
                    "built for vqgan, chameleon, emu3, janus, multi_modality and llamagen_vq");
        }
        Json json = part.json;
        try {
            return switch (part.family) {
                case CHAMELEON -> chameleon(json);
                case EMU3 -> emu3(json);
                case JANUS -> janus(json);
                case LLAMAGEN -> llamagen(json);
            };
        } catch (IllegalArgumentException e) {
            throw new ModelFormatException(
                    config.source(), e.getMessage(), "the configuration is not one of this family", e);
        }
    }

    private static VqConfig chameleon(Json json) throws ModelFormatException {
        Json dd = json.has("ddconfig") ? json.get("ddconfig") : json;
        int base = number(dd, 128, "ch", "base_channels");
        List<Integer> multipliers = numbers(dd, SIXTEENFOLD, "ch_mult", "channel_multiplier");
        int resolution = number(dd, 512, "resolution");
        List<Integer> resolutions = numbers(dd, List.of(), "attn_resolutions");
        if (dd.string("attn_type", "vanilla").equals("none")) {
            resolutions = List.of();
        }
        List<Boolean> attention = new ArrayList<>();
        for (int level = 0; level < multipliers.size(); level++) {
            attention.add(level < 31 && resolutions.contains(resolution >> level));
        }
        int latent = number(dd, 256, "z_channels", "latent_channels");
        List<Integer> channels = times(base, multipliers);
        return new VqConfig(
                Family.CHAMELEON,
                number(json, 8192, "n_embed", "num_embeddings"),
                number(json, latent, "embed_dim"),
                false,
                latent,
                number(dd, 3, "out_ch", "out_channels", "in_channels"),
                channels,
                channels,
                base,
                number(dd, 2, "num_res_blocks"),
                attention,
                1);
    }

    private static VqConfig emu3(Json json) throws ModelFormatException {
        int base = number(json, 256, "base_channels", "ch");
        List<Integer> multipliers = numbers(json, List.of(1, 2, 2, 4), "channel_multiplier", "ch_mult");
        boolean none = json.keys().contains("attn_resolutions") && !json.has("attn_resolutions");
        List<Integer> levels = none ? List.of() : numbers(json, List.of(3), "attn_resolutions");
        List<Boolean> attention = new ArrayList<>();
        for (int level = 0; level < multipliers.size(); level++) {
            attention.add(levels.contains(level));
        }
        List<Integer> channels = times(base, multipliers);
        return new VqConfig(
                Family.EMU3,
                number(json, 32_768, "codebook_size"),
                number(json, 4, "embed_dim"),
                false,
                number(json, 4, "latent_channels", "z_channels"),
                number(json, 3, "out_channels"),
                channels,
                channels,
                base,
                number(json, 2, "num_res_blocks"),
                attention,
                number(json, 4, "temporal_downsample_factor"));
    }

    private static VqConfig janus(Json json) throws ModelFormatException {
        // The published original names a class and states what differs from what that class implies.
        boolean original = json.has("params") || json.has("cls");
        Json from = original && json.has("params") ? json.get("params") : json;
        if (original && json.has("cls")) {
            String known = json.get("cls").string();
            if (!known.equals("VQ-16")) {
                throw json.get("cls").unexpected("VQ-16");
            }
        }
        int base = number(from, 128, "ch", "base_channels");
        List<Integer> multipliers = numbers(from, SIXTEENFOLD, "ch_mult", "channel_multiplier");
        List<Integer> channels = times(base, multipliers);
        return new VqConfig(
                Family.JANUS,
                original
                        ? number(from, 16_384, "image_token_size", "codebook_size")
                        : number(from, 16_384, "num_embeddings"),
                original ? number(from, 8, "n_embed", "codebook_embed_dim") : number(from, 8, "embed_dim"),
                true,
                number(from, 256, "z_channels", "latent_channels"),
                number(from, 3, "out_channels"),
                channels,
                channels,
                base,
                number(from, 2, "num_res_blocks"),
                lowestOnly(multipliers.size()),
                1);
    }

    private static VqConfig llamagen(Json json) throws ModelFormatException {
        int base = number(json, 128, "ch");
        List<Integer> decoder = numbers(json, numbers(json, SIXTEENFOLD, "ch_mult"), "decoder_ch_mult");
        // A folder that holds the decoder alone need not say how the encoder looked.
        List<Integer> encoder = numbers(json, decoder, "encoder_ch_mult");
        return new VqConfig(
                Family.LLAMAGEN,
                number(json, 16_384, "codebook_size"),
                number(json, 8, "codebook_embed_dim"),
                json.bool("codebook_l2_norm", true),
                number(json, 256, "z_channels"),
                number(json, 3, "out_channels"),
                times(base, decoder),
                times(base, encoder),
                base,
                number(json, 2, "num_res_blocks"),
                lowestOnly(decoder.size()),
                1);
    }

    static List<Boolean> lowestOnly(int levels) {
        Boolean[] attention = new Boolean[levels];
        Arrays.fill(attention, false);
        if (levels > 0) {
            attention[levels - 1] = true;
        }
        return List.of(attention);
    }

    private static List<Integer> times(int base, List<Integer> multipliers) {
        List<Integer> channels = new ArrayList<>();
        for (int multiplier : multipliers) {
            long product = (long) base * multiplier;
            channels.add(product < 0 || product > MOST_CHANNELS ? -1 : (int) product);
        }
        return channels;
    }

    private static int number(Json json, int fallback, String... keys) throws ModelFormatException {
        for (String key : keys) {
            if (json.has(key)) {
                return json.get(key).int32();
            }
        }
        return fallback;
    }

    private static List<Integer> numbers(Json json, List<Integer> fallback, String... keys)
            throws ModelFormatException {
        for (String key : keys) {
            if (json.has(key)) {
                List<Integer> values = new ArrayList<>();
                for (Json item : json.get(key).items()) {
                    values.add(item.int32());
                }
                return values;
            }
        }
        return fallback;
    }
}
