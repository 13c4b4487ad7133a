package io.sjd2.benchmarks;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.model.LoadListener;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.ModelFiles;
import io.sjd2.model.TensorSource;
import io.sjd2.model.Transformer;
import io.sjd2.tensor.BFloat16;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;

/// Weights at a model's shape for timing passes: every matrix is cut from one block of random numbers, every norm
/// is 1. Packed, each takes memory of its own, as a real model's do.
final class SyntheticWeights implements TensorSource {
    /// Vocabulary entries in front of the codes.
    private static final int WORDS = 16;

    private static final double SCALE = 0.05;

    private final Shape shape;
    private final int layers;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment numbers;
    private final MemorySegment ones;

    private SyntheticWeights(Shape shape, int layers) {
        this.shape = shape;
        this.layers = layers;
        long largest = Math.max((long) shape.intermediate, shape.codes + WORDS) * shape.hidden;
        this.numbers = arena.allocate(2 * largest, 64);
        SplittableRandom random = new SplittableRandom(1);
        for (long i = 0; i < largest; i++) {
            numbers.setAtIndex(ValueLayout.JAVA_SHORT, i, BFloat16.fromFloat((float) random.nextDouble(-SCALE, SCALE)));
        }
        this.ones = arena.allocate(2L * shape.hidden, 64);
        for (long i = 0; i < shape.hidden; i++) {
            ones.setAtIndex(ValueLayout.JAVA_SHORT, i, BFloat16.fromFloat(1));
        }
    }

    /// A model of this project's own family with the first `layers` layers of a shape.
    static Transformer load(Backend backend, Shape shape, int layers, DType dtype) {
        try (ModelFiles files = new ModelFiles(describe(shape, layers), new SyntheticWeights(shape, layers), null)) {
            return Transformer.load(backend, files, dtype, Transformer.Heads.CODES, LoadListener.NONE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static ModelDescription describe(Shape shape, int layers) throws IOException {
        Map<String, Object> config = new LinkedHashMap<>();
        config.put("model_type", "sjd2");
        config.put("hidden_size", shape.hidden);
        config.put("intermediate_size", shape.intermediate);
        config.put("num_hidden_layers", layers);
        config.put("num_attention_heads", shape.heads);
        config.put("num_key_value_heads", shape.heads);
        config.put("head_dim", shape.headDim);
        config.put("rms_norm_eps", 1e-5);
        config.put("rope_theta", 10_000);
        config.put("vocab_size", WORDS + shape.codes);
        config.put("max_position_embeddings", shape.grid * shape.grid + 64);
        config.put("bos_token_id", 1);
        config.put("image_begin_token_id", 2);
        config.put("image_first_token_id", WORDS);
        config.put("image_codes", shape.codes);
        config.put("grid_height", shape.grid);
        config.put("grid_width", shape.grid);
        config.put("patch_size", 4);
        Path folder = Files.createTempDirectory("sjd2-benchmark-");
        Path file = folder.resolve(ModelDescription.CONFIG_FILE);
        try {
            AtomicFiles.write(file, Json.prettyText(config));
            return ModelDescription.read(folder);
        } finally {
            Files.deleteIfExists(file);
            Files.deleteIfExists(folder);
        }
    }

    @Override
    public String source() {
        return "synthetic weights of " + shape;
    }

    @Override
    public boolean has(String name) {
        return find(name).length > 0;
    }

    @Override
    public Info info(String name) throws ModelFormatException {
        long[] extents = find(name);
        if (extents.length == 0) {
            throw new ModelFormatException(source(), "has no tensor " + name, "there are " + layers + " layers");
        }
        long elements = 1;
        for (long extent : extents) {
            elements *= extent;
        }
        return new Info(name, "BF16", extents, 2 * elements);
    }

    /// Extents of a tensor; none if there is none of this name.
    private long[] find(String name) {
        String[] words = name.split("\\.");
        if (name.startsWith("model.layers.") && Integer.parseInt(words[2]) >= layers) {
            return new long[0];
        }
        long attention = (long) shape.heads * shape.headDim;
        return switch (words[words.length - 2]) {
            case "embed_tokens" -> new long[] {WORDS + shape.codes, shape.hidden};
            case "input_layernorm", "post_attention_layernorm", "norm" -> new long[] {shape.hidden};
            case "q_proj", "k_proj", "v_proj" -> new long[] {attention, shape.hidden};
            case "o_proj" -> new long[] {shape.hidden, attention};
            case "gate_proj", "up_proj" -> new long[] {shape.intermediate, shape.hidden};
            case "down_proj" -> new long[] {shape.hidden, shape.intermediate};
            case "image_head" -> new long[] {shape.codes, shape.hidden};
            case "target_row_embedding", "target_column_embedding" -> new long[] {shape.grid, shape.hidden};
            default -> new long[0];
        };
    }

    @Override
    public TensorEntry read(String name, Arena owner) throws IOException {
        Info info = info(name);
        MemorySegment from = info.shape().length == 1 ? ones : numbers;
        return new TensorEntry(name, info.dtype(), info.shape(), from.asSlice(0, info.bytes()));
    }

    @Override
    public void release(TensorEntry entry) {
        // All tensors share their pages.
    }

    @Override
    public void close() {
        arena.close();
    }
}
