package io.sjd2.train;

import io.sjd2.model.ModelDescription;
import io.sjd2.model.PictureFormat;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Ids of a training sequence: `<bos>` caption `<boi>` image codes; or a whole prompt and the picture behind it, as a
/// published family lays it out.
///
/// @param size            ids in all
/// @param bosToken        starts every sequence
/// @param imageBeginToken stands before the image
/// @param firstImageToken id of image code 0
/// @param codes           image codes
/// @param gridHeight      rows of the image
/// @param gridWidth       columns of the image
/// @param picture         a published family's picture, or null
public record Vocabulary(
        int size,
        int bosToken,
        int imageBeginToken,
        int firstImageToken,
        int codes,
        int gridHeight,
        int gridWidth,
        @Nullable Picture picture) {

    /// What stands behind a prompt that comes with its own frame.
    ///
    /// @param tokens     row of the embedding table of each code. Not copied: do not write to it
    /// @param structural token of each position that holds no code, -1 where one does. Not copied
    /// @param apart      whether codes are no tokens, so that `tokens` is the codes themselves
    public record Picture(int[] tokens, int[] structural, boolean apart) {}

    /// Sequences framed by `<bos>` and `<boi>`.
    public Vocabulary(
            int size,
            int bosToken,
            int imageBeginToken,
            int firstImageToken,
            int codes,
            int gridHeight,
            int gridWidth) {
        this(size, bosToken, imageBeginToken, firstImageToken, codes, gridHeight, gridWidth, null);
    }

    /// A published family's sequences for pictures of one size.
    public static Vocabulary of(ModelDescription description, Grid grid) {
        int codes = description.codes();
        int[] forced = description.picture().forced(grid, codes);
        int[] structural = new int[description.picture().length(grid)];
        Arrays.fill(structural, -1);
        for (int i = 0; forced != null && i < forced.length; i++) {
            structural[i] = forced[i] == PictureFormat.SAMPLED ? -1 : description.token(forced[i]);
        }
        return new Vocabulary(
                description.transformer().vocabSize(),
                -1,
                -1,
                -1,
                codes,
                grid.height(),
                grid.width(),
                new Picture(description.codeMap().tokens(), structural, description.imageTable()));
    }

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

    /// Cells of the grid.
    public int cells() {
        return gridHeight * gridWidth;
    }

    /// Positions of a picture, structural ones included.
    int length() {
        return picture == null ? cells() : picture.structural().length;
    }

    /// Token of a picture's position that holds no code; -1 where one does.
    int structural(int position) {
        return picture == null ? -1 : picture.structural()[position];
    }

    /// Whether codes are no tokens.
    boolean apart() {
        return picture != null && picture.apart();
    }

    /// Row of the embedding table of a code.
    int token(int code) {
        return picture == null ? firstImageToken + code : picture.tokens()[code];
    }
}
