package io.sjd2;

import io.sjd2.WindowPlan.Origin;
import io.sjd2.decode.AcceptanceModel;
import io.sjd2.decode.DecodeOptions;
import io.sjd2.decode.DecodeRequest;
import io.sjd2.decode.DecoderSpec;
import io.sjd2.decode.PassCurve;
import io.sjd2.decode.PassTimer;
import io.sjd2.decode.SamplingOptions;
import io.sjd2.decode.WindowPlanner;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.model.Prompt;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerForward;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/// Chooses windows for `auto` and remembers what it measured.
///
/// The curve ms(W) is measured once per model, machine and way of decoding and kept in a {@link WindowCache}, so that a
/// seed gives the same picture again: a second measurement could tip the choice.
final class WindowPlans {
    private static final Logger LOG = System.getLogger(WindowPlans.class.getName());
    private static final int PROMPT_TOKENS = 16;

    private final Transformer model;
    private final IntFunction<Prompt> filler;
    private final Json generationConfig;
    private final Map<Map<String, Object>, Known> known = new HashMap<>();

    private record Known(WindowCache.Entry entry, Origin origin) {}

    private record Acceptance(AcceptanceModel model, boolean recorded) {}

    /// @param filler            a valid prompt of about a length, for the measurement
    /// @param generationConfig  may hold `tokens_per_pass`: decoder to window to measured positions per pass
    WindowPlans(Transformer model, IntFunction<Prompt> filler, Json generationConfig) {
        this.model = model;
        this.filler = filler;
        this.generationConfig = generationConfig;
    }

    /// @param again  whether to measure even where a measurement is known
    WindowPlan plan(DecoderSpec decoder, boolean guided, int images, boolean again) {
        int length = model.description().imageLength();
        Map<String, Object> circumstances = circumstances(decoder, guided, images);
        WindowCache cache = WindowCache.of(circumstances);
        Known measured = known(cache, circumstances, decoder, guided, images, again);
        PassCurve curve = measured.entry().curve();
        Acceptance acceptance = acceptance(decoder);
        int window = decoder.sequential()
                ? 1
                : WindowPlanner.plan(curve, acceptance.model(), length).window();
        List<WindowPlan.Point> points = new ArrayList<>();
        for (int size : curve.windows()) {
            points.add(new WindowPlan.Point(
                    size, curve.millis(size), acceptance.model().tokensPerPass(size)));
        }
        return new WindowPlan(
                decoder.toString(),
                guided,
                images,
                length,
                window,
                points,
                acceptance.recorded(),
                measured.origin(),
                measured.entry().measuredAt(),
                cache.file());
    }

    private Acceptance acceptance(DecoderSpec decoder) {
        try {
            if (generationConfig.has("tokens_per_pass")
                    && generationConfig.get("tokens_per_pass").has(decoder.toString())) {
                Json record = generationConfig.get("tokens_per_pass").get(decoder.toString());
                Map<Integer, Double> points = new TreeMap<>();
                for (String window : record.keys()) {
                    points.put(Integer.parseInt(window), record.get(window).number());
                }
                return new Acceptance(AcceptanceModel.of(points), true);
            }
        } catch (ModelFormatException | IllegalArgumentException e) {
            LOG.log(Level.WARNING, "tokens_per_pass of the model cannot be used: {0}", e.getMessage());
        }
        return new Acceptance(AcceptanceModel.defaultFor(decoder), false);
    }

    private Known known(
            WindowCache cache,
            Map<String, Object> circumstances,
            DecoderSpec decoder,
            boolean guided,
            int images,
            boolean again) {
        Known found = again ? null : known.get(circumstances);
        if (found == null) {
            WindowCache.@Nullable Entry kept = again ? null : cache.read();
            found = kept != null
                    ? new Known(kept, Origin.CACHED)
                    : new Known(cache.keep(measure(decoder, guided, images, cache)), Origin.MEASURED);
            known.put(circumstances, found);
        }
        return found;
    }

    private PassCurve measure(DecoderSpec decoder, boolean guided, int images, WindowCache cache) {
        int length = model.description().imageLength();
        int[] windows = WindowPlanner.windowsToMeasure(length);
        LOG.log(
                Level.INFO,
                "measuring passes of {0} to {1} rows for window auto, once for this model and machine; kept in {2}",
                windows[0],
                windows[windows.length - 1],
                cache.file());
        int[] forced = model.description()
                .picture()
                .forced(model.description().grid(), model.description().codes());
        Prompt prompt = filler.apply(Math.clamp(model.config().maxPositions() - length, 1, PROMPT_TOKENS));
        List<Prompt> prompts = new ArrayList<>();
        List<DecodeRequest.Image> sequences = new ArrayList<>();
        for (int i = 0; i < images; i++) {
            sequences.add(new DecodeRequest.Image(0, i, prompts.size(), guided ? prompts.size() + 1 : -1));
            prompts.add(prompt);
            if (guided) {
                prompts.add(prompt);
            }
        }
        DecodeOptions options = new DecodeOptions(
                decoder.sequential() ? DecoderSpec.EXACT : decoder,
                SamplingOptions.PLAIN
                        .withGuidance(guided ? 3 : 1)
                        .withTopK(Math.min(100, model.description().codes())),
                1);
        PassSweeps sweeps = new PassSweeps();
        long begin = System.nanoTime();
        while (sweeps.wantsMore(System.nanoTime() - begin)) {
            Map<Integer, Double> sweep = new TreeMap<>();
            for (int i = 0; i < windows.length; i++) {
                // Up and down again: a machine that was busy for a while was not so at every width both times.
                int window = windows[sweeps.count() % 2 == 0 ? i : windows.length - 1 - i];
                // Each window gets a forward pass of its own: views of a wider one would cost more than a decode does.
                try (TransformerForward forward = new TransformerForward(
                        model, prompts.size(), window, prompt.length() + length, prompt.length())) {
                    forward.prefill(prompts);
                    sweep.put(
                            window,
                            PassTimer.measure(forward, new DecodeRequest(length, forced, sequences), options, window)
                                    .millis(window));
                }
            }
            sweeps.add(sweep);
        }
        Map<Integer, Double> points = sweeps.points();
        PassTimer.smooth(points);
        PassCurve curve = PassCurve.of(points);
        LOG.log(Level.DEBUG, "measured {0}", curve);
        return curve;
    }

    /// Whatever the curve depends on.
    private Map<String, Object> circumstances(DecoderSpec decoder, boolean guided, int images) {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("engine", model.backend().build());
        all.put("machine", WindowCache.machine());
        all.put("model", model.fingerprint());
        all.put("backend", model.backend().name());
        all.put("threads", model.backend().threads());
        all.put("dtype", model.dtype().label());
        all.put("verification", decoder.kind().name());
        all.put("noise", decoder.noise());
        all.put("guided", guided);
        all.put("images", images);
        return all;
    }
}
