package io.sjd2.train;

import io.sjd2.model.Prompt;
import org.jspecify.annotations.Nullable;

/// Captioned pictures as tokens. Safe to use from several threads.
public interface TrainingData {
    /// How many examples there are.
    long size();

    /// An example: always the same one for an index.
    ///
    /// @param index 0 to `size() - 1`
    Example example(long index);

    /// A caption and its picture.
    ///
    /// @param caption text tokens, without begin tokens
    /// @param codes   image codes, row by row
    /// @param prompts what stands before the picture where the caption has no frame of ours; else null
    record Example(int[] caption, int[] codes, @Nullable Prompts prompts) {
        public Example(int[] caption, int[] codes) {
            this(caption, codes, null);
        }
    }

    /// A family's whole prompt, and the one that guidance compares it with.
    record Prompts(Prompt conditional, Prompt unconditional) {
        /// Positions of the longer one, padding in front of it included.
        public int longest() {
            return Math.max(
                    conditional.position() + conditional.length(), unconditional.position() + unconditional.length());
        }
    }
}
