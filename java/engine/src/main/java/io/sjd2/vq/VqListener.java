package io.sjd2.vq;

/// Hears how far an image tokeniser is. Called on the thread that encodes or decodes; must be quick.
@FunctionalInterface
public interface VqListener {
    /// Hears nothing.
    VqListener NONE = (done, total) -> {};

    /// @param done  FLOP enqueued so far
    /// @param total FLOP of the whole picture
    void advanced(long done, long total);

    /// Asked before every layer; true stops the picture with a {@link java.util.concurrent.CancellationException},
    /// behind which the tokeniser can be used again.
    default boolean cancelled() {
        return false;
    }
}
