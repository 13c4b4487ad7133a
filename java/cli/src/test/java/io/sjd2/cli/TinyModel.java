package io.sjd2.cli;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.scenes.SceneVocabulary;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import io.sjd2.vq.ImageTokenizers;
import io.sjd2.vq.PatchTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;

/// Writes a model folder with random weights, complete and in the layout of the real ones: one block, 64 codes,
/// pictures of 64 x 64 pixels that show noise.
final class TinyModel {
    private static final int HIDDEN = 32;
    private static final int HEADS = 2;
    private static final int HEAD_DIM = 16;
    private static final int INTERMEDIATE = 48;
    private static final int CODES = 64;
    private static final int PATCH = 4;
    private static final int GRID = 16;
    private static final int LONGEST_PROMPT = 40;
    private static final int SINUSOID = 16;

    private final SplittableRandom random = new SplittableRandom(20);
    private final SafetensorsWriter weights = new SafetensorsWriter();

    private TinyModel() {}

    /// Makes `folder` and fills it.
    static Path write(Path folder, boolean fineTuned) throws IOException {
        Files.createDirectories(folder);
        new TinyModel().fill(folder, fineTuned);
        return folder;
    }

    private void fill(Path folder, boolean fineTuned) throws IOException {
        List<String> words = SceneVocabulary.words();
        String tokenizer = WordTokenizerBuilder.build(words, CODES);
        AtomicFiles.write(folder.resolve("tokenizer.json"), tokenizer);
        int firstImageToken =
                Tokenizer.parse(tokenizer, "tokenizer.json").idOf(WordTokenizerBuilder.imageToken(0, CODES));
        int vocab = firstImageToken + CODES;
        AtomicFiles.write(folder.resolve("config.json"), Json.prettyText(config(words, firstImageToken, vocab)));
        AtomicFiles.write(folder.resolve("generation_config.json"), "{\"top_k\": 20}\n");
        ImageTokenizers.save(
                new PatchTokenizer(codebook(), CODES, PATCH, GRID, GRID), folder.resolve(ImageTokenizers.FOLDER));
        tensor("model.embed_tokens.weight", 1, vocab, HIDDEN);
        ones("model.layers.0.input_layernorm.weight");
        ones("model.layers.0.post_attention_layernorm.weight");
        for (String projection : List.of("q", "k", "v", "o")) {
            tensor("model.layers.0.self_attn." + projection + "_proj.weight", 0.3, HEADS * HEAD_DIM, HIDDEN);
        }
        tensor("model.layers.0.mlp.gate_proj.weight", 0.3, INTERMEDIATE, HIDDEN);
        tensor("model.layers.0.mlp.up_proj.weight", 0.3, INTERMEDIATE, HIDDEN);
        tensor("model.layers.0.mlp.down_proj.weight", 0.3, HIDDEN, INTERMEDIATE);
        ones("model.norm.weight");
        tensor("model.target_row_embedding.weight", 0.3, GRID, HIDDEN);
        tensor("model.target_column_embedding.weight", 0.3, GRID, HIDDEN);
        tensor("image_head.weight", 0.2, CODES, HIDDEN);
        weights.writeFolder(folder, 8_000_000);
        if (fineTuned) {
            adapter(folder);
        }
    }

    private static Map<String, Object> config(List<String> words, int firstImageToken, int vocab) {
        Map<String, Object> config = new LinkedHashMap<>();
        config.put("model_type", "sjd2");
        config.put("architectures", List.of("Sjd2ForImageGeneration"));
        config.put("hidden_size", HIDDEN);
        config.put("intermediate_size", INTERMEDIATE);
        config.put("num_hidden_layers", 1);
        config.put("num_attention_heads", HEADS);
        config.put("num_key_value_heads", HEADS);
        config.put("head_dim", HEAD_DIM);
        config.put("rms_norm_eps", 1e-5);
        config.put("rope_theta", 10_000);
        config.put("vocab_size", vocab);
        config.put("max_position_embeddings", GRID * GRID + LONGEST_PROMPT);
        config.put("torch_dtype", "bfloat16");
        config.put("bos_token_id", WordTokenizerBuilder.BOS_ID);
        config.put("image_begin_token_id", WordTokenizerBuilder.BOI_ID);
        config.put("image_first_token_id", firstImageToken);
        config.put("image_codes", CODES);
        config.put("grid_height", GRID);
        config.put("grid_width", GRID);
        config.put("patch_size", PATCH);
        config.put("caption_words", words);
        return config;
    }

    private float[] codebook() {
        float[] codebook = new float[CODES * PATCH * PATCH * 3];
        for (int i = 0; i < codebook.length; i++) {
            codebook[i] = (float) random.nextDouble(-1, 1);
        }
        return codebook;
    }

    private void adapter(Path folder) throws IOException {
        SafetensorsWriter adapter = new SafetensorsWriter();
        float[] std = new float[HIDDEN];
        java.util.Arrays.fill(std, 1);
        adapter.addF32("sjd2.embedding_mean", new long[] {HIDDEN}, new float[HIDDEN]);
        adapter.addF32("sjd2.embedding_std", new long[] {HIDDEN}, std);
        adapter.addF32("sjd2.time_embed.fc1.weight", new long[] {HIDDEN, SINUSOID}, normals(0.1, HIDDEN * SINUSOID));
        adapter.addF32("sjd2.time_embed.fc1.bias", new long[] {HIDDEN}, new float[HIDDEN]);
        adapter.addF32("sjd2.time_embed.fc2.weight", new long[] {HIDDEN, HIDDEN}, normals(0.1, HIDDEN * HIDDEN));
        adapter.addF32("sjd2.time_embed.fc2.bias", new long[] {HIDDEN}, new float[HIDDEN]);
        adapter.write(folder.resolve("sjd2.safetensors"));
        Map<String, Object> settings = new LinkedHashMap<>();
        settings.put("format", 1);
        settings.put("parametrisation", "vp");
        settings.put("sinusoid_dim", SINUSOID);
        settings.put("levels", 2);
        AtomicFiles.write(folder.resolve("sjd2.json"), Json.prettyText(settings));
    }

    private void ones(String name) {
        float[] values = new float[HIDDEN];
        java.util.Arrays.fill(values, 1);
        weights.addBf16(name, new long[] {HIDDEN}, values);
    }

    private void tensor(String name, double scale, int rows, int columns) {
        weights.addBf16(name, new long[] {rows, columns}, normals(scale, rows * columns));
    }

    private float[] normals(double scale, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (scale * random.nextGaussian());
        }
        return values;
    }

    /// The files of a folder, temporary ones included.
    static List<String> files(Path folder) throws IOException {
        try (var entries = Files.list(folder)) {
            return new ArrayList<>(
                    entries.map(p -> p.getFileName().toString()).sorted().toList());
        }
    }
}
