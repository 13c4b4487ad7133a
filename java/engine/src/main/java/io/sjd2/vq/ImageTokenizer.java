package io.sjd2.vq;

import io.sjd2.tensor.RgbImage;

/// Turns pictures of one size into a grid of codes and back. What runs on a backend is as confined as that is, see
/// [VqTokenizer]; anything else is immutable and thread-safe.
public interface ImageTokenizer {
    /// Rows of the code grid.
    int gridHeight();

    /// Columns of the code grid.
    int gridWidth();

    /// How many different codes there are; codes run from 0 to one below.
    int codes();

    /// The codes of a picture.
    /// @return `[gridHeight, gridWidth]`, row-major
    /// @throws IllegalArgumentException if the picture's size is not the one this tokeniser takes
    /// @throws UnsupportedOperationException if its weights hold no encoder
    int[] encode(RgbImage image);

    /// The picture that a grid of codes stands for.
    /// @param codes `[gridHeight, gridWidth]`, row-major
    /// @throws IllegalArgumentException if there are too few or too many codes, or one is out of range
    RgbImage decode(int[] codes);
}
