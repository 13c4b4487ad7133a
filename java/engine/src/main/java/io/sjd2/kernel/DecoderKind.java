package io.sjd2.kernel;

/// How a window is verified and redrawn; the ordinal is `sjd2_decoder` of the C ABI. `docs/decoding.md` has the
/// algorithms.
public enum DecoderKind {
    /// Autoregression: one row, one token.
    SEQUENTIAL,
    /// Greedy Jacobi iteration.
    GREEDY,
    /// Rejection test, independent redraws (SJD).
    INDEPENDENT,
    /// Rejection test, maximal coupling of redraws (SCD-MC).
    MAXIMAL,
    /// Rejection test, redraws share Gumbel noise per position (SCD-GS).
    GUMBEL,
    /// Fixed point under per-position Gumbel noise: token for token what autoregression gives.
    EXACT
}
