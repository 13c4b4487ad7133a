package io.sjd2.decode;

/// How to decode: which decoder, on what law, with how wide a window and how many noise levels.
///
/// @param decoder   the decoder
/// @param sampling  the target law
/// @param window    rows per pass, at least 1; more than the picture has positions is cut down to those, and `ar`
/// always
///                  uses 1. {@link WindowPlanner} finds a good one
/// @param levels    noise levels of a fresh slot, at least 1 for a decoder with noise; the others do not read it
public record DecodeOptions(DecoderSpec decoder, SamplingOptions sampling, int window, int levels) {
    /// Noise levels unless the model's record says otherwise. `docs/decoding.md`, "Measured on a small trained model":
    /// one or two pay on pictures of a few hundred tokens.
    public static final int DEFAULT_LEVELS = 2;

    /// @throws IllegalArgumentException naming the option, its value and what is allowed
    public DecodeOptions {
        if (window < 1) {
            throw new IllegalArgumentException("window is " + window + ", expected at least 1 row per pass");
        }
        if (decoder.noise() && levels < 1) {
            throw new IllegalArgumentException("levels is " + levels + ", expected at least 1 for " + decoder
                    + "; without noise use the sjd family");
        }
        if (sampling.sampler() == SamplingOptions.Sampler.INVERSE_CDF && !decoder.sequential()) {
            throw new IllegalArgumentException("sampler inverse-cdf is a way for ar to draw; " + decoder
                    + " draws by its own rule, leave it at gumbel");
        }
    }

    /// With the default number of levels.
    public DecodeOptions(DecoderSpec decoder, SamplingOptions sampling, int window) {
        this(decoder, sampling, window, DEFAULT_LEVELS);
    }

    /// Rows per pass for pictures of `length` positions.
    public int effectiveWindow(int length) {
        return decoder.sequential() ? 1 : Math.min(window, length);
    }

    /// Noise levels of a fresh slot: 0 where the decoder has none.
    public int effectiveLevels() {
        return decoder.noise() ? levels : 0;
    }
}
