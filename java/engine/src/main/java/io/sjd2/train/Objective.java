package io.sjd2.train;

/// What is trained.
public enum Objective {
    /// Next-token prediction on clean sequences.
    PRETRAIN,
    /// Next-clean-token prediction: segments of image tokens carry noise in embedding space, targets stay clean.
    SJD2_FINETUNE
}
