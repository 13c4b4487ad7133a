package io.sjd2;

import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerConfig;
import java.util.LinkedHashMap;
import java.util.Map;

/// What one pass over a window costs, by its shapes. What is left out (norms, activations, sampling) is small beside
/// it.
///
/// @param window       positions refined
/// @param sequences    that share the weights: 2 with guidance
/// @param kvLength     entries cached per sequence
/// @param flop         of matrix products and attention, a multiplication and an addition counted as two
/// @param weightBytes  of weights read, once for all rows
/// @param kvBytes      of cached keys and values read and written
public record PassCost(int window, int sequences, int kvLength, double flop, long weightBytes, long kvBytes) {
    static PassCost of(
            TransformerConfig config,
            Transformer.Size size,
            int elementBytes,
            int window,
            int sequences,
            int kvLength) {
        long rows = (long) window * sequences;
        double flop = rows * (config.blockFlopPerRow(kvLength) + 2.0 * size.headParameters());
        long kv = config.kvBytesPerToken(elementBytes) * ((long) sequences * kvLength + rows);
        return new PassCost(window, sequences, kvLength, flop, size.streamedBytes(), kv);
    }

    /// All bytes moved.
    public long bytes() {
        return weightBytes + kvBytes;
    }

    Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("window", window);
        json.put("sequences", sequences);
        json.put("kv_len", kvLength);
        json.put("flop", flop);
        json.put("weight_bytes", weightBytes);
        json.put("kv_bytes", kvBytes);
        json.put("bytes", bytes());
        return json;
    }
}
