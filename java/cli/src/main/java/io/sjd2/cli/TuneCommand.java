package io.sjd2.cli;

import io.sjd2.Engine;
import io.sjd2.ImageFiles;
import io.sjd2.ModelInfo;
import io.sjd2.Reports;
import io.sjd2.WindowPlan;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 tune`: what window `auto` is on this machine, and why.
@Command(
        name = "tune",
        header = "Measure passes of several widths and say which window auto takes.",
        description = {
            "",
            "The times are kept in the user's cache (sjd2 in XDG_CACHE_HOME or ~/.cache; -Dsjd2.cache names another"
                    + " folder) and hold for this model, machine, dtype, number of threads and build of the engine. The first"
                    + " use of window auto measures them, too, if nobody did; tune measures them again.",
            "",
            "Examples:",
            "  sjd2 tune",
            "  sjd2 tune --decoder exact --cfg 1 --json --no-chart",
            ""
        },
        footer = {
            "",
            "speed: how many times faster than one row per pass, which is what ar has, at the tokens per pass that the"
                    + " model's record, or else a small model's, lets expect.",
            "--json prints one object: model, decoder, guided, tokens, window, predicted_seconds, predicted_speedup,"
                    + " reason, source, measured_at, cache, chart, and points with window, ms_per_pass, tokens_per_pass,"
                    + " predicted_seconds and predicted_speedup each."
        })
final class TuneCommand implements Callable<Integer> {
    private static final int BAR = 32;

    @Option(
            names = {"-d", "--decoder"},
            paramLabel = "NAME",
            completionCandidates = DecodingOptions.Decoders.class,
            converter = DecodingOptions.DecoderConverter.class,
            description = "One of ${COMPLETION-CANDIDATES}. Default: the model's.")
    private @Nullable String decoder;

    @Option(
            names = "--cfg",
            paramLabel = "SCALE",
            description = "Guidance: 1 runs one sequence per picture, anything else two. Default: the model's.")
    private @Nullable Double guidance;

    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(
            names = {"-o", "--chart"},
            paramLabel = "FILE",
            description = "Draw the curve as PNG. Default: a name of its own in the current folder.")
    private @Nullable Path chart;

    @Option(names = "--no-chart", description = "Draw no PNG.")
    private boolean noChart;

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    TuneCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        if (guidance != null && !(guidance >= 0 && guidance <= 1000)) {
            throw new IllegalArgumentException("cfg is " + guidance + ", expected 0 to 1000 (1 is off)");
        }
        Path target = chart != null ? chart : Path.of("tune-" + model.name() + ".png");
        if (!noChart) {
            ImageFiles.checkWritable(target);
        }
        WindowPlan plan;
        ModelInfo info;
        try (Engine engine = model.open(console)) {
            info = engine.info();
            plan = engine.tuneWindow(
                    decoder != null ? decoder : info.defaults().decoder(),
                    guidance != null ? guidance : info.defaults().guidance(),
                    1);
        }
        Path drawn = noChart ? null : draw(plan, target);
        if (json) {
            Map<String, Object> report = new LinkedHashMap<>();
            report.put("model", info.folder().toString());
            report.putAll(plan.toJson());
            report.put("chart", drawn == null ? null : drawn.toString());
            console.out().print(Reports.json(report));
        } else {
            print(plan, drawn);
        }
        return 0;
    }

    private Path draw(WindowPlan plan, Path target) throws IOException {
        Map<String, String> text =
                Map.of("Title", "Window auto for " + plan.decoder(), "Software", ImageFiles.SOFTWARE);
        if (chart != null) {
            ImageFiles.write(target, WindowChart.draw(plan, model.name()), text);
            return target;
        }
        return ImageFiles.writeUnique(Path.of(""), "tune-" + model.name(), WindowChart.draw(plan, model.name()), text);
    }

    private void print(WindowPlan plan, @Nullable Path drawn) {
        double slowest = plan.points().stream()
                .mapToDouble(WindowPlan.Point::msPerPass)
                .max()
                .orElse(1);
        Table table = new Table("window", "ms/pass", "tokens/pass", "s/picture", "speed", "");
        for (WindowPlan.Point point : plan.points()) {
            table.row(
                    String.format(Locale.ROOT, "%6d", point.window()),
                    number("%.2f", point.msPerPass()),
                    number("%.2f", point.tokensPerPass()),
                    number("%.3f", plan.predictedSeconds(point)),
                    number("%.2fx", plan.predictedSpeedup(point)),
                    bar(point.msPerPass() / slowest) + (point.window() == plan.window() ? " <- auto" : ""));
        }
        table.leftAligned(5).print(console.out());
        console.out()
                .println(String.format(
                        Locale.ROOT, "window %d for %s: %s", plan.window(), plan.decoder(), plan.reason()));
        console.out()
                .println(String.format(
                        Locale.ROOT,
                        "predicted: %.3f s a picture behind the prompt, %.2f times as fast as one row per pass",
                        plan.predictedSeconds(),
                        plan.predictedSpeedup()));
        if (!plan.recorded()) {
            console.out()
                    .println("tokens per pass are a small model's: this one has no record of its own"
                            + " (tokens_per_pass in generation_config.json; compare measures them)");
        }
        console.out().println("kept in " + plan.file());
        if (drawn != null) {
            console.out().println("chart: " + drawn);
        }
    }

    private static String number(String format, double value) {
        return String.format(Locale.ROOT, format, value);
    }

    /// A bar of eighths of a character.
    private static String bar(double share) {
        int eighths = Math.max(1, (int) Math.round(share * BAR * 8));
        String rest = eighths % 8 == 0 ? "" : Character.toString("▏▎▍▌▋▊▉".charAt(eighths % 8 - 1));
        return "█".repeat(eighths / 8) + rest;
    }
}
