package io.sjd2.train;

/// How the fine-tuning draws noise. Source: docs/decoding.md, "Fine-tuning that worked".
///
/// @param lambdaMin     smallest noise-to-signal ratio, > 0
/// @param lambdaMax     largest
/// @param rho           exponent of the spread between them
/// @param noisyShare    share of sequences that carry noise
/// @param segmentMin    shortest noisy segment or clean gap, in tokens
/// @param segmentMax    longest
/// @param constantShare share of segments with one level
/// @param risingShare   share of segments whose level rises along them; the rest draw a level per token
/// @param timestepScale the level embedding sees `timestepScale * ln(lambda) + timestepShift`
/// @param timestepShift see `timestepScale`
public record NoiseOptions(
        double lambdaMin,
        double lambdaMax,
        double rho,
        double noisyShare,
        int segmentMin,
        int segmentMax,
        double constantShare,
        double risingShare,
        double timestepScale,
        double timestepShift) {

    public NoiseOptions {
        if (!(lambdaMin > 0 && lambdaMax >= lambdaMin && rho > 0)) {
            throw new IllegalArgumentException("noise: lambda from " + lambdaMin + " to " + lambdaMax + " with rho "
                    + rho + ": expected 0 < min <= max and rho > 0");
        }
        if (segmentMin < 1 || segmentMax < segmentMin) {
            throw new IllegalArgumentException(
                    "noise: segments of " + segmentMin + " to " + segmentMax + " tokens: expected 1 <= min <= max");
        }
    }

    /// The values that worked on a small model.
    public static NoiseOptions defaults() {
        return new NoiseOptions(0.3, 30, 7, 0.85, 8, 64, 0.4, 0.5, 100, 500);
    }

    /// The noise-to-signal ratio at `share` of the range, 0 to 1.
    double lambda(double share) {
        double low = Math.pow(lambdaMin, 1 / rho);
        double high = Math.pow(lambdaMax, 1 / rho);
        return Math.pow(low + share * (high - low), rho);
    }
}
