package io.sjd2;

import java.util.List;

/// What one pass did to the window of one picture.
///
/// @param picture        the picture's number in its request
/// @param pass           counted from 1 over the passes of its batch
/// @param first          position of the first slot: tokens that were final before the pass
/// @param accepted       slots, from the first on, that the pass made final
/// @param inputMillis    host time spent on the window's input, shared by the pictures of a batch
/// @param forwardMillis  in the model; on a device, enqueuing it
/// @param verifyMillis   on targets, verification and the wait for the device
/// @param slots          in order of position
public record PassTrace(
        int picture,
        int pass,
        int first,
        int accepted,
        double inputMillis,
        double forwardMillis,
        double verifyMillis,
        List<Slot> slots) {
    /// In place of a token where there is none.
    public static final int NO_TOKEN = -1;

    public PassTrace {
        slots = List.copyOf(slots);
    }

    /// Where a draft came from. Names of constants appear in trace files and stay.
    public enum Origin {
        /// There was none: the model predicted the position from what stands before it.
        NONE,
        /// Noise stood in its place.
        NOISE,
        /// Drawn uniformly over the codes.
        UNIFORM,
        /// Drawn from the model's own prediction one pass earlier.
        PREDICTED,
        /// Filled in: the same token in every picture of this size.
        STRUCTURE
    }

    /// What became of a slot. Names of constants appear in trace files and stay.
    public enum Outcome {
        /// Final: the draft passed its test.
        ACCEPTED,
        /// Final: the draft failed its test and was replaced.
        RESAMPLED,
        /// Final: there was no draft to test.
        DRAWN,
        /// Final: a structural token.
        FILLED,
        /// Open: the next pass meets the same draft.
        KEPT,
        /// Open: the next pass meets another draft.
        REDRAWN,
        /// Open: the next pass meets a first draft.
        DRAFTED,
        /// Open: nothing stands there yet.
        WAITING,
        /// Open: the draft was thrown away with a stalled window, noise stands there again.
        RESTARTED;

        /// Whether the slot left the window.
        public boolean committed() {
            return this == ACCEPTED || this == RESAMPLED || this == DRAWN || this == FILLED;
        }
    }

    /// One slot of a window.
    ///
    /// @param position    in the picture's tokens, structural ones included
    /// @param origin      of the draft
    /// @param draft       vocabulary id that met the pass, or {@link #NO_TOKEN}
    /// @param level       noise level with which the model read it; 0 is clean
    /// @param outcome     what became of it
    /// @param token       vocabulary id afterwards, or {@link #NO_TOKEN}
    /// @param levelAfter  noise level that the next pass reads; below `level` the slot was denoised
    public record Slot(int position, Origin origin, int draft, int level, Outcome outcome, int token, int levelAfter) {}
}
