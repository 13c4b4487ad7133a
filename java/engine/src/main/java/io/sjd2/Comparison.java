package io.sjd2;

import io.sjd2.io.Json;
import io.sjd2.scenes.ContactSheet;
import io.sjd2.tensor.RgbImage;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.ToIntFunction;
import org.jspecify.annotations.Nullable;

/// Decoders side by side on a list of prompts.
///
/// One picture per decoder and prompt. Every decoder makes one picture before anything counts; then, prompt by prompt,
/// each takes its turn, so that a machine that grows slower or faster meets all alike. Prompt `i` uses seed `seed + i`,
/// so that pictures are independent and a comparison can be repeated.
public final class Comparison {
    /// The baseline of every ratio.
    public static final String BASELINE = "ar";

    private final List<String> prompts;
    private final List<Entry> entries;
    private final Trial[][] trials;

    private Comparison(List<String> prompts, List<Entry> entries, Trial[][] trials) {
        this.prompts = prompts;
        this.entries = entries;
        this.trials = trials;
    }

    /// One of the decoders compared.
    ///
    /// @param decoder a decoder's name
    /// @param window  positions per pass; 0: auto
    public record Entry(String decoder, int window) {}

    /// One picture made for a comparison.
    ///
    /// @param nll mean over its sampled tokens of `-log p` under the clean autoregressive model, in nats, with neither
    ///            filters nor guidance
    record Trial(GeneratedImage image, double nll, Optional<Fidelity> fidelity) {
        double seconds() {
            GenerationStatistics s = image.statistics();
            return s.prefillSeconds() + s.seconds() + s.decodeImageSeconds();
        }
    }

    /// Watches a comparison.
    public interface Listener {
        /// Watches nothing and never cancels.
        Listener NONE = new Listener() {};

        /// Before each picture, those for warming up included.
        default void progress(int done, int total, Entry next, String prompt) {}

        /// A picture that counts is done.
        default void made(Entry entry, GeneratedImage image) {}

        /// Asked before every pass; true ends the comparison with a {@link CancellationException}.
        default boolean cancelled() {
            return false;
        }
    }

    /// What one decoder reached. Times are in seconds of wall time; a picture's time runs from the prompt's pass to
    /// pixels. Estimates over fidelity are shares of the objects that the prompts name.
    ///
    /// @param decoder         its name
    /// @param window          positions per pass, as resolved
    /// @param autoWindow      whether the engine chose the window
    /// @param levels          noise levels, 0 without
    /// @param images          pictures that count
    /// @param passes          forward passes per picture, behind the prompt's
    /// @param stepCompression tokens per pass
    /// @param msPerPass       milliseconds per pass
    /// @param seconds         time per picture
    /// @param speedup         time of the baseline over time of this one; nothing without a baseline
    /// @param conversion      speedup over step compression; nothing without a baseline
    /// @param lost            where the rest of the conversion went; null without a baseline
    /// @param nll             see {@link Trial}
    /// @param nllGap          `nll` less the baseline's, prompt by prompt; nothing without a baseline
    /// @param fidelity        objects with the right colour and place
    /// @param shape           objects with the right shape
    /// @param size            objects with the right size
    /// @param extra           objects per picture that the prompt does not name
    /// @param whole           pictures that show all that is stated
    public record Row(
            String decoder,
            int window,
            boolean autoWindow,
            int levels,
            int images,
            Estimate passes,
            Estimate stepCompression,
            Estimate msPerPass,
            Estimate seconds,
            Estimate speedup,
            Estimate conversion,
            @Nullable ConversionLoss lost,
            Estimate nll,
            Estimate nllGap,
            Estimate fidelity,
            Estimate shape,
            Estimate size,
            Estimate extra,
            Estimate whole) {

        /// As JSON; beside each mean its 95 % interval `[low, high]` under `.._ci`, null where it is not known.
        public Map<String, @Nullable Object> toJson() {
            Map<String, @Nullable Object> json = new LinkedHashMap<>();
            json.put("decoder", decoder);
            json.put("window", window);
            json.put("auto_window", autoWindow);
            json.put("levels", levels);
            json.put("images", images);
            passes.putInto(json, "passes");
            stepCompression.putInto(json, "step_compression");
            msPerPass.putInto(json, "ms_per_pass");
            seconds.putInto(json, "seconds");
            speedup.putInto(json, "speedup");
            conversion.putInto(json, "conversion");
            json.put("conversion_lost", lost == null ? null : lost.toJson());
            nll.putInto(json, "nll");
            nllGap.putInto(json, "nll_gap");
            fidelity.putInto(json, "fidelity");
            shape.putInto(json, "fidelity_shape");
            size.putInto(json, "fidelity_size");
            whole.putInto(json, "fidelity_whole");
            extra.putInto(json, "extra_objects");
            return json;
        }
    }

