package io.sjd2.vq;

import io.sjd2.tensor.RgbImage;

/// Vector quantisation without a network: each square patch of the picture becomes the number of the nearest entry of
/// a table of patches, and a code becomes its entry. Nearest means the least squared distance of pixel values; the
/// lower number wins a tie, so the codes of a picture do not depend on the machine.
public final class PatchTokenizer implements ImageTokenizer {
    /// Values per pixel.
    private static final int CHANNELS = 3;

    private final int codes;
    private final int patch;
    private final int gridHeight;
    private final int gridWidth;
    private final int dimensions;
    private final float[] codebook;
    private final NearestCenter search;
    /// `[codes, dimensions]`: the table as pixels.
    private final byte[] pixels;

    /// @param codebook `[codes, patch, patch, 3]`, each value in [-1, 1]: -1 is 0 and 1 is 255; copied
    /// @param codes    entries of the table, at least 1
    /// @param patch    pixels along a side of a patch, 1 to 64
    /// @param gridH    patches from top to bottom, 1 to 1024
    /// @param gridW    patches from left to right, 1 to 1024
    /// @throws IllegalArgumentException naming the first argument that does not fit
    public PatchTokenizer(float[] codebook, int codes, int patch, int gridH, int gridW) {
        if (codes < 1 || codes > 1 << 20) {
            throw new IllegalArgumentException("PatchTokenizer: codes is " + codes + ", expected 1 to 1048576");
        }
        if (patch < 1 || patch > 64) {
            throw new IllegalArgumentException("PatchTokenizer: patch is " + patch + ", expected 1 to 64");
        }
        if (gridH < 1 || gridW < 1 || gridH > 1024 || gridW > 1024) {
            throw new IllegalArgumentException(
                    "PatchTokenizer: grid is " + gridH + " x " + gridW + ", expected sides from 1 to 1024");
        }
        long expected = (long) codes * CHANNELS * patch * patch;
        if (codebook.length != expected) {
            throw new IllegalArgumentException("PatchTokenizer: codebook holds " + codebook.length
                    + " values, expected codes * patch * patch * 3 = " + expected);
        }
        this.codes = codes;
        this.patch = patch;
        this.gridHeight = gridH;
        this.gridWidth = gridW;
        this.dimensions = CHANNELS * patch * patch;
        this.codebook = codebook.clone();
        this.pixels = new byte[codebook.length];
        for (int code = 0; code < codes; code++) {
            for (int d = 0; d < dimensions; d++) {
                float value = codebook[code * dimensions + d];
                if (!(value >= -1 && value <= 1)) {
                    throw new IllegalArgumentException("PatchTokenizer: codebook value " + value + " of code " + code
                            + ", expected values in [-1, 1]");
                }
                pixels[code * dimensions + d] = (byte) Math.round((value + 1) * 127.5f);
            }
        }
        this.search = new NearestCenter(this.codebook, codes, dimensions);
    }

    @Override
    public int gridHeight() {
        return gridHeight;
    }

    @Override
    public int gridWidth() {
        return gridWidth;
    }

    @Override
    public int codes() {
        return codes;
    }

    /// Pixels along a side of a patch.
    public int patch() {
        return patch;
    }

    /// The table.
    /// @return `[codes, patch, patch, 3]` in [-1, 1], a copy
    public float[] codebook() {
        return codebook.clone();
    }

    @Override
    public int[] encode(RgbImage image) {
        int width = gridWidth * patch;
        int height = gridHeight * patch;
        if (image.width() != width || image.height() != height) {
            throw new IllegalArgumentException("PatchTokenizer: the picture is " + image.width() + " x "
                    + image.height() + ", expected " + width + " x " + height + "; scale or crop it first");
        }
        int[] result = new int[gridHeight * gridWidth];
        float[] values = new float[dimensions];
        NearestCenter own = search.fork();
        for (int cell = 0; cell < result.length; cell++) {
            readPatch(image, cell / gridWidth, cell % gridWidth, patch, values, 0);
            result[cell] = own.find(values, 0);
        }
        return result;
    }

    /// Reads one patch as values in [-1, 1].
    static void readPatch(RgbImage image, int row, int column, int patch, float[] out, int at) {
        byte[] rgb = image.rgb();
        for (int y = 0; y < patch; y++) {
            int from = CHANNELS * ((row * patch + y) * image.width() + column * patch);
            for (int i = 0; i < CHANNELS * patch; i++) {
                out[at++] = (rgb[from + i] & 0xff) / 127.5f - 1;
            }
        }
    }

    @Override
    public RgbImage decode(int[] grid) {
        if (grid.length != gridHeight * gridWidth) {
            throw new IllegalArgumentException("PatchTokenizer: " + grid.length + " codes given, expected " + gridHeight
                    + " * " + gridWidth + " = " + gridHeight * gridWidth);
        }
        RgbImage image = RgbImage.blank(gridWidth * patch, gridHeight * patch);
        int row = CHANNELS * patch;
        for (int cell = 0; cell < grid.length; cell++) {
            int code = grid[cell];
            if (code < 0 || code >= codes) {
                throw new IllegalArgumentException(
                        "PatchTokenizer: code " + code + " at cell " + cell + ", expected 0 to " + (codes - 1));
            }
            for (int y = 0; y < patch; y++) {
                int to = CHANNELS * ((cell / gridWidth * patch + y) * image.width() + cell % gridWidth * patch);
                System.arraycopy(pixels, code * dimensions + y * row, image.rgb(), to, row);
            }
        }
        return image;
    }
}
