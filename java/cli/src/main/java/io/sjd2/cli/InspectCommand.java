package io.sjd2.cli;

import io.sjd2.Engine;
import io.sjd2.ModelInfo;
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
        description = {"", "Example:", "  sjd2 inspect --model models/demo --json", ""})
final class InspectCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model = new ModelOptions();

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
        ModelInfo info;
        try (Engine engine = model.open(console)) {
            info = engine.info();
        }
        if (json) {
            console.out().print(Reports.json(Reports.of(info)));
            return 0;
        }
        ModelInfo.Defaults defaults = info.defaults();
        new Table("model", info.folder().toString())
                .row("family", info.family())
                .row("parameters", String.format(Locale.ROOT, "%,d", info.parameters()))
                .row("weights as loaded", megabytes(info.weightBytes()) + " " + info.dtype())
                .row("KV cache per token and sequence", info.kvBytesPerToken() + " bytes")
                .row("layers, hidden size", info.layers() + ", " + info.hiddenSize())
                .row("vocabulary, image codes", info.vocabSize() + ", " + info.codes())
                .row("picture", info.imageWidth() + " x " + info.imageHeight() + " pixels")
                .row(
                        "tokens per picture",
                        info.tokensPerImage() + " on a grid of " + info.gridHeight() + " x " + info.gridWidth())
                .row("longest prompt", info.maxPromptTokens() + " tokens")
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

    private static String megabytes(long bytes) {
        return String.format(Locale.ROOT, "%.1f MB", bytes / 1e6);
    }
}
