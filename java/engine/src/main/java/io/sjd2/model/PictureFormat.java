package io.sjd2.model;

import io.sjd2.model.TransformerConfig.Grid;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// What stands behind a prompt: a grid of codes, with structural tokens that are the same in every picture of a size.
///
/// @param grid           the grid used when no size is asked for
/// @param fixed          whether the model has learned no other grid
/// @param unit           both extents of a grid are multiples of this
/// @param pixels         edge of a code in pixels of the decoded picture
/// @param nominalPixels  edge of a code in the pixels that the model's prompts speak of
/// @param rowEnd         token id behind every row of codes, or null
/// @param pictureEnd     token ids behind the last row, in order
public record PictureFormat(
        Grid grid,
        boolean fixed,
        int unit,
        int pixels,
        int nominalPixels,
        @Nullable Integer rowEnd,
        List<Integer> pictureEnd) {
    /// Value of {@link #forced} where a code is sampled.
    public static final int SAMPLED = -1;

    private static final int MOST_CODES = 1024;

    public PictureFormat {
        pictureEnd = List.copyOf(pictureEnd);
    }

    /// A grid of codes and nothing else.
    static PictureFormat plain(Grid grid, boolean fixed, int pixels) {
        return new PictureFormat(grid, fixed, 1, pixels, pixels, null, List.of());
    }

    /// The same where a code stands for other pixels: its image tokeniser has the last word.
    PictureFormat withPixels(int edge) {
        return new PictureFormat(grid, fixed, unit, edge, nominalPixels, rowEnd, pictureEnd);
    }

    /// Positions of a picture, structural ones included.
    public int length(Grid size) {
        return size.cells() + (rowEnd == null ? 0 : size.height()) + pictureEnd.size();
    }

    /// The structural tokens, by local id less the number of codes.
    public int[] forcedTokens() {
        int rows = rowEnd == null ? 0 : 1;
        int[] tokens = new int[rows + pictureEnd.size()];
        if (rowEnd != null) {
            tokens[0] = rowEnd;
        }
        for (int i = 0; i < pictureEnd.size(); i++) {
            tokens[rows + i] = pictureEnd.get(i);
        }
        return tokens;
    }

    /// Position in the sequence of a picture's `index`-th code, structural tokens counted.
    public int positionOf(int index, Grid size, int codes) {
        int[] forced = forced(size, codes);
        if (forced == null) {
            return index;
        }
        int position = 0;
        for (int left = index; forced[position] != SAMPLED || left-- > 0; ) {
            position++;
        }
        return position;
    }

    /// Local id of the structural token at each position of a picture, {@link #SAMPLED} where a code stands; null where
    /// nothing is structural. Local id `codes + i` is `forcedTokens()[i]`.
    public int @Nullable [] forced(Grid size, int codes) {
        if (rowEnd == null && pictureEnd.isEmpty()) {
            return null;
        }
        int[] forced = new int[length(size)];
        int at = 0;
        for (int row = 0; row < size.height(); row++) {
            for (int column = 0; column < size.width(); column++) {
                forced[at++] = SAMPLED;
            }
            if (rowEnd != null) {
                forced[at++] = codes;
            }
        }
        for (int i = 0; i < pictureEnd.size(); i++) {
            forced[at++] = codes + (rowEnd == null ? 0 : 1) + i;
        }
        return forced;
    }

    /// The codes among a picture's local ids, row by row.
    public int[] codes(int[] localIds, Grid size) {
        int[] codes = new int[size.cells()];
        int stride = size.width() + (rowEnd == null ? 0 : 1);
        for (int i = 0; i < codes.length; i++) {
            codes[i] = localIds[i / size.width() * stride + i % size.width()];
        }
        return codes;
    }

    /// The grid of a picture of `width` x `height` pixels.
    ///
    /// @throws IllegalArgumentException if the model makes no pictures of that size, naming sizes that it makes
    public Grid gridOf(int width, int height, int pixelsPerCode) {
        int step = unit * pixelsPerCode;
        if (width < step
                || height < step
                || width % step != 0
                || height % step != 0
                || width / pixelsPerCode > MOST_CODES
                || height / pixelsPerCode > MOST_CODES) {
            throw new IllegalArgumentException("size is " + width + "x" + height + ", expected multiples of " + step
                    + " pixels up to " + MOST_CODES * pixelsPerCode);
        }
        Grid asked = new Grid(height / pixelsPerCode, width / pixelsPerCode);
        if (fixed && !asked.equals(grid)) {
            throw new IllegalArgumentException("size is " + width + "x" + height + ", this model makes pictures of "
                    + grid.width() * pixels + "x" + grid.height() * pixels + " only");
        }
        return asked;
    }
}
