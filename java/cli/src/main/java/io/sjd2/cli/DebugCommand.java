package io.sjd2.cli;

import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// `sjd2 debug`: a model's parts on given inputs, to be compared with other implementations.
@Command(
        name = "debug",
        header = "Run a part of a model on given inputs and write what comes out.",
        description = {
            "",
            "For comparing with other implementations: files are safetensors and JSON.",
            "",
            "Examples:",
            "  sjd2 debug logits --model DIR --in ids.safetensors --out logits.safetensors",
            "  sjd2 debug tokenize --model DIR --in texts.json --out ids.json",
            "  sjd2 debug vq-decode --model DIR --in codes.safetensors --out image.safetensors --png image.png",
            "  sjd2 debug vq-encode --model DIR --in image.safetensors --out codes.safetensors",
            "  sjd2 debug backends --backend cpu --against cuda \"a green star\"",
            ""
        },
        synopsisSubcommandLabel = "COMMAND")
final class DebugCommand implements Runnable {
    @Spec
    private CommandSpec spec;

    @Mixin
    private final CommonOptions common;

    private DebugCommand(Console console) {
        this.common = new CommonOptions(console);
    }

    /// The command with everything below it.
    static CommandLine commandLine(Console console) {
        return new CommandLine(new DebugCommand(console))
                .addSubcommand(new DebugBackendsCommand(console))
                .addSubcommand(new DebugLogitsCommand(console))
                .addSubcommand(new DebugTokenizeCommand(console))
                .addSubcommand(new DebugVqDecodeCommand(console))
                .addSubcommand(new DebugVqEncodeCommand(console));
    }

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "no command given");
    }
}
