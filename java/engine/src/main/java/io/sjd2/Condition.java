package io.sjd2;

/// What a model is asked for instead of a prompt.
public sealed interface Condition {
    /// Features of a caption, made by the text encoder that the model was trained with.
    ///
    /// @param features  `[rows, width]`, padded on the left. Not copied: do not write to it
    /// @param mask      `[rows]`: false where a row is padding
    record Caption(float[] features, boolean[] mask) implements Condition {}

    /// A class of the training data.
    ///
    /// @param label  its number
    record Label(int label) implements Condition {}
}
