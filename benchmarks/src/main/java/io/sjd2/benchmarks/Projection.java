package io.sjd2.benchmarks;

import io.sjd2.Engine;
import io.sjd2.EngineOptions;
import io.sjd2.GenerationListener;
import io.sjd2.GenerationRequest;
import io.sjd2.GenerationStatistics;
import io.sjd2.ScenePrompts;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// How much faster than autoregression a large model would be at the step compression that the bundled model really
/// reaches: the compression measured on pictures, the time of an iteration measured at the large model's shape. A
/// projection, as no weights of that shape are at hand that are fine-tuned for the decoder. For the bundled model
/// itself it is what decoding gains.
///
/// @param model        shape whose iterations were timed
/// @param decoder      whose pictures were counted
/// @param rows         window
/// @param compression  tokens per pass of the bundled model, mean over pictures
/// @param pictures     how many
/// @param arMicros     an iteration of one row
/// @param micros       an iteration of `rows` rows
record Projection(
        String model, String decoder, int rows, double compression, int pictures, double arMicros, double micros) {
    private static final int PICTURES = 12;

    /// Time per picture of autoregression over this one's.
    double speedup() {
        return compression * conversion();
    }

    /// Gain in time over gain in steps.
    double conversion() {
        return arMicros / micros;
    }

    /// Joins iterations of {@link DecodeStepBenchmark} over all of a model's layers with pictures of the bundled model.
    ///
    /// @param results  none of another kind matters
    static List<Projection> of(List<Measured> results, int threads, Path home) throws IOException {
        List<Projection> projections = new ArrayList<>();
        List<Measured> steps = results.stream()
                .filter(m -> m.benchmark().equals("DecodeStep")
                        && "0".equals(m.parameters().get("layers"))
                        && "2".equals(m.parameters().get("batch")))
                .toList();
        for (Measured one : steps) {
            if (one.rows() != 1) {
                continue;
            }
            List<Measured> wider = steps.stream()
                    .filter(m -> m.rows() > 1
                            && m.dtype().equals(one.dtype())
                            && m.parameters().equals(one.parameters()))
                    .toList();
            try (Engine engine = Engine.open(
                    home.resolve("models/demo"), EngineOptions.defaults().withThreads(threads))) {
                for (Measured m : wider) {
                    projections.add(project(engine, one, m));
                }
            }
        }
        return projections;
    }

    private static Projection project(Engine engine, Measured one, Measured wider) {
        List<String> prompts = ScenePrompts.heldOut(PICTURES);
        double tokens = 0;
        double passes = 0;
        for (int i = 0; i < prompts.size(); i++) {
            GenerationStatistics s = engine.generate(
                            GenerationRequest.of(prompts.get(i)).withSeed(i).withWindow(wider.rows()),
                            GenerationListener.NONE)
                    .getFirst()
                    .statistics();
            tokens += s.tokens();
            passes += s.passes();
        }
        return new Projection(
                one.parameters().get("model"),
                engine.info().defaults().decoder(),
                wider.rows(),
                tokens / passes,
                prompts.size(),
                one.medianMicros(),
                wider.medianMicros());
    }

    Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("model", model);
        json.put("decoder", decoder);
        json.put("rows", rows);
        json.put("step_compression", compression);
        json.put("pictures", pictures);
        json.put("ar_step_us", arMicros);
        json.put("step_us", micros);
        json.put("speedup", speedup());
        json.put("conversion", conversion());
        return json;
    }

    static Projection fromJson(Json json) throws ModelFormatException {
        return new Projection(
                json.get("model").string(),
                json.get("decoder").string(),
                json.get("rows").int32(),
                json.get("step_compression").number(),
                json.get("pictures").int32(),
                json.get("ar_step_us").number(),
                json.get("step_us").number());
    }
}
