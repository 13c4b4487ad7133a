package io.sjd2.decode;

import java.util.List;

/// Tokens of every picture, and what they took.
///
/// @param tokens      `[images][length]` local ids, structural tokens included
/// @param statistics  passes, acceptance and time
public record DecodeResult(int[][] tokens, Statistics statistics) {

    /// @param window              rows per pass that were used
    /// @param levels              noise levels of a fresh slot
    /// @param iterations          passes over the batch: as many as its slowest picture needed
    /// @param windowInputNanos    host time spent preparing inputs
    /// @param forwardNanos        host time spent in the model; on an asynchronous backend, time to enqueue it
    /// @param verifyNanos         host time spent on targets, verification and waiting for the device
    /// @param acceptedHistogram   `[window + 1]` passes by the positions that they made final
    /// @param images              per picture
    public record Statistics(
            int window,
            int levels,
            int iterations,
            long windowInputNanos,
            long forwardNanos,
            long verifyNanos,
            long[] acceptedHistogram,
            List<ImageStatistics> images) {
        public Statistics {
            images = List.copyOf(images);
        }

        /// Mean over pictures of `length / passes`, the factor by which passes shrink against `ar`.
        public double stepCompression() {
            return images.stream()
                    .mapToDouble(image -> (double) image.length / image.passes)
                    .average()
                    .orElseThrow();
        }

        /// Host time of one iteration, in milliseconds.
        public double millisPerPass() {
            return (windowInputNanos + forwardNanos + verifyNanos) / 1e6 / iterations;
        }
    }

    /// @param length      positions
    /// @param passes      passes that the picture took part in
    /// @param tested      drafts that met a test at the front of the window
    /// @param kept        of those, how many passed
    /// @param tail        drafts redrawn behind the committed prefix
    /// @param tailKept    of those, how many kept their token
    /// @param restarts    windows started again because they stalled
    /// @param frontLevel  mean noise level of the first slot; well above 0, the window is too narrow for the levels
    public record ImageStatistics(
            int length, int passes, int tested, int kept, int tail, int tailKept, int restarts, double frontLevel) {
        /// Share of redrawn drafts that kept their token; 0 when none was redrawn.
        public double keepRate() {
            return tail == 0 ? 0 : (double) tailKept / tail;
        }
    }
}
