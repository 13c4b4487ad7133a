package io.sjd2.cli;

import io.sjd2.Condition;
import io.sjd2.Engine;
import io.sjd2.GeneratedImage;
import io.sjd2.GenerationListener;
import io.sjd2.GenerationRequest;
import io.sjd2.GenerationStatistics;
import io.sjd2.ImageFiles;
import io.sjd2.Reports;
import io.sjd2.Trace;
import io.sjd2.WindowPlan;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// `sjd2 generate`: prompts in, pictures out.
@Command(
        name = "generate",
        header = "Make pictures of a prompt.",
        description = {
            "",
            "Without --out a picture gets a name made of its prompt and seed, in the current folder, and no file is"
                    + " overwritten. PNG files carry as text what the picture depends on: prompt, seed, model, decoder and all"
                    + " settings, defaults included.",
            "",
            "Examples:",
            "  sjd2 generate \"a large red circle above a small blue square\"",
            "  sjd2 generate \"a green star\" --n 4 --seed 7 --out stars/",
            "  sjd2 generate \"a green star\" --decoder ar --cfg 1 --out star.png --json",
            "  sjd2 generate --prompts prompts.txt --out pictures/ --json",
            "  sjd2 generate \"a green star\" --window 32 --trace star.html",
            "  sjd2 generate --model Emu3-Gen-hf \"a harbour at dawn\" --size 720x720 --negative \"blurry\"",
            "  sjd2 generate --model llamagen-c2i --class 207 --n 4",
            ""
        },
        footer = {
            "",
            "--json prints one object for one picture and an array of them for several, each with at least prompt, seed,"
                    + " index, decoder, sampler, window, window_source (given, measured, cached, or decoder: it has no other),"
                    + " levels, restart, cfg, temperature, top_k, top_p, dtype, backend, passes,"
                    + " tokens, step_compression, seconds, ms_per_pass and image.",
            "Picture i of --n depends on the seed and i alone; i counts from 0 and ends the names of several files."
        })
final class GenerateCommand implements Callable<Integer> {
    @Parameters(
            arity = "0..*",
            paramLabel = "PROMPT",
            description = "What the picture shows. Several words need no quotes.")
    private List<String> words = List.of();

    @Option(
            names = {"-p", "--prompts"},
            paramLabel = "FILE",
            description = "Text file with one prompt per line, instead of a prompt; - reads standard input.")
    private @Nullable String promptFile;

    @Option(
            names = "--raw-prompt",
            arity = "0..1",
            fallbackValue = "",
            paramLabel = "TEXT",
            description =
                    "The prompt already has the model's frame, special tokens included; what is missing at its ends is"
                            + " added.")
    private @Nullable String rawPrompt;

