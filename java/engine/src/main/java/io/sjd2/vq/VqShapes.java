package io.sjd2.vq;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.TensorEntry;
import io.sjd2.vq.VqConfig.Family;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Reads off the weights what LlamaGen publishes without a configuration.
final class VqShapes {
    private static final int MOST = 64;

    private VqShapes() {}

    /// What the weights show, or null if they are not LlamaGen's.
    static @Nullable VqConfig infer(WeightSource weights) throws IOException {
        String table = "quantize.embedding.weight";
        if (!weights.has(table)
                || !weights.has("post_quant_conv.weight")
                || !weights.has("decoder.conv_blocks.0.res.0.conv1.weight")) {
            return null;
        }
        try (Arena arena = Arena.ofShared()) {
            List<Integer> decoder = new ArrayList<>();
            int blocks = 0;
            while (decoder.size() < MOST && weights.has(block("decoder", decoder.size(), 0))) {
                decoder.add(extent(weights, block("decoder", decoder.size(), 0), 0, arena));
            }
            while (blocks < MOST && weights.has(block("decoder", 0, blocks))) {
                blocks++;
            }
            // The decoder runs from the lowest resolution up, the encoder from the highest down.
            Collections.reverse(decoder);
            List<Integer> encoder = new ArrayList<>();
            int stem = decoder.getFirst();
            if (weights.has("encoder.conv_out.weight")) {
                while (encoder.size() < MOST && weights.has(block("encoder", encoder.size(), 0))) {
                    encoder.add(extent(weights, block("encoder", encoder.size(), 0), 0, arena));
                }
                stem = extent(weights, "encoder.conv_in.weight", 0, arena);
            }
            return new VqConfig(
                    Family.LLAMAGEN,
                    extent(weights, table, 0, arena),
                    extent(weights, table, 1, arena),
                    true,
                    extent(weights, "post_quant_conv.weight", 0, arena),
                    extent(weights, "decoder.conv_out.weight", 0, arena),
                    decoder,
                    encoder.isEmpty() ? decoder : encoder,
                    stem,
                    Math.max(1, blocks - 1),
                    VqConfig.lowestOnly(decoder.size()),
                    1);
        } catch (IllegalArgumentException e) {
            throw new ModelFormatException(
                    weights.source(), e.getMessage(), "the weights are not those of a LlamaGen tokeniser", e);
        }
    }

    private static String block(String network, int level, int block) {
        return network + ".conv_blocks." + level + ".res." + block + ".conv1.weight";
    }

    private static int extent(WeightSource weights, String name, int axis, Arena arena) throws IOException {
        TensorEntry entry = weights.read(name, arena);
        if (entry.shape().length <= axis || entry.shape()[axis] > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("tensor " + entry + " has no axis " + axis + " of a usable size");
        }
        return (int) entry.shape()[axis];
    }
}
