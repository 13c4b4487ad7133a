package io.sjd2.decode;

import io.sjd2.kernel.DraftKind;

/// The windows of one pass: what stood in each slot when the model read it, and what verification made of it.
///
/// Slot `row` of an image is position `first(image) + row`. Valid during {@link DecodeListener#onIteration} only.
public interface WindowView {
    /// No token.
    int NO_TOKEN = -1;

    /// The position of the image's first slot: how many positions were final before the pass.
    int first(int image);

    /// Slots that the pass had; 0 where the image was finished before.
    int rows(int image);

    /// How many of them, from the first on, the pass made final.
    int accepted(int image);

    /// Where the draft came from. `NONE`: there was none, or noise in its place.
    DraftKind kind(int image, int row);

    /// Local id of the draft that met the pass; {@link #NO_TOKEN} without one.
    int draft(int image, int row);

    /// Noise level with which the model read the slot; 0 is clean.
    int level(int image, int row);

    /// Local id after verification: the final token of an accepted slot, else the draft of the next pass, or
    /// {@link #NO_TOKEN}.
    int token(int image, int row);

    /// Noise level of the next pass; 0 for final slots.
    int levelAfter(int image, int row);
}
