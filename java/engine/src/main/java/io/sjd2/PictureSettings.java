package io.sjd2;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// What a picture depends on, with nothing left to defaults: the same request to the same model, held as the same dtype
/// on the same backend, gives the picture again.
///
/// @param request  decoder, sampler, window, restart and all numbers of sampling as they were used; levels null where
///     the decoder has none. Feeds {@link Engine#generate}
/// @param dtype    of the model's weights
/// @param backend  whose rounding can change a token, beside the dtype's
public record PictureSettings(GenerationRequest request, String dtype, String backend) {
    /// Under the names that JSON output and text in PNG files share: `decoder, sampler, window, levels, restart, cfg,
    /// temperature, top_k, top_p, dtype, backend`, and where they were given `raw_prompt, negative, class`.
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        if (request.rawPrompt()) {
            json.put("raw_prompt", true);
        }
        if (request.negative() != null) {
            json.put("negative", request.negative());
        }
        if (request.condition() instanceof Condition.Label label) {
            json.put("class", label.label());
        }
        put(json, "decoder", request.decoder());
        put(json, "sampler", request.sampler());
        json.put("window", request.window());
        json.put("levels", request.levels() == null ? 0 : request.levels());
        put(json, "restart", request.restart());
        put(json, "cfg", request.guidance());
        put(json, "temperature", request.temperature());
        put(json, "top_k", request.topK());
        put(json, "top_p", request.topP());
        json.put("dtype", dtype);
        json.put("backend", backend);
        return json;
    }

    private static void put(Map<String, Object> json, String name, @Nullable Object value) {
        if (value != null) {
            json.put(name, value);
        }
    }
}
