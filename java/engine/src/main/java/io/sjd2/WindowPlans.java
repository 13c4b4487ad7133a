package io.sjd2;

import io.sjd2.decode.AcceptanceModel;
import io.sjd2.decode.DecodeOptions;
import io.sjd2.decode.DecodeRequest;
import io.sjd2.decode.DecoderSpec;
import io.sjd2.decode.PassCurve;
import io.sjd2.decode.PassTimer;
import io.sjd2.decode.SamplingOptions;
import io.sjd2.decode.WindowPlanner;
import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.model.Prompt;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerForward;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/// Chooses windows for `auto` and remembers what it measured.
///
/// The curve ms(W) is measured once per model, backend, thread count and kind of decoder and kept in a file of the
/// user's
/// cache, so that a seed gives the same picture again: a second measurement could tip the choice.
final class WindowPlans {
    private static final Logger LOG = System.getLogger(WindowPlans.class.getName());
    private static final int PROMPT_TOKENS = 16;

    private final Transformer model;
    private final IntFunction<Prompt> filler;
    private final Json generationConfig;
    private final Map<String, PassCurve> curves = new HashMap<>();

    /// @param filler            a valid prompt of about a length, for the measurement
    /// @param generationConfig  may hold `tokens_per_pass`: decoder to window to measured positions per pass
    WindowPlans(Transformer model, IntFunction<Prompt> filler, Json generationConfig) {
        this.model = model;
        this.filler = filler;
        this.generationConfig = generationConfig;
    }

    WindowPlan plan(DecoderSpec decoder, boolean guided, int images) {
        int length = model.description().imageLength();
        PassCurve curve = curve(decoder, guided, images);
        AcceptanceModel acceptance = acceptance(decoder);
        WindowPlanner.Plan best = decoder.sequential()
                ? new WindowPlanner.Plan(1, 1, curve.millis(1))
                : WindowPlanner.plan(curve, acceptance, length);
        int[] windows = curve.windows();
        double[] sizes = new double[windows.length];
        double[] millis = new double[windows.length];
        double[] tokens = new double[windows.length];
        for (int i = 0; i < windows.length; i++) {
            sizes[i] = windows[i];
            millis[i] = curve.millis(windows[i]);
            tokens[i] = acceptance.tokensPerPass(windows[i]);
        }
        return new WindowPlan(best.window(), best.tokensPerMilli() * curve.millis(1), sizes, millis, tokens);
    }

    private AcceptanceModel acceptance(DecoderSpec decoder) {
        try {
            if (generationConfig.has("tokens_per_pass")
                    && generationConfig.get("tokens_per_pass").has(decoder.toString())) {
                Json record = generationConfig.get("tokens_per_pass").get(decoder.toString());
                Map<Integer, Double> points = new TreeMap<>();
                for (String window : record.keys()) {
                    points.put(Integer.parseInt(window), record.get(window).number());
                }
                return AcceptanceModel.of(points);
            }
        } catch (ModelFormatException | IllegalArgumentException e) {
            LOG.log(Level.WARNING, "tokens_per_pass of the model cannot be used: {0}", e.getMessage());
        }
        return AcceptanceModel.defaultFor(decoder);
    }

    private PassCurve curve(DecoderSpec decoder, boolean guided, int images) {
        String key = key(decoder, guided, images);
        PassCurve known = curves.get(key);
        if (known == null) {
            Path file = cacheFolder().resolve("pass-" + key + ".json");
            known = read(file);
            if (known == null) {
                known = measure(decoder, guided, images);
                write(file, known);
            }
            curves.put(key, known);
        }
        return known;
    }

    private PassCurve measure(DecoderSpec decoder, boolean guided, int images) {
        int length = model.description().imageLength();
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
        int[] windows = WindowPlanner.windowsToMeasure(length);
        Map<Integer, Double> points = new TreeMap<>();
        DecodeOptions options = new DecodeOptions(
                decoder.sequential() ? DecoderSpec.EXACT : decoder,
                SamplingOptions.PLAIN
                        .withGuidance(guided ? 3 : 1)
                        .withTopK(Math.min(100, model.description().codes())),
                1);
        for (int window : windows) {
            // Each window gets a forward pass of its own: views of a wider one would cost more than a decode does.
            try (TransformerForward forward =
                    new TransformerForward(model, prompts.size(), window, prompt.length() + length)) {
                forward.prefill(prompts);
                PassCurve one =
                        PassTimer.measure(forward, new DecodeRequest(length, forced, sequences), options, window);
                points.put(window, one.millis(window));
            }
        }
        PassCurve curve = PassCurve.of(points);
        LOG.log(Level.DEBUG, "measured {0}", curve);
        return curve;
    }

    /// Whatever the curve depends on, as a short hash.
    private String key(DecoderSpec decoder, boolean guided, int images) {
        String text = String.join(
                "|",
                model.fingerprint(),
                model.backend().name(),
                Integer.toString(model.backend().threads()),
                model.dtype().label(),
                decoder.noise() ? "noise" : "clean",
                decoder.kind().name(),
                Boolean.toString(guided),
                Integer.toString(images),
                machine());
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(hash, 0, 12);
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java platform has SHA-256", e);
        }
    }

    private static String machine() {
        try {
            Path cpuInfo = Path.of("/proc/cpuinfo");
            if (Files.exists(cpuInfo)) {
                return Files.readAllLines(cpuInfo).stream()
                        .filter(line -> line.startsWith("model name"))
                        .findFirst()
                        .orElse("");
            }
        } catch (IOException e) {
            LOG.log(Level.DEBUG, "the processor's name cannot be read: {0}", e.getMessage());
        }
        return System.getProperty("os.arch");
    }

    private static Path cacheFolder() {
        String configured = System.getProperty("sjd2.cache");
        if (configured != null) {
            return Path.of(configured);
        }
        String xdg = System.getenv("XDG_CACHE_HOME");
        Path base = xdg != null && !xdg.isBlank() ? Path.of(xdg) : Path.of(System.getProperty("user.home"), ".cache");
        return base.resolve("sjd2");
    }

    private static @Nullable PassCurve read(Path file) {
        if (!Files.exists(file)) {
            return null;
        }
        try {
            Json json = Json.read(file);
            Map<Integer, Double> points = new TreeMap<>();
            for (String window : json.keys()) {
                points.put(Integer.parseInt(window), json.get(window).number());
            }
            return PassCurve.of(points);
        } catch (IOException | IllegalArgumentException e) {
            LOG.log(Level.WARNING, "measuring again, {0} cannot be used: {1}", file, e.getMessage());
            return null;
        }
    }

    private static void write(Path file, PassCurve curve) {
        Map<String, Object> points = new LinkedHashMap<>();
        for (int window : curve.windows()) {
            points.put(Integer.toString(window), curve.millis(window));
        }
        try {
            Files.createDirectories(file.getParent());
            AtomicFiles.write(file, Json.prettyText(points) + "\n");
        } catch (IOException e) {
            LOG.log(
                    Level.WARNING,
                    "the measured window curve cannot be kept ({0}); another run may choose another window",
                    e.getMessage());
        }
    }
}
