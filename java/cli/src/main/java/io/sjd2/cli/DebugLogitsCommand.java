package io.sjd2.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 debug logits`: token ids or embeddings in, logits out.
@Command(
        name = "logits",
        header = "Run a model's transformer and write its logits.",
        description = {
            "",
            "The input is a safetensors file with input_ids I32 [B,T] or inputs_embeds F32 [B,T,D]; for Janus text_ids and"
                    + " image_codes; for LlamaGen caption F32 [B,T,C] and mask, or labels I32 [B], and codes. A first axis"
                    + " of 1 serves all sequences. attention_mask U8 [B,T] is 0 where a row is padding: it is left out,"
                    + " and positions count from the first row that is none.",
            "",
            "The output has logits F32 [B,T,V] (Janus: image_logits and text_logits), hidden_after_layer_0 and"
                    + " hidden_after_layer_1.",
            "",
            "Example:",
            "  sjd2 debug logits --model DIR --in ids.safetensors --out logits.safetensors --chunks 5,7,12",
            ""
        },
        footer = {"", "Weights are held and multiplied as f32 unless --dtype says otherwise."})
final class DebugLogitsCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(names = "--in", paramLabel = "FILE", required = true, description = "Safetensors file of inputs.")
    private Path in = Path.of("");

    @Option(
            names = "--out",
            paramLabel = "FILE",
            required = true,
            description = "Safetensors file to write, replaced if it exists.")
    private Path out = Path.of("");

    @Option(
            names = "--chunks",
            paramLabel = "N,N",
            split = ",",
            description =
                    "Feed so many rows at a time over the cache; what is left is one piece more. Default: all at once.")
    private List<Integer> chunks = List.of();

    @Mixin
    private final CommonOptions common;

    private final Console console;

    DebugLogitsCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        model.logits(console, in, out, chunks);
        return 0;
    }
}
