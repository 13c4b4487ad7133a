package io.sjd2.cli;

import io.sjd2.Inspection;
import io.sjd2.ModelInfo;
import io.sjd2.PassCost;
import io.sjd2.Reports;
import java.io.IOException;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 inspect`: what a model is.
@Command(
        name = "inspect",
        header = "Say what a model is: shapes, sizes and default settings.",
        description = {
            "",
            "Reads the configuration and the headers of the weights' files, not the language model itself.",
            "",
            "Examples:",
            "  sjd2 inspect --model models/demo --json",
            "  sjd2 inspect --model synthetic:lumina-mgpt-7b-768 --window 32",
            ""
        })
final class InspectCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(
            names = {"-w", "--window"},
            paramLabel = "N",
            defaultValue = "16",
            description = "Positions of the pass whose cost is told. Default: ${DEFAULT-VALUE}.")
    private int window;

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    InspectCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        Inspection inspection = model.inspect(window);
        if (json) {
            console.out().print(Reports.json(Reports.of(inspection)));
            return 0;
        }
        ModelInfo info = inspection.model();
        PassCost pass = inspection.pass();
        ModelInfo.Defaults defaults = info.defaults();
        new Table("model", info.folder().toString())
                .row("family", info.family())
                .row("parameters", String.format(Locale.ROOT, "%,d", info.parameters()))
                .row("weights as loaded", megabytes(info.weightBytes()) + " " + info.dtype())
                .row("weights read by every pass", megabytes(info.streamedBytes()))
                .row("KV cache per token and sequence", info.kvBytesPerToken() + " bytes")
                .row("layers, hidden size", info.layers() + ", " + info.hiddenSize())
                .row("vocabulary, image codes", info.vocabSize() + ", " + info.codes())
                .row("picture", info.imageWidth() + " x " + info.imageHeight() + " pixels")
                .row(
                        "tokens per picture",
                        info.tokensPerImage() + " on a grid of " + info.gridHeight() + " x " + info.gridWidth())
                .row("longest prompt", info.maxPromptTokens() + " tokens")
                .row("image tokeniser", pictures(inspection.pictures()))
                .row(
                        "a pass over window " + pass.window(),
                        pass.sequences() + (pass.sequences() == 1 ? " sequence, " : " sequences, ") + pass.kvLength()
                                + " positions cached")
                .row("  FLOP", giga(pass.flop(), "GFLOP"))
                .row(
                        "  bytes",
                        megabytes(pass.bytes()) + ", of which weights " + megabytes(pass.weightBytes()) + ", KV cache "
                                + megabytes(pass.kvBytes()))
                .row("  FLOP per byte", String.format(Locale.ROOT, "%.1f", pass.flop() / pass.bytes()))
                .row(
                        "fine-tuned for sjd2",
                        info.fineTuned()
                                ? "yes, " + defaults.levels() + (defaults.levels() == 1 ? " level" : " levels")
                                : "no")
                .row("default decoder", defaults.decoder())
                .row("default --cfg", Double.toString(defaults.guidance()))
                .row("default --temperature", Double.toString(defaults.temperature()))
                .row("default --top-k", Integer.toString(defaults.topK()))
                .row("default --top-p", Double.toString(defaults.topP()))
                .row("runs on", info.backend() + " with " + info.threads() + " threads")
                .print(console.out());
        return 0;
    }

    private static String pictures(Inspection.Pictures pictures) {
        if (pictures.missing() != null) {
            return "none: " + pictures.missing();
        }
        return pictures.decodeFlop() == 0
                ? "a table of patches"
                : megabytes(pictures.weightBytes()) + ", " + giga(pictures.decodeFlop(), "GFLOP") + " per picture";
    }

    private static String giga(double value, String unit) {
        return String.format(Locale.ROOT, "%,.1f %s", value / 1e9, unit);
    }

    private static String megabytes(long bytes) {
        return String.format(Locale.ROOT, "%.1f MB", bytes / 1e6);
    }
}
