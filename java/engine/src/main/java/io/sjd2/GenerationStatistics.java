package io.sjd2;

/// What one picture cost.
///
/// @param decoder      name of the decoder
/// @param window       positions refined per pass
/// @param levels       noise levels, 0 without noise
/// @param tokens       positions generated, forced ones included
/// @param passes       forward passes that this picture took part in, after the prefill
/// @param seconds      wall time of the decoding loop, shared by the pictures of a batch
/// @param forwardSeconds  of it, in the model
/// @param verifySeconds  of it, in turning drafts into inputs, in targets and in verification
/// @param prefillSeconds  wall time of the prompt's pass
/// @param decodeImageSeconds  wall time from tokens to pixels
/// @param tested       drafts that met a test
/// @param kept         of those, how many passed
/// @param tail         slots redrawn behind the committed prefix
/// @param tailKept     of those, how many kept their token
/// @param restarts     windows started again because they stalled
public record GenerationStatistics(
        String decoder,
        int window,
        int levels,
        int tokens,
        int passes,
        double seconds,
        double forwardSeconds,
        double verifySeconds,
        double prefillSeconds,
        double decodeImageSeconds,
        long tested,
        long kept,
        long tail,
        long tailKept,
        int restarts) {

    /// Tokens per pass: how many times fewer passes than autoregression.
    public double stepCompression() {
        return passes == 0 ? 0 : (double) tokens / passes;
    }

    /// Wall time of a pass in milliseconds.
    public double msPerPass() {
        return passes == 0 ? 0 : 1000 * seconds / passes;
    }
}
