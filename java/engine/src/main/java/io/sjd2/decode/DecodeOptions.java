package io.sjd2.decode;

/// How to decode: which decoder, on what law, with how wide a window and how many noise levels.
///
/// @param decoder   the decoder
/// @param sampling  the target law
/// @param window    rows per pass, at least 1; more than the picture has positions is cut down to those, and `ar`
/// always
///                  uses 1. {@link WindowPlanner} finds a good one
/// @param levels    noise levels of a fresh slot, at least 1 for a decoder with noise; the others do not read it
/// @param restart   failed passes in a row behind which the window starts again, {@link #NEVER_RESTART}, or
///                  {@link #AUTO_RESTART}; `docs/decoding.md`, "Restarting a stalled window". Pictures follow the
///                  same law whatever it is
public record DecodeOptions(DecoderSpec decoder, SamplingOptions sampling, int window, int levels, int restart) {
    /// Noise levels unless the model's record says otherwise. `docs/decoding.md`, "Measured on a small trained model":
    /// one or two pay on pictures of a few hundred tokens.
    public static final int DEFAULT_LEVELS = 2;
    /// After more failed passes than chance makes, and than a restart costs.
    public static final int AUTO_RESTART = -1;
    /// As published: drafts are only ever refined.
    public static final int NEVER_RESTART = 0;
    /// Passes fail at their first draft by chance, too; six in a row seldom do, however flat the model's laws are.
    private static final int FEWEST_STALLS = 6;

    /// @throws IllegalArgumentException naming the option, its value and what is allowed
    public DecodeOptions {
        if (window < 1) {
            throw new IllegalArgumentException("window is " + window + ", expected at least 1 row per pass");
        }
        if (decoder.noise() && levels < 1) {
            throw new IllegalArgumentException("levels is " + levels + ", expected at least 1 for " + decoder
                    + "; without noise use the sjd family");
        }
        if (restart < AUTO_RESTART) {
            throw new IllegalArgumentException(
                    "restart is " + restart + ", expected 0 (never) or the failed passes to wait for");
        }
        if (sampling.sampler() == SamplingOptions.Sampler.INVERSE_CDF && !decoder.sequential()) {
            throw new IllegalArgumentException("sampler inverse-cdf is a way for ar to draw; " + decoder
                    + " draws by its own rule, leave it at gumbel");
        }
    }

    /// With restarts as they pay.
    public DecodeOptions(DecoderSpec decoder, SamplingOptions sampling, int window, int levels) {
        this(decoder, sampling, window, levels, AUTO_RESTART);
    }

    /// With the default number of levels, and restarts as they pay.
    public DecodeOptions(DecoderSpec decoder, SamplingOptions sampling, int window) {
        this(decoder, sampling, window, DEFAULT_LEVELS);
    }

    /// Rows per pass for pictures of `length` positions.
    public int effectiveWindow(int length) {
        return decoder.sequential() ? 1 : Math.min(window, length);
    }

    /// Failed passes in a row behind which the window starts again; 0: never. A fresh window needs a pass for its first
    /// token and one for each level, and waits for at least as many.
    public int effectiveRestart() {
        if (decoder.sequential()) {
            return NEVER_RESTART;
        }
        return restart == AUTO_RESTART ? Math.max(FEWEST_STALLS, effectiveLevels() + 1) : restart;
    }

    /// The same with another window.
    DecodeOptions withWindow(int rows) {
        return new DecodeOptions(decoder, sampling, rows, levels, restart);
    }

    /// Noise levels of a fresh slot: 0 where the decoder has none.
    public int effectiveLevels() {
        return decoder.noise() ? levels : 0;
    }
}
