package io.sjd2.train;

/// Captioned pictures as tokens. Safe to use from several threads.
public interface TrainingData {
    /// How many examples there are.
    long size();

    /// An example: always the same one for an index.
    ///
    /// @param index 0 to `size() - 1`
    Example example(long index);

    /// A caption and its picture.
    ///
    /// @param caption text tokens, without begin tokens
    /// @param codes   image codes, row by row
    record Example(int[] caption, int[] codes) {}
}
