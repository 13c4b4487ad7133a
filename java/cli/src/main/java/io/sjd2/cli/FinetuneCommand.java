package io.sjd2.cli;

import io.sjd2.Reports;
import io.sjd2.Training;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 finetune`: a trained model for the `sjd2` decoders.
@Command(
        name = "finetune",
        header = "Fine-tune a model so that the sjd2 decoders can start from noise.",
        description = {
            "",
            "Next-clean-token prediction: segments of image tokens get noise in embedding space, the targets stay"
                    + " clean. The folder written holds the tuned weights, sjd2.json and sjd2.safetensors. A stopped run"
                    + " goes on as with train.",
            "Models of published families (Chameleon and Lumina-mGPT, Emu3, Janus, LlamaGen) need --data or --codes;"
                    + " what is written is their checkpoint with tuned weights. For them --optimizer is adamw, --lr 2e-5,"
                    + " --ema 0, --batch 8 and --micro-batch 1 unless stated.",
            "",
            "Examples:",
            "  sjd2 finetune --model runs/mine --out runs/mine-sjd2 --steps 1000",
            "  sjd2 finetune --model Janus-Pro-1B --data pictures --out Janus-Pro-1B-sjd2",
            ""
        })
final class FinetuneCommand implements Callable<Integer> {
    @Option(
            names = {"-m", "--model"},
            paramLabel = "DIR",
            required = true,
            description = "Folder of the model to start from.")
    private Path model = Path.of("");

    @Option(
            names = "--noisy-share",
            paramLabel = "SHARE",
            description = "Share of sequences that carry noise, 0 to 1. Default: 0.85.")
    private @Nullable Double noisyShare;

    @Option(
            names = "--codes",
            paramLabel = "FILE",
            description =
                    "Fine-tune a published model on codes instead of pictures: safetensors with codes I32 [N, h, w],"
                            + " and prompts as the metadata \"prompts\" (a JSON list of texts) or as input_ids I32 [N, T]"
                            + " (Janus: text_ids) with attention_mask; LlamaGen: labels I32 [N], or caption F32 [N, T,"
                            + " width] with mask. Without prompts: pictures of anything.")
    private @Nullable Path codes;

    @Mixin
    private TrainingOptions training = new TrainingOptions();

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    FinetuneCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        Training.Result result;
        try (TrainingOptions.Watch watch = new TrainingOptions.Watch(console)) {
            result = Training.finetune(model, training.run(noisyShare, codes), training.out(), watch);
        }
        if (json) {
            console.out().print(Reports.json(result.toJson()));
        } else {
            TrainingOptions.print(console, result);
        }
        return 0;
    }
}
