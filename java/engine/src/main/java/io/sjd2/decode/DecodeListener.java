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

    /// Asked once, before the first pass: true lets {@link Progress#windows} be read. Every pass then copies its
    /// windows to the host twice, and a device enqueues its operations one by one instead of replaying a recording.
    default boolean watchesWindows() {
        return false;
    }

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

        /// Of the last pass, host time spent on the window's input, in nanoseconds.
        long windowInputNanos();

        /// Of the last pass, host time spent in the model; on an asynchronous backend, time to enqueue it.
        long forwardNanos();

        /// Of the last pass, host time spent on targets, verification and waiting for the device.
        long verifyNanos();

        /// The windows of the last pass.
        ///
        /// @throws IllegalStateException unless the listener {@link DecodeListener#watchesWindows watches windows}
        WindowView windows();
    }
}
