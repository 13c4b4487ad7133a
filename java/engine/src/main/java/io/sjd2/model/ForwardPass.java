package io.sjd2.model;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.WindowState;
import io.sjd2.tensor.Tensor;

/// One parallel causal pass over the windows of a batch: all that a decoder knows of a model.
///
/// Implementations hold the prompts' KV cache. The last prompt token of a sequence is not cached: it is the input of
/// row 0
/// of the first pass. Confined to the backend's thread.
public interface ForwardPass {
    /// The backend whose memory all tensors live in.
    Backend backend();

    /// Number of sampled ids, the width of the logits.
    int codes();

    /// Width of the window input.
    int hiddenSize();

    /// Whether the model was fine-tuned for noisy inputs, so that `levels > 0` is possible.
    boolean fineTuned();

    /// What turns drafts into inputs, with a schedule of `levels` noise levels (0: none).
    ///
    /// @throws IllegalArgumentException if `levels > 0` and the model is not fine-tuned for it
    DraftEmbeddings embeddings(int levels);

    /// Cache entries of sequence `sequence` before the first pass: its prompt's length less one.
    int promptLength(int sequence);

    /// Index in the table of rotary positions of the first pass's first row. Differs from {@link #promptLength} where a
    /// prompt's padding takes positions but no cache entries.
    default int promptPosition(int sequence) {
        return promptLength(sequence);
    }

    /// From window input to logits, for the live rows that `state` tells. Appends the rows' keys and values to the
    /// cache.
    ///
    /// @param windowInput  `[images, window, hidden_size]` f32
    /// @param logits       `[batch, window, codes]` f32, written for live rows
    void run(Tensor windowInput, Tensor logits, WindowState window, StateBlock state);
}
