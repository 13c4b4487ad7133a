package io.sjd2.cli;

import io.sjd2.Comparison;
import io.sjd2.Engine;
import io.sjd2.GeneratedImage;
import io.sjd2.GenerationRequest;
import io.sjd2.ImageFiles;
import io.sjd2.ModelInfo;
import io.sjd2.Reports;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 evaluate`: how faithful one decoder's pictures are.
@Command(
        name = "evaluate",
        header = "Measure how much of held-out scene prompts a model's pictures show.",
        description = {
            "",
            "Makes one picture per prompt and reads each with the scene checker. Prompt i uses seed + i. Intervals are"
                    + " 95 %% confidence over pictures.",
            "",
            "Examples:",
            "  sjd2 evaluate",
            "  sjd2 evaluate --decoder ar --cfg 3 --held-out 200 --json",
            "  sjd2 evaluate --model runs/mine --sheet sheet.png --images pictures/",
            ""
        },
        footer = {
            "",
            "fidelity: objects with the right colour and place. fidelity_shape, fidelity_size: with the right shape or"
                    + " size. fidelity_whole: pictures that show all that is stated. extra_objects: per picture, those"
                    + " that the prompt does not name.",
            "--json prints one object with the fields of compare --json, and model."
        })
final class EvaluateCommand implements Callable<Integer> {
    private static final int DEFAULT_PROMPTS = 200;
    private static final int SHEET_COLUMNS = 20;

    @Mixin
    private PromptOptions prompts = new PromptOptions();

    @Option(
            names = {"-d", "--decoder"},
            paramLabel = "NAME",
            completionCandidates = DecodingOptions.Decoders.class,
            converter = DecodingOptions.DecoderConverter.class,
            description = "One of ${COMPLETION-CANDIDATES}. Default: the model's.")
    private @Nullable String decoder;

    @Option(
            names = {"-w", "--window"},
            paramLabel = "W",
            defaultValue = "auto",
            converter = DecodingOptions.WindowConverter.class,
            description = "Positions refined per pass, or auto. Default: ${DEFAULT-VALUE}.")
    private int window;

    @Mixin
    private DecodingOptions decoding = new DecodingOptions();

    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(names = "--sheet", paramLabel = "FILE", description = "Write all pictures on one sheet, row by row.")
    private @Nullable Path sheet;

    @Option(names = "--images", paramLabel = "DIR", description = "Write every picture into this folder.")
    private @Nullable Path images;

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    EvaluateCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        List<String> texts = prompts.prompts(DEFAULT_PROMPTS);
        GenerationRequest settings = decoding.request(texts.getFirst(), false, 1, null, GenerationRequest.AUTO_WINDOW);
        if (sheet != null) {
            ImageFiles.checkWritable(sheet);
        }
        @Nullable Outputs outputs = images == null ? null : Outputs.plan(images, null, texts.size(), 1);
        Comparison comparison;
        ModelInfo info;
        try (Engine engine = model.open(console)) {
            info = engine.info();
            String name = decoder != null ? decoder : info.defaults().decoder();
            comparison =
                    CompareCommand.run(console, engine, texts, List.of(new Comparison.Entry(name, window)), settings);
        }
        List<GeneratedImage> made = comparison.images(0);
        for (int i = 0; outputs != null && i < made.size(); i++) {
            outputs.write(made.get(i), i, model.name());
        }
        if (sheet != null) {
            ImageFiles.write(sheet, comparison.contactSheet(SHEET_COLUMNS, texts.size(), 1), Map.of());
        }
        Comparison.Row row = comparison.rows().getFirst();
        if (json) {
            Map<String, Object> report = new LinkedHashMap<>();
            report.put("model", info.folder().toString());
            report.putAll(row.toJson());
            console.out().print(Reports.json(report));
        } else {
            print(row);
        }
        return 0;
    }

    private void print(Comparison.Row row) {
        console.out()
                .println(row.images() + " pictures by " + row.decoder() + " at window " + row.window()
                        + (row.autoWindow() ? " (auto)" : ""));
        new Table("  measure", "value ± half a 95 % interval")
                .row("  objects with right colour and place", Table.percent(row.fidelity()))
                .row("  objects with right shape", Table.percent(row.shape()))
                .row("  objects with right size", Table.percent(row.size()))
                .row("  objects nobody asked for, per picture", Table.cell(row.extra(), 2))
                .row("  pictures with everything right", Table.percent(row.whole()))
                .row("  negative log-likelihood per token", Table.cell(row.nll(), 3))
                .row("  passes per picture", Table.cell(row.passes(), 1))
                .row("  step compression", Table.cell(row.stepCompression(), 2))
                .row("  ms per pass", Table.cell(row.msPerPass(), 2))
                .row("  seconds per picture", Table.cell(row.seconds(), 3))
                .print(console.out());
    }
}
