package io.sjd2.cli;

import io.sjd2.Training;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// How to train: what `train` and `finetune` share.
final class TrainingOptions {
    @Option(
            names = {"-o", "--out"},
            paramLabel = "DIR",
            required = true,
            description = "Folder that the model is written to, made if it is missing.")
    private Path out = Path.of("");

    @Option(
            names = "--data",
            paramLabel = "DIR",
            description =
                    "Train on a folder of pictures, name.png or name.jpg with what it shows in name.txt (for models of"
                            + " classes: the class's number; of caption features: those in name.safetensors). Default: the"
                            + " built-in scenes.")
    private @Nullable Path data;

    @Option(
            names = "--scenes",
            paramLabel = "N",
            defaultValue = "100000",
            description = "Built-in scenes to train on. Default: ${DEFAULT-VALUE}.")
    private int scenes;

    @Option(
            names = "--pass-over",
            paramLabel = "SHARE",
            description = "Share of the built-in scenes with fewer than two relations that another one takes the place"
                    + " of, so that those of three objects in two relations, the hardest, come more often. Default: 0.")
    private @Nullable Double passOver;

    @Option(
            names = {"-s", "--seed"},
            paramLabel = "N",
            description = "Of everything random. Default: 1.")
    private @Nullable Long seed;

    @Option(names = "--steps", paramLabel = "N", description = "Optimiser steps in all. Default: 1000.")
    private @Nullable Long steps;

    @Option(names = "--batch", paramLabel = "N", description = "Pictures per step. Default: 32.")
    private @Nullable Integer batch;

    @Option(
            names = "--micro-batch",
            paramLabel = "N",
            description = "Pictures per forward and backward pass; divides --batch. Default: at most 16.")
    private @Nullable Integer microBatch;

    @Option(
            names = "--lr",
            paramLabel = "RATE",
            description = "Learning rate after warm-up. Default: 3e-3 for train, 1e-3 for finetune.")
    private @Nullable Float learningRate;

    @Option(
            names = "--warmup",
            paramLabel = "N",
            description = "Steps over which the rate rises. Default: 200 for train, 50 for finetune, a tenth at most.")
    private @Nullable Long warmup;

    @Option(
            names = "--decay",
            paramLabel = "N",
            description =
                    "The last steps, over which the rate falls to 0. Default: 500 for train, 300 for finetune, half at"
                            + " most.")
    private @Nullable Long decay;

    @Option(names = "--optimizer", paramLabel = "NAME", description = "For the matrices: muon or adamw. Default: muon.")
    private @Nullable String optimizer;

    @Option(names = "--ema", paramLabel = "DECAY", description = "Of the averaged weights. Default: 0.998.")
    private @Nullable Float ema;

    @Option(names = "--average", description = "Write the averaged weights instead of the last ones.")
    private boolean average;

    @Option(
            names = "--thin",
            paramLabel = "F",
            description = "Learn less from image codes more frequent than F, until the rate falls: paper drowns what is"
                    + " drawn on it. 0 is off. Default: 0.")
    private @Nullable Double thinning;

    @Option(names = "--dtype", paramLabel = "TYPE", description = "Of matrix products: bf16 or f32. Default: bf16.")
    private @Nullable String dtype;

    @Option(
            names = "--backend",
            paramLabel = "NAME",
            defaultValue = "auto",
            description = "auto or cpu. Default: ${DEFAULT-VALUE}.")
    private String backend = "auto";

    @Option(
            names = {"-t", "--threads"},
            paramLabel = "N",
            defaultValue = "0",
            description = "Worker threads; 0 takes every core. Default: ${DEFAULT-VALUE}.")
    private int threads;

    @Option(
            names = "--checkpoint",
            paramLabel = "FILE",
            description = "Where a stopped run goes on from. Default: the name of --out with .checkpoint behind it.")
    private @Nullable Path checkpoint;

    @Option(
            names = "--checkpoint-interval",
            paramLabel = "N",
            defaultValue = "500",
            description = "Steps between checkpoints. Default: ${DEFAULT-VALUE}.")
    private long interval;

    Path out() {
        return out;
    }

    Path checkpoint() {
        return checkpoint != null
                ? checkpoint
                : out.resolveSibling(out.toAbsolutePath().normalize().getFileName() + ".checkpoint");
    }

    /// @param noisyShare for fine-tuning
    /// @param codes      for fine-tuning
    Training.Run run(@Nullable Double noisyShare, @Nullable Path codes) {
        return new Training.Run(
                seed,
                steps,
                batch,
                microBatch,
                learningRate,
                warmup,
                decay,
                optimizer,
                ema,
                dtype,
                thinning,
                noisyShare,
                checkpoint(),
                interval,
                codes,
                data,
                scenes,
                passOver,
                backend,
                threads,
                average);
    }

    /// Shows a run with its loss, speed and time left.
    static final class Watch implements Training.Listener, AutoCloseable {
        private final Console console;
        private @Nullable Progress bar;
        private double loss = Double.NaN;

        Watch(Console console) {
            this.console = console;
        }

        @Override
        public void note(String text) {
            close();
            console.note(text);
        }

        @Override
        public void step(Training.Progress progress) {
            if (bar == null) {
                bar = console.progress("training", progress.steps(), "steps");
            }
            // One step's loss says little: show a mean over the last twenty or so.
            loss = Double.isNaN(loss) ? progress.loss() : 0.95 * loss + 0.05 * progress.loss();
            bar.update(
                    progress.step(),
                    progress.steps(),
                    String.format(
                            Locale.ROOT,
                            " loss %.4f, %.1f images/s, %s left",
                            loss,
                            progress.imagesPerSecond(),
                            duration(progress.secondsLeft())));
        }

        @Override
        public boolean cancelled() {
            return console.cancelled();
        }

        @Override
        public void close() {
            if (bar != null) {
                bar.close();
                bar = null;
            }
        }

        private static String duration(double seconds) {
            long s = Math.round(seconds);
            return s < 60 ? s + " s" : s < 3600 ? s / 60 + " min" : s / 3600 + " h " + s % 3600 / 60 + " min";
        }
    }

    /// Prints what a run came to.
    static void print(Console console, Training.Result result) {
        console.out().println(result.folder());
        console.out()
                .println(String.format(
                        Locale.ROOT,
                        "  %d steps, %s",
                        result.steps(),
                        Double.isNaN(result.heldOutLoss())
                                ? "too few examples to hold any out"
                                : String.format(
                                        Locale.ROOT, "held-out loss %.4f nats per token", result.heldOutLoss())));
        console.out()
                .println(String.format(
                        Locale.ROOT, "  %.0f s, %.1f images/s at the end", result.seconds(), result.imagesPerSecond()));
    }
}
