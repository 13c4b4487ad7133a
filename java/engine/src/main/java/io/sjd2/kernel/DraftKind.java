package io.sjd2.kernel;

/// Where a draft came from, which decides its test; the ordinal is `sjd2_draft_kind` of the C ABI.
public enum DraftKind {
    /// No token yet.
    NONE,
    /// Drawn uniformly over the codes.
    UNIFORM,
    /// Drawn from the previous iteration's probability row.
    ROW,
    /// A structural token: filled in, never tested.
    FORCED
}
