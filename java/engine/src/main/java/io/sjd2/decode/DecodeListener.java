package io.sjd2.decode;

/// Follows a decode from the decoding thread, once per iteration. Keep it short: the next pass waits.
@FunctionalInterface
public interface DecodeListener {
    /// Does nothing.
    DecodeListener NONE = progress -> true;

    /// Called after each verified pass.
    ///
    /// @param progress  valid during the call only
    /// @return false to stop: {@link Decoder#decode} then throws {@link java.util.concurrent.CancellationException}
    boolean onIteration(Progress progress);

    /// Where a decode stands.
    interface Progress {
        /// Passes verified so far, at least 1.
        int iteration();

        /// Pictures being decoded.
        int images();

        /// Positions per picture.
        int length();

        /// Positions of picture `image` that are final.
        int committed(int image);

        /// Positions of picture `image` that the last pass made final; 0 when it was finished before.
        int accepted(int image);
    }
}
