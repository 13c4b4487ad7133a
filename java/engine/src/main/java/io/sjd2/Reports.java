package io.sjd2;

import io.sjd2.io.Json;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The engine's answers in the words that JSON output uses. Names of fields stay once they are published.
public final class Reports {
    private Reports() {}

    /// A picture: `prompt, seed, index`, what {@link PictureSettings#toJson} has, `auto_window, window_source,
    /// passes, restarts, tokens, step_compression, seconds, ms_per_pass, prefill_seconds, decode_seconds,
    /// image_seconds, warnings, image`.
    ///
    /// @param plan  why the engine chose the window; null if it did not
    /// @param file  where the picture lies
    public static Map<String, Object> of(GeneratedImage image, @Nullable WindowPlan plan, Path file) {
        GenerationStatistics statistics = image.statistics();
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("prompt", image.prompt());
        json.put("seed", image.seed());
        json.put("index", image.index());
        json.putAll(image.settings().toJson());
        json.put("auto_window", plan != null);
        json.put("window_source", source(image, plan));
        json.put("passes", statistics.passes());
        json.put("restarts", statistics.restarts());
        json.put("tokens", statistics.tokens());
        json.put("step_compression", rounded(statistics.stepCompression()));
        json.put("seconds", rounded(seconds(statistics)));
        json.put("ms_per_pass", rounded(statistics.msPerPass()));
        json.put("prefill_seconds", rounded(statistics.prefillSeconds()));
        json.put("decode_seconds", rounded(statistics.seconds()));
        json.put("image_seconds", rounded(statistics.decodeImageSeconds()));
        json.put("warnings", image.warnings());
        json.put("image", file.toString());
        return json;
    }

    /// Where a window came from: `decoder` (it has no other), `given`, `measured` (just now) or `cached`.
    private static String source(GeneratedImage image, @Nullable WindowPlan plan) {
        if (plan != null) {
            return plan.origin().name().toLowerCase(Locale.ROOT);
        }
        return image.statistics().decoder().equals(Comparison.BASELINE) ? "decoder" : "given";
    }

    /// To six decimals: microseconds are finer than any clock is steady.
    private static double rounded(double value) {
        return Math.round(value * 1e6) / 1e6;
    }

    /// From the prompt's pass to pixels, in seconds of wall time, shared by the pictures of a batch.
    public static double seconds(GenerationStatistics statistics) {
        return statistics.prefillSeconds() + statistics.seconds() + statistics.decodeImageSeconds();
    }

    /// A model.
    public static Map<String, Object> of(ModelInfo info) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("folder", info.folder().toString());
        json.put("family", info.family());
        json.put("parameters", info.parameters());
        json.put("weight_bytes", info.weightBytes());
        json.put("streamed_bytes", info.streamedBytes());
        json.put("kv_bytes_per_token", info.kvBytesPerToken());
        json.put("dtype", info.dtype());
        json.put("backend", info.backend());
        json.put("threads", info.threads());
        json.put("layers", info.layers());
        json.put("hidden_size", info.hiddenSize());
        json.put("vocab_size", info.vocabSize());
        json.put("codes", info.codes());
        json.put("grid_height", info.gridHeight());
        json.put("grid_width", info.gridWidth());
        json.put("tokens_per_image", info.tokensPerImage());
        json.put("image_width", info.imageWidth());
        json.put("image_height", info.imageHeight());
        json.put("max_prompt_tokens", info.maxPromptTokens());
        json.put("fine_tuned", info.fineTuned());
        ModelInfo.Defaults defaults = info.defaults();
        Map<String, Object> settings = new LinkedHashMap<>();
        settings.put("decoder", defaults.decoder());
        settings.put("levels", defaults.levels());
        settings.put("cfg", defaults.guidance());
        settings.put("temperature", defaults.temperature());
        settings.put("top_k", defaults.topK());
        settings.put("top_p", defaults.topP());
        json.put("defaults", settings);
        return json;
    }

    /// A model that was inspected: as {@link #of(ModelInfo)}, with `pass` (`window, sequences, kv_len, flop,
    /// weight_bytes, kv_bytes, bytes`) and `image_tokeniser` (`weight_bytes, decode_flop`, or `missing`).
    public static Map<String, Object> of(Inspection inspection) {
        Map<String, Object> json = of(inspection.model());
        json.put("pass", inspection.pass().toJson());
        json.put("image_tokeniser", inspection.pictures().toJson());
        return json;
    }

    /// JSON over several lines, with a line break at the end, of maps, lists, strings, numbers, booleans and null.
    public static String json(Object value) {
        return Json.prettyText(value);
    }
}
