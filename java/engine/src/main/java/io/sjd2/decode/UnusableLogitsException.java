package io.sjd2.decode;

/// A pass produced logits that no distribution can be made of: NaN, infinite, or all masked.
public final class UnusableLogitsException extends IllegalStateException {
    private static final long serialVersionUID = 1L;

    private final int image;
    private final int iteration;

    UnusableLogitsException(int image, int iteration, int committed) {
        super("image " + image + ", iteration " + iteration + ": the model's logits are NaN or infinite after "
                + committed + " committed positions; check the weights for NaN, and the guidance scale");
        this.image = image;
        this.iteration = iteration;
    }

    /// Number of the picture within its request.
    public int image() {
        return image;
    }

    /// Passes verified before the one that failed.
    public int iteration() {
        return iteration;
    }
}
