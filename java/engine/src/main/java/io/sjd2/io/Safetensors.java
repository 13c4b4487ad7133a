package io.sjd2.io;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/// What reader and writer of the safetensors format must agree on.
///
/// A file is an 8-byte little-endian header length, a JSON header, and one buffer that the header's tensors cover
/// without holes or overlaps.
public final class Safetensors {
    /// The longest header that is read or written, in bytes; the limit the format's other readers have.
    static final long MAX_HEADER_BYTES = 100_000_000;

    /// The key in the header that is no tensor: a map from text to text.
    static final String METADATA_KEY = "__metadata__";

    private static final Map<String, Integer> BYTES = Map.ofEntries(
            Map.entry("F64", 8),
            Map.entry("F32", 4),
            Map.entry("F16", 2),
            Map.entry("BF16", 2),
            Map.entry("I64", 8),
            Map.entry("I32", 4),
            Map.entry("I16", 2),
            Map.entry("I8", 1),
            Map.entry("U8", 1),
            Map.entry("BOOL", 1),
            // Not computed with, but checkpoints may carry them in parts that the engine skips.
            Map.entry("U64", 8),
            Map.entry("U32", 4),
            Map.entry("U16", 2),
            Map.entry("F8_E4M3", 1),
            Map.entry("F8_E5M2", 1));

    private Safetensors() {}

    /// The dtypes that a file may hold, in alphabetical order.
    public static Set<String> dtypes() {
        return new TreeMap<>(BYTES).navigableKeySet();
    }

    /// The size of one element in bytes.
    ///
    /// @throws IllegalArgumentException if no file may hold this dtype
    public static int bytesPerElement(String dtype) {
        Integer bytes = BYTES.get(dtype);
        if (bytes == null) {
            throw new IllegalArgumentException("dtype \"" + dtype + "\" is not one of " + dtypes());
        }
        return bytes;
    }

    static boolean isDtype(String dtype) {
        return BYTES.containsKey(dtype);
    }
}