    @Mixin
    private TargetOptions target = new TargetOptions();

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            defaultValue = "1",
            description = "Pictures per prompt. Default: ${DEFAULT-VALUE}.")
    private int images;

    @Option(
            names = {"-d", "--decoder"},
            paramLabel = "NAME",
            completionCandidates = DecodingOptions.Decoders.class,
            converter = DecodingOptions.DecoderConverter.class,
            description =
                    "One of ${COMPLETION-CANDIDATES}. Default: the model's, which is sjd2-mc where it is fine-tuned"
                            + " for that, else sjd-mc.")
    private @Nullable String decoder;

    @Option(
            names = {"-w", "--window"},
            paramLabel = "W",
            defaultValue = "auto",
            converter = DecodingOptions.WindowConverter.class,
            description = "Positions refined per pass, or auto: measured for this model and machine. Default:"
                    + " ${DEFAULT-VALUE}.")
    private int window;

    @Mixin
    private DecodingOptions decoding = new DecodingOptions();

    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(
            names = {"-o", "--out"},
            paramLabel = "PATH",
            description =
                    "A name ending in .png, replaced if it exists; anything else is a folder, made if it is missing.")
    private @Nullable Path out;

    @Option(
            names = "--tokens-out",
            paramLabel = "FILE",
            description = "Write the tokens as JSON: {\"tokens\": [..], \"codes\": [[..]]}.")
    private @Nullable Path tokensOut;

    @Option(
            names = "--trace",
            paramLabel = "FILE",
            description = "Write what every pass drafted, accepted, resampled and denoised as JSON, and as a page that"
                    + " shows the pictures grow: two files of this name, with the endings .json and .html. Passes take"
                    + " longer meanwhile.")
    private @Nullable Path trace;

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    GenerateCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        GenerationRequest.Target wanted = target.read();
        List<String> prompts = prompts(wanted.condition());
        boolean raw = rawPrompt != null;
        // Made before anything slow, so that a wrong setting or place is told at once.
        for (String prompt : prompts) {
            decoding.request(prompt, raw, images, decoder, window);
        }
        Outputs outputs = Outputs.plan(out, tokensOut, prompts.size(), images);
        if (trace != null) {
            for (Path file : Trace.files(trace)) {
                ImageFiles.checkWritable(file);
            }
        }
        List<Object> reports = new ArrayList<>();
        Watch watch = new Watch();
        @Nullable Trace recorder = trace == null ? null : new Trace(model.name(), watch);
        try (Engine engine = model.open(console)) {
            for (int p = 0; p < prompts.size(); p++) {
                checkWords(engine, prompts.get(p), raw || wanted.condition() != null);
                GenerationRequest request = decoding.request(prompts.get(p), raw, images, decoder, window)
                        .withTarget(wanted);
                List<GeneratedImage> made = generate(engine, request, watch, recorder);
                @Nullable WindowPlan plan = engine.planWindow(request);
                for (GeneratedImage image : made) {
                    Path file = outputs.write(image, p, model.name());
                    if (json) {
                        reports.add(Reports.of(image, plan, file));
                    } else {
                        print(image, plan, file);
                    }
                }
            }
        }
        if (recorder != null && trace != null) {
            List<Path> files = recorder.write(trace);
            console.note("trace: " + files.getFirst() + ", and " + files.getLast() + " for a browser");
        }
        if (json) {
            console.out().print(Reports.json(reports.size() == 1 ? reports.getFirst() : reports));
        }
        return 0;
    }

    private List<String> prompts(@Nullable Condition condition) throws IOException {
        String typed = String.join(" ", words).strip();
        boolean given = !words.isEmpty() || rawPrompt != null && !rawPrompt.isEmpty();
        if (condition != null) {
            if (given || promptFile != null) {
                throw new IllegalArgumentException(
                        target.conditionName() + ": a prompt is given too: a model takes one of them");
            }
            return List.of(target.conditionName());
        }
        if (promptFile != null) {
            if (given) {
                throw new IllegalArgumentException(
                        "--prompts: " + promptFile + ": a prompt is given too: use one of them");
            }
            return PromptOptions.read(promptFile);
        }
        if (rawPrompt != null && !rawPrompt.isEmpty()) {
            if (!words.isEmpty()) {
                throw new IllegalArgumentException("--raw-prompt: another prompt is given too: use one of them");
            }
            return List.of(rawPrompt);
        }
        if (typed.isEmpty()) {
            throw new IllegalArgumentException("prompt: " + (words.isEmpty() ? "none is given" : "\"\" is empty")
                    + ": say what the picture shows, for instance \"a red circle above a blue square\"");
        }
        return List.of(typed);
    }

    /// A model with a closed vocabulary has never seen a prompt without a single known word.
    private static void checkWords(Engine engine, String prompt, boolean anything) {
        Set<String> known = new LinkedHashSet<>(engine.knownWords());
        if (anything || known.isEmpty()) {
            return;
        }
        for (String word : prompt.toLowerCase(Locale.ROOT).split("[^\\p{L}\\p{N}]+")) {
            if (known.contains(word)) {
                return;
            }
        }
        throw new IllegalArgumentException("prompt: \"" + abbreviate(prompt)
                + "\": holds no word that this model knows: it knows " + String.join(", ", known));
    }

    private List<GeneratedImage> generate(
            Engine engine, GenerationRequest request, Watch watch, @Nullable Trace recorder) {
        String task = request.images() == 1 ? "picture" : request.images() + " pictures";
        try (Progress progress = console.progress(task, 0, "tokens")) {
            watch.progress = progress;
            List<GeneratedImage> made = engine.generate(request, recorder == null ? watch : recorder);
            for (String warning : new LinkedHashSet<>(
                    made.stream().flatMap(i -> i.warnings().stream()).toList())) {
                console.warn(warning);
            }
            return made;
        }
    }

    /// Shows progress and passes an interrupt on.
    private final class Watch implements GenerationListener {
        private Progress progress = Progress.SILENT;
        private long tokens;
        private long allTokens;
        private String drawn = "";

        @Override
        public void progress(long committed, long total, long passes) {
            tokens = committed;
            allTokens = total;
            drawn = " " + passes + " passes";
            progress.update(tokens, allTokens, drawn);
        }

        @Override
        public void decoding(int index, long done, long total) {
            long percent = 100 * done / Math.max(1, total);
            progress.update(tokens, allTokens, drawn + ", pixels of picture " + (index + 1) + ": " + percent + " %");
        }

        @Override
        public boolean cancelled() {
            return console.cancelled();
        }
    }

    private void print(GeneratedImage image, @Nullable WindowPlan plan, Path file) {
        GenerationStatistics s = image.statistics();
        console.out().println(file);
        console.out()
                .println(String.format(
                        Locale.ROOT,
                        "  passes %d for %d tokens, step compression %.2f%s",
                        s.passes(),
                        s.tokens(),
                        s.stepCompression(),
                        s.restarts() == 0 ? "" : ", windows started again: " + s.restarts()));
        console.out()
                .println(String.format(
                        Locale.ROOT,
                        "  window %d%s, decoder %s%s, seed %d",
                        s.window(),
                        plan == null ? "" : " (auto)",
                        s.decoder(),
                        s.levels() > 0 ? " with " + s.levels() + (s.levels() == 1 ? " level" : " levels") : "",
                        image.seed()));
        if (plan != null) {
            console.out()
                    .println("  auto: " + plan.reason() + "; "
                            + (plan.origin() == WindowPlan.Origin.MEASURED
                                    ? "measured just now"
                                    : "measured " + plan.measuredAt())
                            + ", kept in " + plan.file());
        }
        console.out()
                .println(String.format(
                        Locale.ROOT,
                        "  time %.3f s, %.2f ms per pass%s",
                        Reports.seconds(s),
                        s.msPerPass(),
                        images > 1 ? " (shared by " + images + " pictures)" : ""));
    }

    private static String abbreviate(String prompt) {
        return prompt.codePointCount(0, prompt.length()) <= 60
                ? prompt
                : prompt.substring(0, prompt.offsetByCodePoints(0, 60)) + "...";
    }
}
