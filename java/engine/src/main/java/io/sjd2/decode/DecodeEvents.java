package io.sjd2.decode;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;

/// What Java Flight Recorder sees of a decode. One object of each kind serves a whole decode: with no recording an
/// iteration allocates nothing and reads no clock for them.
final class DecodeEvents {
    private DecodeEvents() {}

    /// One pass over the windows of all pictures of a batch.
    @Name("io.sjd2.Iteration")
    @Label("Iteration")
    @Description("One pass: window input, model, targets and verification")
    @Category({"sjd2", "Decoding"})
    @StackTrace(false)
    static final class Iteration extends Event {
        @Label("Iteration")
        @Description("Counted from 1 within a decode")
        int iteration;

        @Label("Window")
        @Description("Rows per picture")
        int window;

        @Label("Pictures")
        @Description("Pictures that the pass advanced")
        int pictures;

        @Label("Accepted")
        @Description("Positions that the pass made final, over all pictures")
        int accepted;

        @Label("Longest Accepted")
        @Description("The most that one picture accepted")
        int longestAccepted;

        @Label("Committed")
        @Description("Positions final after the pass, over all pictures")
        int committed;

        @Label("Slots by Level")
        @Description("How many slots the model read at noise level 0 (clean), 1, 2 and so on, with commas between")
        String levels = "";

        @Label("Window Input Time")
        @Timespan(Timespan.NANOSECONDS)
        long windowInput;

        @Label("Forward Time")
        @Timespan(Timespan.NANOSECONDS)
        long forward;

        @Label("Verify Time")
        @Timespan(Timespan.NANOSECONDS)
        long verify;
    }

    /// The model's part of a pass. Absent where a device replays a recorded iteration.
    @Name("io.sjd2.Forward")
    @Label("Forward Pass")
    @Description("The model's part of a pass; on a device, enqueuing it")
    @Category({"sjd2", "Decoding"})
    @StackTrace(false)
    static final class Forward extends Event {
        @Label("Iteration")
        int iteration;

        @Label("Window")
        @Description("Rows per picture")
        int window;
    }

    /// Targets and verification, up to the wait for the device.
    @Name("io.sjd2.Verify")
    @Label("Verification")
    @Description("Targets, tests, redraws, and the wait for the device")
    @Category({"sjd2", "Decoding"})
    @StackTrace(false)
    static final class Verify extends Event {
        @Label("Iteration")
        int iteration;

        @Label("Accepted")
        @Description("Positions that became final, over all pictures")
        int accepted;
    }
}
