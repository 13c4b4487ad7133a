package io.sjd2.kernel;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// The window of every image: drafts, their noisy embeddings, their probability rows, and the tokens committed so far.
///
/// Sized once; nothing here is reallocated while decoding. All tensors live in the backend's memory. The slot of
/// absolute position `a` is at ring index `a % window`.
///
/// @param tokens  `[images, max_length]` i32 local ids, valid up to each image's `committed`
/// @param drafts  `[images, window, 4]` i32: token, kind, level, age (`sjd2_draft`)
/// @param noisy   `[images, window, hidden_size]` f32: `z = e / alpha` of noisy slots; null when no image uses noise
/// @param probs   `[images, 2, window, codes]` f32: targets and drafts' rows, swapping roles every iteration
/// @param forced  `[max_length]` i32: local id of a structural token or -1; null when nothing is forced
/// @param codes   number of sampled ids
public record WindowState(
        Tensor tokens,
        Tensor drafts,
        @Nullable Tensor noisy,
        Tensor probs,
        @Nullable Tensor forced,
        int codes) {
    /// Ints of one draft.
    public static final int DRAFT_INTS = 4;

    /// Makes every slot fresh again. What lies in the other tensors then is not read: a fresh slot has no noise and no
    /// row, and no token counts that is not committed.
    public void clear(Backend backend) {
        backend.upload(drafts, MemorySegment.ofArray(new int[Math.toIntExact(drafts.elements())]));
    }

    /// Allocates an empty window: every slot fresh (kind NONE, level 0; the decoder sets levels before the first pass).
    public static WindowState allocate(
            Backend backend,
            Arena owner,
            int images,
            int window,
            int maxLength,
            int codes,
            int hiddenSize,
            boolean noise,
            boolean forced) {
        return new WindowState(
                backend.allocate(owner, DType.I32, images, maxLength),
                backend.allocate(owner, DType.I32, images, window, DRAFT_INTS),
                noise ? backend.allocate(owner, DType.F32, images, window, hiddenSize) : null,
                backend.allocate(owner, DType.F32, images, 2, window, codes),
                forced ? backend.allocate(owner, DType.I32, maxLength) : null,
                codes);
    }
}
