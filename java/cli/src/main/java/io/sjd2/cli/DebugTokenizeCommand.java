package io.sjd2.cli;

import io.sjd2.debug.DebugTokens;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 debug tokenize`: texts in, token ids out.
@Command(
        name = "tokenize",
        header = "Turn texts into token ids.",
        description = {
            "",
            "Reads a JSON list of strings and writes a JSON list of objects with \"ids\", and \"ids_with_special\", which has"
                    + " what the tokeniser adds to a whole text.",
            "",
            "Example:",
            "  sjd2 debug tokenize --model DIR --in texts.json --out ids.json",
            ""
        })
final class DebugTokenizeCommand implements Callable<Integer> {
    @Option(
            names = {"-m", "--model"},
            paramLabel = "DIR",
            required = true,
            description = "Folder with a tokenizer.json; nothing else of a model is needed.")
    private Path model = Path.of("");

    @Option(names = "--in", paramLabel = "FILE", required = true, description = "JSON list of texts.")
    private Path in = Path.of("");

    @Option(
            names = "--out",
            paramLabel = "FILE",
            required = true,
            description = "JSON to write, replaced if it exists.")
    private Path out = Path.of("");

    @Mixin
    private final CommonOptions common;

    private final Console console;

    DebugTokenizeCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        int texts = DebugTokens.run(model, in, out);
        console.note(out + ": ids of " + texts + (texts == 1 ? " text" : " texts"));
        return 0;
    }
}
