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

    /// A picture is done; called in no particular order.
    default void finished(GeneratedImage image) {}

    /// Asked before every pass; true stops the generation with a {@link java.util.concurrent.CancellationException}.
    default boolean cancelled() {
        return false;
    }
}
