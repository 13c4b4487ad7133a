package io.sjd2.decode;

import java.util.List;
import org.jspecify.annotations.Nullable;

/// What to decode: how many positions, which of them are structural, and the sequences and randomness of each picture.
///
/// @param length  positions per picture, structural ones included; at least 1
/// @param forced  `[length]` local id of a structural token (at least the number of codes) or -1; null: nothing is
/// forced
/// @param images  the pictures; their sequences are `0 .. batch-1`, each used once
public record DecodeRequest(int length, int @Nullable [] forced, List<Image> images) {
    /// @throws IllegalArgumentException naming what does not fit
    public DecodeRequest {
        images = List.copyOf(images);
        if (length < 1) {
            throw new IllegalArgumentException("length is " + length + ", expected at least 1 position");
        }
        if (forced != null && forced.length != length) {
            throw new IllegalArgumentException("forced is [" + forced.length + "], expected [length=" + length + "]");
        }
        if (images.isEmpty()) {
            throw new IllegalArgumentException("no image to decode");
        }
        checkSequences(images);
    }

    private static void checkSequences(List<Image> images) {
        int batch = batchOf(images);
        boolean[] used = new boolean[batch];
        for (Image image : images) {
            for (int sequence : new int[] {image.cond, image.uncond}) {
                if (sequence < 0) {
                    continue;
                }
                if (sequence >= batch || used[sequence]) {
                    throw new IllegalArgumentException("sequence " + sequence + " of " + batch
                            + " is out of range or used twice; sequences are numbered without gaps");
                }
                used[sequence] = true;
            }
        }
    }

    private static int batchOf(List<Image> images) {
        return (int)
                images.stream().mapToLong(image -> image.uncond < 0 ? 1 : 2).sum();
    }

    /// Sequences in all.
    public int batch() {
        return batchOf(images);
    }

    /// One picture.
    ///
    /// @param seed    key of its random numbers
    /// @param index   the picture's own word in them: picture `index` of a seed never depends on its neighbours
    /// @param cond    sequence of its prompt
    /// @param uncond  sequence without the prompt, or -1 without guidance
    public record Image(long seed, int index, int cond, int uncond) {
        /// @throws IllegalArgumentException if `cond` is negative
        public Image {
            if (cond < 0) {
                throw new IllegalArgumentException("conditional sequence is " + cond + ", expected at least 0");
            }
        }
    }
}
