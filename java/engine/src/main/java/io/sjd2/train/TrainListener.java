package io.sjd2.train;

/// Hears of the progress of a run, on the training thread.
@FunctionalInterface
public interface TrainListener {
    /// Called after every step.
    ///
    /// @return whether to go on; stopping writes a checkpoint
    boolean onStep(Progress progress);

    /// Where a run stands.
    ///
    /// @param step            steps done
    /// @param steps           steps in all
    /// @param loss            of this step, nats per image token
    /// @param gradientNorm    before clipping
    /// @param learningRate    of this step
    /// @param imagesPerSecond lately
    /// @param secondsLeft     at that rate
    record Progress(
            long step,
            long steps,
            double loss,
            double gradientNorm,
            double learningRate,
            double imagesPerSecond,
            double secondsLeft) {}
}
