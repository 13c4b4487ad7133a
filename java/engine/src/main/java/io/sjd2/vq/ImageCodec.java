package io.sjd2.vq;

/// A model's image tokeniser before the size of pictures is chosen. What runs on a backend is as confined as that is,
/// and must be closed before it.
public interface ImageCodec extends AutoCloseable {
    /// How many different codes there are; codes run from 0 to one below.
    int codes();

    /// Pixels along the side of the square that one code stands for.
    int factor();

    /// The tokeniser for grids of one size; lives as long as this.
    ///
    /// @param listener told while pictures are decoded and encoded
    /// @throws IllegalArgumentException if this makes no pictures of that size
    ImageTokenizer withGrid(int gridHeight, int gridWidth, VqListener listener);

    /// Frees weights and buffers. Idempotent.
    @Override
    void close();
}
