package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.SyntheticName;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A made-up model at a published one's shapes: its configuration, in the published keys so that the same reader reads
/// it, and a text tokeniser of single bytes with the special tokens that the family's prompts need.
///
/// Source of the shapes: `docs/models.md`, "Synthetic models".
public final class SyntheticModel {
    private static final String MODEL_TYPE = "model_type";
    private static final int CHAMELEON_CODES = 8192;
    private static final int CHAMELEON_FIRST_CODE = 4;
    /// Names of 64 sizes, up to 2048 pixels.
    private static final int CHAMELEON_SIZES = 64;

    private static final int CHAMELEON_FIRST_RESERVED = 4;
    private static final int CHAMELEON_FIRST_BYTE = 16_384;
    private static final int EMU3_CODES = 32_768;
    private static final int EMU3_FIRST_CODE = 151_854;
    private static final int JANUS_BEGIN = 100_000;

    private final SyntheticName name;
    private final Map<String, Object> config = new LinkedHashMap<>();
    /// Special tokens and bytes; empty where no text is taken.
    private final Map<String, Integer> special = new LinkedHashMap<>();

    private final Map<String, Integer> bytes = new LinkedHashMap<>();

    private SyntheticModel(SyntheticName name) {
        this.name = name;
        switch (name.preset()) {
            case "lumina-mgpt-7b-768" -> chameleon();
            case "emu3-8b" -> emu3();
            case "janus-pro-1b" -> janus(2048, 24, 16, 5632);
            case "janus-pro-7b" -> janus(4096, 30, 32, 11_008);
            case "llamagen-xl" -> llamaGen();
            default -> throw new AssertionError(name);
        }
    }

    /// The made-up model that a path names, or null if it names a folder.
    ///
    /// @throws IllegalArgumentException if it names one that does not exist
    public static @Nullable SyntheticModel of(Path path) {
        SyntheticName name = SyntheticName.of(path);
        return name == null ? null : new SyntheticModel(name);
    }

    private void chameleon() {
        decoder(config, 4096, 11_008, 32, 32, 32, 1e-5, 10_000, 65_536, 4096);
        config.put(MODEL_TYPE, "chameleon");
        config.put("bos_token_id", 0);
        special.putAll(Map.of("<s>", 0, "<pad>", 1, "</s>", 2, "<unk>", 3));
        for (int code = 0; code < CHAMELEON_CODES; code++) {
            special.put(chameleonCode(code), CHAMELEON_FIRST_CODE + code);
        }
        special.put("<eoss>", 8196);
        special.put("<racm3:break>", 8197);
        reserved(8706);
        reserved(8799);
        for (int size = 1; size <= CHAMELEON_SIZES; size++) {
            reserved(8800 + size);
        }
        bytes(CHAMELEON_FIRST_BYTE);
        config.put("vocabulary_map", special);
    }

    private void reserved(int number) {
        special.put("<reserved%05d>".formatted(number), CHAMELEON_FIRST_RESERVED + number);
    }

    /// Digits as letters.
    private static String chameleonCode(int code) {
        StringBuilder letters = new StringBuilder("IMGIMG");
        Integer.toString(code).chars().forEach(digit -> letters.append((char) ('A' + digit - '0')));
        return letters.append('Z').toString();
    }

    private void emu3() {
        decoder(config, 4096, 14_336, 32, 32, 8, 1e-5, 1e6, 184_622, 9216);
        config.put(MODEL_TYPE, "Emu3");
        special.put("<|endoftext|>", 151_643);
        special.put("<|extra_200|>", 151_846);
        special.put("<|extra_201|>", 151_847);
        special.put("<|extra_203|>", 151_849);
        special.put("<|extra_204|>", 151_850);
        special.put("<|image token|>", 151_851);
        special.put("<|image start|>", 151_852);
        special.put("<|image end|>", 151_853);
        for (int code = 0; code < EMU3_CODES; code++) {
            special.put("<|visual token %06d|>".formatted(code), EMU3_FIRST_CODE + code);
        }
        bytes(0);
        config.put("vocabulary_map", special);
    }

