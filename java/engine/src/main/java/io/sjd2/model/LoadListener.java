package io.sjd2.model;

/// Told about the progress of loading weights, on the loading thread.
@FunctionalInterface
public interface LoadListener {
    /// @param loadedBytes  bytes packed so far
    /// @param totalBytes   bytes to pack
    void loaded(long loadedBytes, long totalBytes);

    /// Tells nobody.
    LoadListener NONE = (loaded, total) -> {};
}
