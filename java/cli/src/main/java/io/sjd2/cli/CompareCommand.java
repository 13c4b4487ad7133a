package io.sjd2.cli;

import io.sjd2.Comparison;
import io.sjd2.ConversionLoss;
import io.sjd2.Engine;
import io.sjd2.GenerationRequest;
import io.sjd2.ImageFiles;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 compare`: decoders side by side.
@Command(
        name = "compare",
        header = "Run decoders side by side on a set of prompts.",
        description = {
            "",
            "Every decoder makes one picture to warm up, then one of each prompt, taking turns; prompt i uses seed + i."
                    + " Intervals are 95 %% confidence over pictures.",
            "",
            "Examples:",
            "  sjd2 compare",
            "  sjd2 compare --held-out 50 --decoders ar,sjd-mc,sjd2-mc --windows auto,32,64 --cfg 3",
            "  sjd2 compare --prompts prompts.txt --json --no-sheet > comparison.json",
            ""
        },
        footer = {
            "",
            "passes: forward passes per picture behind the prompt's, both guidance rows in one. step_compression: tokens"
                    + " per pass. conversion: how many times faster than ar, over step compression."
                    + " What it lacks of 1 was lost to pass growth (the model takes longer over a window), verification"
                    + " and the rest of the picture (host).",
            "nll: mean -log p of the produced tokens under the plain model (temperature 1, no filters, no guidance), in"
                    + " nats; nll_gap: less that of ar, prompt by prompt.",
            "fidelity: share of the objects a scene prompt names that have the right colour and place.",
            "--json prints an array with one object per decoder and window: decoder, window, images, passes,"
                    + " step_compression, ms_per_pass, seconds, conversion, conversion_lost, nll, fidelity and more; beside each mean its"
                    + " interval [low, high] under .._ci."
        })
final class CompareCommand implements Callable<Integer> {
    private static final int SHEET_ROWS = 24;
    private static final int SHEET_SCALE = 2;
    private static final int DEFAULT_PROMPTS = 20;

    @Mixin
    private PromptOptions prompts = new PromptOptions();

    @Option(
            names = {"-d", "--decoders", "--decoder"},
            paramLabel = "NAMES",
            split = ",",
            completionCandidates = DecodingOptions.Decoders.class,
            converter = DecodingOptions.DecoderConverter.class,
            description =
                    "Names with commas between, of ${COMPLETION-CANDIDATES}. Default: ar,sjd,sjd-mc, and sjd2,sjd2-mc"
                            + " where the model is fine-tuned for them.")
    private List<String> decoders = new ArrayList<>();

    @Option(
            names = {"-w", "--windows", "--window"},
            paramLabel = "SIZES",
            split = ",",
            defaultValue = "auto",
            converter = DecodingOptions.WindowConverter.class,
            description = "Windows to run each decoder but ar with. Default: ${DEFAULT-VALUE}.")
    private List<Integer> windows = new ArrayList<>();

    @Mixin
    private DecodingOptions decoding = new DecodingOptions();

    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(
            names = {"-o", "--sheet", "--out"},
            paramLabel = "FILE",
            description = "Contact sheet, a row per prompt (the first " + SHEET_ROWS
                    + "), a column per decoder. Default: a" + " name of its own in the current folder.")
    private @Nullable Path sheet;

    @Option(names = "--no-sheet", description = "Make no contact sheet.")
    private boolean noSheet;

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    CompareCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        List<String> texts = prompts.prompts(DEFAULT_PROMPTS);
        GenerationRequest settings = decoding.request(texts.getFirst(), false, 1, null, GenerationRequest.AUTO_WINDOW);
        Path target = sheet != null ? sheet : Path.of("compare-" + model.name() + ".png");
        if (!noSheet) {
            ImageFiles.checkWritable(target);
        }
        Comparison comparison;
        try (Engine engine = model.open(console)) {
            comparison = run(console, engine, texts, entries(engine.info().fineTuned()), settings);
        }
        Path written = noSheet ? null : writeSheet(comparison, target);
        if (json) {
            console.out().print(comparison.json());
        } else {
            print(comparison);
            if (written != null) {
                console.out().println("contact sheet: " + written);
            }
        }
        return 0;
    }

    private List<Comparison.Entry> entries(boolean fineTuned) {
        List<String> names = !decoders.isEmpty()
                ? decoders
                : fineTuned ? List.of("ar", "sjd", "sjd-mc", "sjd2", "sjd2-mc") : List.of("ar", "sjd", "sjd-mc");
        Set<Comparison.Entry> entries = new LinkedHashSet<>();
        for (String name : names) {
            if (name.equals(Comparison.BASELINE)) {
                entries.add(new Comparison.Entry(name, 1));
            } else {
                windows.forEach(window -> entries.add(new Comparison.Entry(name, window)));
            }
        }
        return List.copyOf(new ArrayList<>(entries));
    }

    /// Runs a comparison with a bar; `evaluate` is one of a single decoder.
    static Comparison run(
            Console console,
            Engine engine,
            List<String> prompts,
            List<Comparison.Entry> entries,
            GenerationRequest settings) {
        Set<String> unknown =
                prompts.stream().flatMap(p -> engine.unknownWords(p).stream()).collect(Collectors.toSet());
        if (!unknown.isEmpty()) {
            console.warn("the model does not know " + unknown.stream().sorted().collect(Collectors.joining(", "))
                    + "; it knows: " + String.join(", ", engine.knownWords()));
        }
        try (Progress progress = console.progress("comparing", 0, "pictures")) {
            return Comparison.run(engine, prompts, entries, settings, new Comparison.Listener() {
                @Override
                public void progress(int done, int total, Comparison.Entry next, String prompt) {
                    progress.update(done, total, " " + next.decoder());
                }

                @Override
                public boolean cancelled() {
                    return console.cancelled();
                }
            });
        }
    }

    private Path writeSheet(Comparison comparison, Path target) throws IOException {
        RgbImage image = comparison.contactSheet(SHEET_ROWS, SHEET_SCALE);
        Map<String, String> text = Map.of(
                "Title",
                "Columns: "
                        + comparison.rows().stream()
                                .map(row -> row.decoder() + " at window " + row.window())
                                .collect(Collectors.joining(", ")),
                "Description",
                "Rows: " + comparison.prompts().stream().limit(SHEET_ROWS).collect(Collectors.joining("\n")));
        if (sheet != null) {
            ImageFiles.write(target, image, text);
            return target;
        }
        return ImageFiles.writeUnique(Path.of(""), "compare-" + model.name(), image, text);
    }

    private void print(Comparison comparison) {
        Table table = new Table(
                "decoder",
                "window",
                "passes",
                "compression",
                "ms/pass",
                "seconds",
                "conversion",
                "lost to",
                "nll",
                "fidelity",
                "shapes");
        for (Comparison.Row row : comparison.rows()) {
            table.row(
                    row.decoder(),
                    row.window() + (row.autoWindow() ? " auto" : ""),
                    Table.cell(row.passes(), 1),
                    Table.cell(row.stepCompression(), 2),
                    Table.cell(row.msPerPass(), 2),
                    Table.cell(row.seconds(), 3),
                    Table.cell(row.conversion(), 2),
                    lost(row.lost()),
                    Table.cell(row.nll(), 3),
                    Table.percent(row.fidelity()),
                    Table.percent(row.shape()));
        }
        table.print(console.out());
        console.out()
                .println(comparison.prompts().size()
                        + " pictures each; ± is half a 95 % interval; fidelity: objects with"
                        + " the right colour and place, shapes: with the right shape; lost to: what conversion lacks"
                        + " of 1, for a pass that takes longer over a window, verification, and the rest");
    }

    private static String lost(@Nullable ConversionLoss lost) {
        return lost == null
                ? ""
                : String.format(
                        Locale.ROOT,
                        "pass %.2f verify %.2f rest %.2f",
                        lost.passGrowth(),
                        lost.verification(),
                        lost.host());
    }
}