    private void janus(int hidden, int layers, int heads, int mlp) {
        Map<String, Object> text = new LinkedHashMap<>();
        decoder(text, hidden, mlp, layers, heads, heads, 1e-6, 10_000, 102_400, 16_384);
        text.put("bos_token_id", JANUS_BEGIN);
        config.put(MODEL_TYPE, "janus");
        config.put("text_config", text);
        config.put("vq_config", Map.of(MODEL_TYPE, "janus_vqgan", "num_embeddings", 16_384));
        special.put("<\uff5cbegin\u2581of\u2581sentence\uff5c>", JANUS_BEGIN);
        special.put("<\uff5cend\u2581of\u2581sentence\uff5c>", 100_001);
        special.put("<\uff5c\u2581pad\u2581\uff5c>", 100_015);
        special.put("<begin_of_image>", 100_016);
        bytes(0);
    }

    private void llamaGen() {
        config.put(MODEL_TYPE, "llamagen_gpt");
        config.put("gpt_type", "t2i");
        config.put("dim", 1280);
        config.put("n_layer", layers(36));
        config.put("n_head", 20);
        config.put("multiple_of", 256);
        config.put("rope_base", 10_000);
        config.put("norm_eps", 1e-5);
        config.put("vocab_size", 16_384);
        config.put("block_size", 1024);
        config.put("cls_token_num", 120);
        config.put("caption_dim", 2048);
    }

    private int layers(int published) {
        return name.layers() == 0 ? published : name.layers();
    }

    private void decoder(
            Map<String, Object> json,
            int hidden,
            int mlp,
            int layers,
            int heads,
            int kvHeads,
            double eps,
            double theta,
            int vocabulary,
            int positions) {
        json.put("hidden_size", hidden);
        json.put("intermediate_size", mlp);
        json.put("num_hidden_layers", layers(layers));
        json.put("num_attention_heads", heads);
        json.put("num_key_value_heads", kvHeads);
        json.put("rms_norm_eps", eps);
        json.put("rope_theta", theta);
        json.put("vocab_size", vocabulary);
        json.put("max_position_embeddings", positions);
    }

    /// The alphabet of byte-level tokenisers: a printable character stands for itself, every other byte for one from
    /// U+0100 on, in order. Source: `docs/models.md`, "Text tokenisers".
    private void bytes(int first) {
        int others = 0x100;
        for (int b = 0; b < 256; b++) {
            boolean itself = b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae;
            bytes.put(Character.toString(itself ? b : others++), first + b);
        }
    }

    /// What the model is called.
    public SyntheticName name() {
        return name;
    }

    /// What it is.
    public ModelDescription description() throws IOException {
        // No file lies under such a name, so that nothing is looked up but what is stated here.
        return ModelDescription.parse(Json.parse(Json.text(config), name.toString()), Path.of(name.toString()));
    }

    /// Its weights.
    public ModelFiles files() throws IOException {
        ModelDescription description = description();
        return new ModelFiles(description, new SyntheticWeights(description, name.toString(), name.seed()), null);
    }

    /// Its text tokeniser as a `tokenizer.json`; null where it takes no text.
    public @Nullable String tokenizer() {
        if (bytes.isEmpty()) {
            return null;
        }
        List<Object> added = new ArrayList<>();
        special.forEach((token, id) -> added.add(Map.of("id", id, "content", token, "special", true)));
        Map<String, Object> level = Map.of("type", "ByteLevel", "add_prefix_space", false, "use_regex", true);
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("added_tokens", added);
        json.put("pre_tokenizer", level);
        json.put("decoder", level);
        json.put("model", Map.of("type", "BPE", "vocab", bytes, "merges", List.of()));
        return Json.text(json);
    }
}
