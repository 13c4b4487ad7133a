package io.sjd2.vq;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.RandomTensors;
import io.sjd2.io.SyntheticName;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.Arena;

/// Random weights of an image tokeniser, at whatever shapes its networks ask for. Each is made when it is read and goes
/// with the arena it was made in.
final class SyntheticVq implements WeightSource {
    private final String source;
    private final RandomTensors random;

    SyntheticVq(String source, long seed) {
        this.source = source;
        this.random = new RandomTensors(seed);
    }

    /// The image tokeniser that belongs to a preset: the published classes' own defaults.
    static VqConfig config(SyntheticName name) throws ModelFormatException {
        String json = switch (name.preset()) {
            case "lumina-mgpt-7b-768" -> "{\"model_type\": \"vqgan\"}";
            case "emu3-8b" -> "{\"model_type\": \"emu3_vqgan\"}";
            case "janus-pro-1b", "janus-pro-7b" -> "{\"gen_vision_config\": {\"cls\": \"VQ-16\"}}";
            case "llamagen-xl" -> "{\"model_type\": \"llamagen_vq\"}";
            default -> throw new AssertionError(name);
        };
        return VqConfig.parse(Json.parse(json, name.toString()));
    }

    @Override
    public String source() {
        return source;
    }

    /// Where a module has several names the first is taken, and of the two kinds of shortcut the usual one.
    @Override
    public boolean has(String name) {
        return !name.contains("conv_shortcut");
    }

    @Override
    public TensorEntry read(String name, Arena arena) {
        throw new UnsupportedOperationException("tensors are made up at the shape that is asked for");
    }

    @Override
    public TensorEntry read(String name, Arena arena, long... shape) throws IOException {
        if (name.endsWith("bias") || name.endsWith("running_mean")) {
            return random.zeros(name, arena, shape);
        }
        if (shape.length == 1) {
            // Factors of norms, and variances.
            return random.ones(name, arena, shape);
        }
        return name.endsWith("embedding.weight") ? random.table(name, arena, shape) : random.matrix(name, arena, shape);
    }
}
