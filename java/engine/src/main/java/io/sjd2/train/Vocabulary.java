package io.sjd2.train;

import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;

/// Ids that frame a training sequence: `<bos>` caption `<boi>` image codes.
///
/// @param size            ids in all
/// @param bosToken        starts every sequence
/// @param imageBeginToken stands before the image
/// @param firstImageToken id of image code 0
/// @param codes           image codes
/// @param gridHeight      rows of the image
/// @param gridWidth       columns of the image
public record Vocabulary(
        int size, int bosToken, int imageBeginToken, int firstImageToken, int codes, int gridHeight, int gridWidth) {

    /// The ids of a tokenizer made by {@link WordTokenizerBuilder}.
    ///
    /// @throws IllegalArgumentException if the tokenizer lacks the image tokens
    public static Vocabulary of(Tokenizer tokenizer, int codes, int gridHeight, int gridWidth) {
        int first = tokenizer.idOf(WordTokenizerBuilder.imageToken(0, codes));
        int last = tokenizer.idOf(WordTokenizerBuilder.imageToken(codes - 1, codes));
        if (first < 0 || last != first + codes - 1) {
            throw new IllegalArgumentException(
                    "the tokenizer has no run of " + codes + " image tokens; make it for the image tokeniser's codes");
        }
        return new Vocabulary(
                tokenizer.size(),
                WordTokenizerBuilder.BOS_ID,
                WordTokenizerBuilder.BOI_ID,
                first,
                codes,
                gridHeight,
                gridWidth);
    }

    int cells() {
        return gridHeight * gridWidth;
    }
}
