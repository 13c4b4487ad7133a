package io.sjd2.kernel;

/// What a random number is for; keeps streams apart. The ordinal is `sjd2_purpose` of the C ABI.
///
/// Philox4x32-10 with key = seed; element `e` of a draw is word `e mod 4` of the block with counter
/// (`e div 4`, image index, absolute position, `purpose * 2^24 + iteration`).
public enum Purpose {
    /// Inverse-CDF draws of `ar`: element = absolute position, position word 0, iteration 0 (the fixtures' layout).
    SEQUENTIAL,
    /// Gumbel noise: element = code, iteration 0.
    GUMBEL,
    /// Initial noise of a slot: element = dimension, iteration 0, normals.
    NOISE,
    /// Uniform token of a fresh slot: element 0, iteration 0.
    INIT,
    /// Acceptance test.
    ACCEPT,
    /// Residual draw.
    RESIDUAL,
    /// Draw from a target.
    DRAW;

    /// The high stream word of this purpose at an iteration below 2^24.
    public int streamHigh(int iteration) {
        return (ordinal() << 24) | iteration;
    }
}
