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

/// `sjd2 train`: a small model from nothing.
@Command(
        name = "train",
        header = "Train a small model from nothing.",
        description = {
            "",
            "A run that was stopped or killed goes on from its last checkpoint when the same command is given again,"
                    + " and ends with the same weights, bit for bit, as one that was never stopped.",
            "",
            "Examples:",
            "  sjd2 train --out runs/mine --steps 3000",
            "  sjd2 train --out runs/photos --data photos --steps 3000",
            "  sjd2 train --out runs/mine --image-tokenizer models/demo/vq --hidden 128 --layers 4 --heads 2",
            ""
        })
final class TrainCommand implements Callable<Integer> {
    @Option(
            names = "--image-tokenizer",
            paramLabel = "DIR",
            description = "Folder of an image tokeniser. Default: vq in --out, trained first if it is not there.")
    private @Nullable Path tokenizer;

    @Option(
            names = "--hidden",
            paramLabel = "N",
            defaultValue = "256",
            description = "Width of the residual stream. Default: ${DEFAULT-VALUE}.")
    private int hidden;

    @Option(
            names = "--intermediate",
            paramLabel = "N",
            defaultValue = "768",
            description = "Width inside the MLP. Default: ${DEFAULT-VALUE}.")
    private int intermediate;

    @Option(
            names = "--layers",
            paramLabel = "N",
            defaultValue = "6",
            description = "Blocks. Default: ${DEFAULT-VALUE}.")
    private int layers;

    @Option(
            names = "--heads",
            paramLabel = "N",
            defaultValue = "4",
            description = "Attention heads. Default: ${DEFAULT-VALUE}.")
    private int heads;

    @Option(
            names = "--positions",
            paramLabel = "N",
            defaultValue = "320",
            description = "Longest sequence, prompt and picture. Default: ${DEFAULT-VALUE}.")
    private int positions;

    @Mixin
    private TrainingOptions training = new TrainingOptions();

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    TrainCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        Training.Size size = new Training.Size(hidden, intermediate, layers, heads, positions);
        Training.Result result;
        try (TrainingOptions.Watch watch = new TrainingOptions.Watch(console)) {
            result = Training.train(size, training.run(null, null), tokenizer, training.out(), watch);
        }
        if (json) {
            console.out().print(Reports.json(result.toJson()));
        } else {
            TrainingOptions.print(console, result);
        }
        return 0;
    }
}