    /// Makes all pictures.
    ///
    /// @param settings sampling settings and the seed; prompt, decoder, window and number of images are replaced
    /// @throws IllegalArgumentException if there is no prompt or no decoder, or the engine refuses a setting
    /// @throws CancellationException if the listener asks for it
    public static Comparison run(
            Engine engine, List<String> prompts, List<Entry> entries, GenerationRequest settings, Listener listener) {
        if (prompts.isEmpty() || entries.isEmpty()) {
            throw new IllegalArgumentException("nothing to compare: " + prompts.size() + " prompts and "
                    + entries.size() + " decoders, expected at least one of each");
        }
        GenerationListener cancelling = new GenerationListener() {
            @Override
            public boolean cancelled() {
                return listener.cancelled();
            }
        };
        int total = entries.size() * (prompts.size() + 1);
        int done = 0;
        for (Entry entry : entries) {
            listener.progress(done++, total, entry, prompts.getFirst());
            engine.generate(request(settings, entry, prompts.getFirst(), 0), cancelling);
        }
        Trial[][] trials = new Trial[entries.size()][prompts.size()];
        for (int p = 0; p < prompts.size(); p++) {
            String prompt = prompts.get(p);
            for (int turn = 0; turn < entries.size(); turn++) {
                // Whoever comes first finds the caches as the scoring of the last picture left them: take turns at it.
                int e = (turn + p) % entries.size();
                Entry entry = entries.get(e);
                listener.progress(done++, total, entry, prompt);
                GeneratedImage image = engine.generate(request(settings, entry, prompt, p), cancelling)
                        .getFirst();
                trials[e][p] = trial(engine, image, prompt, settings.rawPrompt());
                listener.made(entry, image);
            }
        }
        return new Comparison(List.copyOf(prompts), List.copyOf(entries), trials);
    }

    private static GenerationRequest request(GenerationRequest settings, Entry entry, String prompt, int index) {
        return new GenerationRequest(
                prompt,
                settings.rawPrompt(),
                1,
                settings.seed() + index,
                entry.decoder(),
                // Only autoregression draws in more than one way.
                entry.decoder().equals(BASELINE) ? settings.sampler() : null,
                entry.decoder().equals(BASELINE) ? GenerationRequest.AUTO_WINDOW : entry.window(),
                entry.decoder().startsWith("sjd2") ? settings.levels() : null,
                settings.restart(),
                settings.guidance(),
                settings.temperature(),
                settings.topK(),
                settings.topP(),
                GenerationRequest.Target.USUAL);
    }

    private static Trial trial(Engine engine, GeneratedImage image, String prompt, boolean raw) {
        double sum = 0;
        int count = 0;
        for (double logProbability : engine.logLikelihood(prompt, raw, image.codes())) {
            sum -= logProbability;
            count++;
        }
        return new Trial(image, sum / count, Fidelity.of(image.image(), prompt));
    }

    /// One row per entry, in the order given.
    public List<Row> rows() {
        int baseline = -1;
        for (int e = 0; e < entries.size() && baseline < 0; e++) {
            baseline = entries.get(e).decoder().equals(BASELINE) ? e : -1;
        }
        List<Row> rows = new ArrayList<>();
        for (int e = 0; e < entries.size(); e++) {
            rows.add(row(entries.get(e), trials[e], baseline < 0 ? null : trials[baseline]));
        }
        return rows;
    }

