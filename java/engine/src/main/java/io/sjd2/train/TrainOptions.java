package io.sjd2.train;

import io.sjd2.tensor.DType;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// Everything about a training run that is not the model or the data.
///
/// @param objective          what is trained
/// @param seed               of everything random
/// @param steps              optimiser steps in all
/// @param batch              images per step
/// @param microBatch         images per forward and backward pass; divides `batch`
/// @param learningRate       after warm-up
/// @param warmupSteps        steps of linear warm-up
/// @param decaySteps         the last steps, over which the rate falls linearly to 0
/// @param optimizer          for the matrices inside the blocks
/// @param weightDecay        decoupled
/// @param emaDecay           of the averaged weights; 0 keeps none
/// @param gradientClip       largest norm of the gradient; 0 for no limit
/// @param captionDropout     share of sequences trained without their caption
/// @param thinning           frequency above which an image code gives its loss only now and then, until the rate
/// falls:
///                           with probability `sqrt(thinning / frequency)`; 0 keeps every loss
/// @param dtype              of activations and products: F32 or BF16
/// @param noise              of the fine-tuning
/// @param checkpoint         file, or null for none
/// @param checkpointInterval steps between checkpoints
public record TrainOptions(
        Objective objective,
        long seed,
        long steps,
        int batch,
        int microBatch,
        float learningRate,
        long warmupSteps,
        long decaySteps,
        OptimizerKind optimizer,
        float weightDecay,
        float emaDecay,
        float gradientClip,
        double captionDropout,
        double thinning,
        DType dtype,
        NoiseOptions noise,
        @Nullable Path checkpoint,
        long checkpointInterval) {
    /// Below, a batch could be left without any loss.
    private static final double LEAST_THINNING = 1e-4;

    public TrainOptions {
        if (steps < 0 || batch < 1 || microBatch < 1 || batch % microBatch != 0) {
            throw new IllegalArgumentException("training: steps " + steps + ", batch " + batch + ", micro-batch "
                    + microBatch + ": the batch must be a positive multiple of the micro-batch");
        }
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException("training: dtype is " + dtype.label() + ", expected f32 or bf16");
        }
        if (!(captionDropout >= 0 && captionDropout <= 1) || !(emaDecay >= 0 && emaDecay < 1)) {
            throw new IllegalArgumentException("training: caption dropout " + captionDropout
                    + " must lie in [0, 1], EMA decay " + emaDecay + " in [0, 1)");
        }
        if (thinning != 0 && !(thinning >= LEAST_THINNING && thinning <= 1)) {
            throw new IllegalArgumentException(
                    "training: thinning is " + thinning + ", expected 0 or " + LEAST_THINNING + " to 1");
        }
        if (checkpoint != null && checkpointInterval < 1) {
            throw new IllegalArgumentException(
                    "training: checkpoint interval is " + checkpointInterval + ", expected at least 1");
        }
    }

    /// The settings that the demo model was trained with; see docs/training.md.
    public static TrainOptions defaults(Objective objective) {
        boolean tune = objective == Objective.SJD2_FINETUNE;
        return new TrainOptions(
                objective,
                1,
                1000,
                32,
                16,
                tune ? 1e-3f : 3e-3f,
                tune ? 50 : 200,
                tune ? 300 : 500,
                OptimizerKind.MUON,
                0.01f,
                0.998f,
                1,
                0.1,
                0,
                DType.BF16,
                NoiseOptions.defaults(),
                null,
                500);
    }

    /// Settings for fine-tuning a published checkpoint: AdamW at the rate of the SJD2 paper. Source: docs/decoding.md,
    /// "Fine-tuning".
    public static TrainOptions published() {
        TrainOptions d = defaults(Objective.SJD2_FINETUNE);
        return new TrainOptions(
                d.objective,
                d.seed,
                d.steps,
                8,
                1,
                2e-5f,
                d.warmupSteps,
                d.decaySteps,
                OptimizerKind.ADAMW,
                d.weightDecay,
                0,
                d.gradientClip,
                d.captionDropout,
                0,
                d.dtype,
                d.noise,
                null,
                d.checkpointInterval);
    }

    public TrainOptions withSeed(long value) {
        return copy(value, steps, batch, microBatch, learningRate, warmupSteps, decaySteps, optimizer, emaDecay, dtype);
    }

    /// @param total  optimiser steps in all
    /// @param warmup of them with a rising rate
    /// @param decay  of them with a falling one
    public TrainOptions withSteps(long total, long warmup, long decay) {
        return copy(seed, total, batch, microBatch, learningRate, warmup, decay, optimizer, emaDecay, dtype);
    }

    public TrainOptions withBatch(int images, int micro) {
        return copy(seed, steps, images, micro, learningRate, warmupSteps, decaySteps, optimizer, emaDecay, dtype);
    }

    public TrainOptions withLearningRate(float value) {
        return copy(seed, steps, batch, microBatch, value, warmupSteps, decaySteps, optimizer, emaDecay, dtype);
    }

    public TrainOptions withOptimizer(OptimizerKind value) {
        return copy(seed, steps, batch, microBatch, learningRate, warmupSteps, decaySteps, value, emaDecay, dtype);
    }

    public TrainOptions withEma(float decay) {
        return copy(seed, steps, batch, microBatch, learningRate, warmupSteps, decaySteps, optimizer, decay, dtype);
    }

    public TrainOptions withDtype(DType value) {
        return copy(seed, steps, batch, microBatch, learningRate, warmupSteps, decaySteps, optimizer, emaDecay, value);
    }

    public TrainOptions withNoise(NoiseOptions value) {
        return new TrainOptions(
                objective,
                seed,
                steps,
                batch,
                microBatch,
                learningRate,
                warmupSteps,
                decaySteps,
                optimizer,
                weightDecay,
                emaDecay,
                gradientClip,
                captionDropout,
                thinning,
                dtype,
                value,
                checkpoint,
                checkpointInterval);
    }

    public TrainOptions withThinning(double value) {
        return new TrainOptions(
                objective,
                seed,
                steps,
                batch,
                microBatch,
                learningRate,
                warmupSteps,
                decaySteps,
                optimizer,
                weightDecay,
                emaDecay,
                gradientClip,
                captionDropout,
                value,
                dtype,
                noise,
                checkpoint,
                checkpointInterval);
    }

    public TrainOptions withCheckpoint(Path file, long interval) {
        return new TrainOptions(
                objective,
                seed,
                steps,
                batch,
                microBatch,
                learningRate,
                warmupSteps,
                decaySteps,
                optimizer,
                weightDecay,
                emaDecay,
                gradientClip,
                captionDropout,
                thinning,
                dtype,
                noise,
                file,
                interval);
    }

    private TrainOptions copy(
            long newSeed,
            long newSteps,
            int newBatch,
            int newMicro,
            float newRate,
            long newWarmup,
            long newDecay,
            OptimizerKind newOptimizer,
            float newEma,
            DType newDtype) {
        return new TrainOptions(
                objective,
                newSeed,
                newSteps,
                newBatch,
                newMicro,
                newRate,
                newWarmup,
                newDecay,
                newOptimizer,
                weightDecay,
                newEma,
                gradientClip,
                captionDropout,
                thinning,
                newDtype,
                noise,
                checkpoint,
                checkpointInterval);
    }

    /// Whether step `step`, counted from 0, drops losses of frequent codes: not while the rate falls, for dropping by
    /// what is to be predicted biases the prediction, which those last steps undo.
    boolean thins(long step) {
        return thinning > 0 && steps - step >= decaySteps;
    }

    /// The learning rate of step `step`, counted from 0.
    float rateAt(long step) {
        double rate = learningRate;
        if (step < warmupSteps) {
            rate *= (step + 1.0) / warmupSteps;
        }
        long left = steps - step;
        if (left < decaySteps) {
            rate *= (double) left / decaySteps;
        }
        return (float) rate;
    }
}
