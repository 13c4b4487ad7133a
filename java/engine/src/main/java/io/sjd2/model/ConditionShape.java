package io.sjd2.model;

/// What a model is conditioned on instead of text.
///
/// @param kind          captions as features of a text encoder, or the number of a class
/// @param rows          positions that the condition takes, padding included
/// @param captionWidth  width of a caption's features; 0 for classes
/// @param classes       number of classes, the null class not counted; 0 for captions
public record ConditionShape(Kind kind, int rows, int captionWidth, int classes) {
    /// What a condition is.
    public enum Kind {
        CAPTION,
        CLASS
    }

    /// `fc2(gelu_tanh(fc1 x))`, and the features that stand for no caption.
    static final String CAPTION_FIRST = "cls_embedding.cap_proj.fc1.weight";

    static final String CAPTION_SECOND = "cls_embedding.cap_proj.fc2.weight";
    static final String NO_CAPTION = "cls_embedding.uncond_embedding";
    /// `[classes + 1, hidden_size]`; the last row is the null class.
    static final String CLASS_TABLE = "cls_embedding.embedding_table.weight";
}
