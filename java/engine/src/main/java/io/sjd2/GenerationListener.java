package io.sjd2;

/// Watches a generation, on the generating thread.
public interface GenerationListener {
    /// Ignores everything and never cancels.
    GenerationListener NONE = new GenerationListener() {};

    /// After every pass.
    ///
    /// @param committed  tokens final so far, over all pictures of the request
    /// @param total      tokens to come to
    /// @param passes     passes so far
    default void progress(long committed, long total, long passes) {}

    /// Asked before every batch of pictures: true asks for {@link #pass}. Without it, a generation records nothing;
    /// with it, windows are copied out of every pass, and a device enqueues operations one by one instead of
    /// replaying a recorded pass, so that times are longer than without. The tokens are the same.
    default boolean watchesPasses() {
        return false;
    }

    /// After every pass, for each picture that took part, before {@link #progress}; only if {@link #watchesPasses}.
    /// {@link Trace} collects them.
    default void pass(PassTrace pass) {}

    /// After every layer of an image tokeniser that computes, while it turns codes into a picture.
    ///
    /// @param index  of the picture within the request
    /// @param done   FLOP so far
    /// @param total  FLOP of this picture
    default void decoding(int index, long done, long total) {}

    /// A picture is done; called in no particular order.
    default void finished(GeneratedImage image) {}

    /// Asked before every pass, and before every layer of the image tokeniser; true stops the generation with a {@link
    /// java.util.concurrent.CancellationException}.
    default boolean cancelled() {
        return false;
    }
}
