package io.sjd2.kernel;

import io.sjd2.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// What turns drafts into input embeddings: the token table and, for noisy slots, normalisation, schedule and levels.
///
/// @param table      `[table_rows, hidden_size]` T
/// @param tokenRows  `[codes + forced]` i32: table row of a local id; null for the identity
/// @param noise      what noisy slots need; null when every image has levels 0
public record DraftEmbeddings(
        Tensor table, @Nullable Tensor tokenRows, @Nullable Noise noise) {
    /// Normalisation and schedule of a grid of `N` levels; level 0 is clean (`lambda` 0, `alpha` 1).
    ///
    /// @param mean        `[hidden_size]` f32, mean of the image tokens' embeddings
    /// @param std         `[hidden_size]` f32, their standard deviation
    /// @param levelEmbed  `[N + 1, hidden_size]` f32, added to a noisy input; row 0 is unused
    /// @param lambda      `[N + 1]` f32, `sigma / alpha` per level, ascending
    /// @param alpha       `[N + 1]` f32
    public record Noise(Tensor mean, Tensor std, Tensor levelEmbed, Tensor lambda, Tensor alpha) {}
}