    private static Row row(Entry entry, Trial[] own, Trial @Nullable [] baseline) {
        int n = own.length;
        double[] passes = new double[n];
        double[] tokens = new double[n];
        double[] loopMs = new double[n];
        double[] seconds = new double[n];
        double[] baselineSeconds = new double[n];
        double[] nll = new double[n];
        double[] nllGap = new double[n];
        for (int i = 0; i < n; i++) {
            GenerationStatistics s = own[i].image.statistics();
            passes[i] = s.passes();
            tokens[i] = s.tokens();
            loopMs[i] = 1000 * s.seconds();
            seconds[i] = own[i].seconds();
            nll[i] = own[i].nll;
            if (baseline != null) {
                baselineSeconds[i] = baseline[i].seconds();
                nllGap[i] = own[i].nll - baseline[i].nll;
            }
        }
        GenerationStatistics first = own[0].image.statistics();
        return new Row(
                entry.decoder(),
                first.window(),
                entry.window() == GenerationRequest.AUTO_WINDOW
                        && !entry.decoder().equals(BASELINE),
                first.levels(),
                n,
                Estimate.mean(passes),
                Estimate.ratio(tokens, passes),
                Estimate.ratio(loopMs, passes),
                Estimate.mean(seconds),
                baseline == null ? Estimate.NONE : Estimate.ratio(baselineSeconds, seconds),
                baseline == null
                        ? Estimate.NONE
                        : Estimate.product(new double[][] {baselineSeconds, passes}, new double[][] {seconds, tokens}),
                baseline == null ? null : ConversionLoss.between(cost(baseline), cost(own)),
                Estimate.mean(nll),
                baseline == null ? Estimate.NONE : Estimate.mean(nllGap),
                share(own, Fidelity::colorAndPlace),
                share(own, Fidelity::shape),
                share(own, Fidelity::size),
                extra(own),
                whole(own));
    }

    private static ConversionLoss.Cost cost(Trial[] trials) {
        double passes = 0;
        double forward = 0;
        double verify = 0;
        double total = 0;
        for (Trial trial : trials) {
            GenerationStatistics s = trial.image.statistics();
            passes += s.passes();
            forward += s.forwardSeconds();
            verify += s.verifySeconds();
            total += trial.seconds();
        }
        return new ConversionLoss.Cost(passes, forward, verify, total);
    }

    private static Estimate share(Trial[] trials, ToIntFunction<Fidelity> right) {
        double[] hits = new double[trials.length];
        double[] objects = new double[trials.length];
        int checked = 0;
        for (Trial trial : trials) {
            if (trial.fidelity.isPresent()) {
                hits[checked] = right.applyAsInt(trial.fidelity.get());
                objects[checked] = trial.fidelity.get().objects();
                checked++;
            }
        }
        return Estimate.share(Arrays.copyOf(hits, checked), Arrays.copyOf(objects, checked));
    }

    private static Estimate extra(Trial[] trials) {
        return Estimate.mean(Arrays.stream(trials)
                .flatMap(trial -> trial.fidelity.stream())
                .mapToDouble(Fidelity::extra)
                .toArray());
    }

    private static Estimate whole(Trial[] trials) {
        double[] right = Arrays.stream(trials)
                .flatMap(trial -> trial.fidelity.stream())
                .mapToDouble(fidelity -> fidelity.everything() ? 1 : 0)
                .toArray();
        double[] of = new double[right.length];
        Arrays.fill(of, 1);
        return Estimate.share(right, of);
    }

    /// All rows as a JSON array.
    public String json() {
        return Json.prettyText(rows().stream().map(Row::toJson).toList());
    }

    /// The pictures of one decoder, in the order of the prompts.
    public List<GeneratedImage> images(int entry) {
        return Arrays.stream(trials[entry]).map(Trial::image).toList();
    }

    /// Pictures side by side: a row per prompt, a column per decoder.
    ///
    /// @param mostRows at most so many prompts, the first ones
    /// @param scale    how many pixels a pixel becomes along each side
    public RgbImage contactSheet(int mostRows, int scale) {
        List<RgbImage> pictures = new ArrayList<>();
        for (int p = 0; p < Math.min(mostRows, prompts.size()); p++) {
            for (Trial[] column : trials) {
                pictures.add(column[p].image.image());
            }
        }
        return ContactSheet.of(pictures, entries.size(), scale);
    }

    /// The pictures of the first decoder, row by row.
    ///
    /// @param columns pictures per row
    /// @param most    at most so many pictures, the first ones
    /// @param scale   how many pixels a pixel becomes along each side
    public RgbImage contactSheet(int columns, int most, int scale) {
        List<RgbImage> pictures = Arrays.stream(trials[0])
                .limit(most)
                .map(trial -> trial.image.image())
                .toList();
        return ContactSheet.of(pictures, columns, scale);
    }

    /// The prompts, in order.
    public List<String> prompts() {
        return prompts;
    }
}
