package io.sjd2.train;

/// Which optimiser updates the matrices inside the blocks; everything else is AdamW's.
public enum OptimizerKind {
    ADAMW,
    /// Momentum orthogonalised by Newton-Schulz iterations, scaled to AdamW's update size.
    MUON
}
