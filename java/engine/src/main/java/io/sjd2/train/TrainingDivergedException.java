package io.sjd2.train;

/// The loss or the gradient is no longer finite. The last checkpoint is from before that and stays.
public final class TrainingDivergedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final long step;

    TrainingDivergedException(long step, double loss, double gradientNorm, String remedy) {
        super("training diverged at step " + step + ": loss " + loss + ", gradient norm " + gradientNorm + "; "
                + remedy);
        this.step = step;
    }

    /// The step, counted from 0, whose loss was not finite.
    public long step() {
        return step;
    }
}
