package io.sjd2;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// What a model is and what running it takes, found out without loading its language model.
///
/// @param model     what it is
/// @param pass      one pass at the end of a picture of the usual size, when most is cached
/// @param pictures  its image tokeniser
public record Inspection(ModelInfo model, PassCost pass, Pictures pictures) {
    /// An image tokeniser.
    ///
    /// @param weightBytes  as loaded; 0 where it is a table of patches
    /// @param decodeFlop   of one picture of the usual size; 0 where nothing is multiplied
    /// @param missing      why there is none, or null
    public record Pictures(
            long weightBytes, double decodeFlop, @Nullable String missing) {
        Map<String, Object> toJson() {
            Map<String, Object> json = new LinkedHashMap<>();
            if (missing != null) {
                json.put("missing", missing);
                return json;
            }
            json.put("weight_bytes", weightBytes);
            json.put("decode_flop", decodeFlop);
            return json;
        }
    }
}
