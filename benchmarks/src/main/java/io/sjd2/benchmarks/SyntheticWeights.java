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
public final class SyntheticWeights implements TensorSource {
    /// Vocabulary entries in front of the codes.
    private static final int WORDS = 16;

    private static final double SCALE = 0.05;

    /// Of every norm.
    public static final double NORM_EPS = 1e-5;

    /// Of the rotary positions, whose pairs are an element of the first half and one of the second.
    public static final int ROPE_THETA = 10_000;

    private final Shape shape;
    private final int layers;
    private final int codes;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment numbers;
    private final MemorySegment ones;

    private SyntheticWeights(Shape shape, int layers, int codes) {
        this.shape = shape;
        this.layers = layers;
        this.codes = codes;
        this.numbers = arena.allocate(2 * blockElements(shape), 64);
        fill(numbers, shape);
        this.ones = arena.allocate(2L * shape.hidden, 64);
        for (long i = 0; i < shape.hidden; i++) {
            ones.setAtIndex(ValueLayout.JAVA_SHORT, i, BFloat16.fromFloat(1));
        }
    }

    /// Numbers in the block that the matrices of a shape are cut from.
    public static long blockElements(Shape shape) {
        return Math.max((long) shape.intermediate, shape.codes + WORDS) * shape.hidden;
    }

    /// The block: a matrix `[rows, columns]` is its first `rows * columns` numbers, whichever matrix it is. Queries,
    /// keys and values are three matrices, gate and up are two.
    ///
    /// @param block  {@link #blockElements} of bf16
    public static void fill(MemorySegment block, Shape shape) {
        SplittableRandom random = new SplittableRandom(1);
        long elements = blockElements(shape);
        for (long i = 0; i < elements; i++) {
            block.setAtIndex(ValueLayout.JAVA_SHORT, i, BFloat16.fromFloat((float) random.nextDouble(-SCALE, SCALE)));
        }
    }

    /// A model of this project's own family with the first `layers` layers of a shape and a head of `codes` codes.
    static Transformer load(Backend backend, Shape shape, int layers, int codes, DType dtype) {
        try (ModelFiles files =
                new ModelFiles(describe(shape, layers, codes), new SyntheticWeights(shape, layers, codes), null)) {
            return Transformer.load(backend, files, dtype, Transformer.Heads.CODES, LoadListener.NONE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static ModelDescription describe(Shape shape, int layers, int codes) throws IOException {
        Map<String, Object> config = new LinkedHashMap<>();
        config.put("model_type", "sjd2");
        config.put("hidden_size", shape.hidden);
        config.put("intermediate_size", shape.intermediate);
        config.put("num_hidden_layers", layers);
        config.put("num_attention_heads", shape.heads);
        config.put("num_key_value_heads", shape.heads);
        config.put("head_dim", shape.headDim);
        config.put("rms_norm_eps", NORM_EPS);
        config.put("rope_theta", ROPE_THETA);
        config.put("vocab_size", WORDS + codes);
        config.put("max_position_embeddings", shape.grid * shape.grid + 64);
        config.put("bos_token_id", 1);
        config.put("image_begin_token_id", 2);
        config.put("image_first_token_id", WORDS);
        config.put("image_codes", codes);
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
            case "embed_tokens" -> new long[] {WORDS + codes, shape.hidden};
            case "input_layernorm", "post_attention_layernorm", "norm" -> new long[] {shape.hidden};
            case "q_proj", "k_proj", "v_proj" -> new long[] {attention, shape.hidden};
            case "o_proj" -> new long[] {shape.hidden, attention};
            case "gate_proj", "up_proj" -> new long[] {shape.intermediate, shape.hidden};
            case "down_proj" -> new long[] {shape.hidden, shape.intermediate};
            case "image_head" -> new long[] {codes, shape.hidden};
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
