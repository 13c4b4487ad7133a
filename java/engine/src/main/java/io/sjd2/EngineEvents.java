package io.sjd2;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/// What Java Flight Recorder sees of a generation, around the passes that `io.sjd2.decode` reports. Prompts stay out of
/// recordings, which people hand on.
final class EngineEvents {
    private EngineEvents() {}

    /// One call of {@link Engine#generate}.
    @Name("io.sjd2.Generation")
    @Label("Generation")
    @Description("One call of Engine.generate, from prompt to pixels")
    @Category("sjd2")
    @StackTrace(false)
    static final class Generation extends Event {
        @Label("Model")
        String model = "";

        @Label("Backend")
        String backend = "";

        @Label("Data Type")
        String dtype = "";

        @Label("Decoder")
        String decoder = "";

        @Label("Window")
        @Description("Rows per picture and pass")
        int window;

        @Label("Window Chosen")
        @Description("Whether the engine chose the window")
        boolean autoWindow;

        @Label("Noise Levels")
        int levels;

        @Label("Guidance")
        float guidance;

        @Label("Seed")
        long seed;

        @Label("Pictures")
        int pictures;

        @Label("Tokens")
        @Description("Positions generated, over all pictures")
        long tokens;

        @Label("Passes")
        @Description("Passes that the pictures took part in, over all pictures")
        long passes;

        @Label("Finished")
        @Description("False where it was cancelled or failed")
        boolean finished;
    }

    /// The prompts' pass.
    @Name("io.sjd2.Prefill")
    @Label("Prefill")
    @Description("The prompts of a batch into the cache")
    @Category("sjd2")
    @StackTrace(false)
    static final class Prefill extends Event {
        @Label("Sequences")
        int sequences;

        @Label("Tokens")
        @Description("Entries of the prompts, over all sequences")
        long tokens;
    }

    /// Tokens to pixels.
    @Name("io.sjd2.ImageDecode")
    @Label("Image Decode")
    @Description("A picture's tokens to pixels")
    @Category("sjd2")
    @StackTrace(false)
    static final class ImageDecode extends Event {
        @Label("Picture")
        @Description("Its number in the request")
        int picture;

        @Label("Width")
        int width;

        @Label("Height")
        int height;
    }
}
