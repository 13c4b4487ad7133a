package io.sjd2.scenes;

import io.sjd2.tensor.RgbImage;
import java.util.Arrays;
import java.util.List;

/// Lays pictures of one size out in rows, for looking at many at once.
public final class ContactSheet {
    /// Pixels between two pictures and around them, after scaling.
    public static final int GUTTER = 4;

    private static final byte GUTTER_GREY = 96;

    private ContactSheet() {}

    /// Arranges pictures row by row, the last row perhaps incomplete.
    /// @param images  at least one, all of one size
    /// @param columns pictures per row, at least 1
    /// @param scale   how many pixels a pixel becomes along each side, at least 1
    /// @throws IllegalArgumentException if there is no picture, sizes differ, or the sheet would be too large
    public static RgbImage of(List<RgbImage> images, int columns, int scale) {
        if (images.isEmpty() || columns < 1 || scale < 1) {
            throw new IllegalArgumentException("ContactSheet: " + images.size() + " pictures in " + columns
                    + " columns at scale " + scale + ", expected at least one of each");
        }
        int width = images.get(0).width();
        int height = images.get(0).height();
        for (RgbImage image : images) {
            if (image.width() != width || image.height() != height) {
                throw new IllegalArgumentException("ContactSheet: a picture of " + image.width() + " x "
                        + image.height() + " among those of " + width + " x " + height);
            }
        }
        int used = Math.min(columns, images.size());
        int rows = Math.ceilDiv(images.size(), columns);
        long sheetWidth = used * ((long) width * scale + GUTTER) + GUTTER;
        long sheetHeight = rows * ((long) height * scale + GUTTER) + GUTTER;
        if (sheetWidth > RgbImage.MAX_SIDE || sheetHeight > RgbImage.MAX_SIDE) {
            throw new IllegalArgumentException("ContactSheet: the sheet would be " + sheetWidth + " x " + sheetHeight
                    + " pixels, at most " + RgbImage.MAX_SIDE + " a side; use fewer pictures or a smaller scale");
        }
        RgbImage sheet = RgbImage.blank((int) sheetWidth, (int) sheetHeight);
        Arrays.fill(sheet.rgb(), GUTTER_GREY);
        for (int i = 0; i < images.size(); i++) {
            int left = GUTTER + i % columns * (width * scale + GUTTER);
            int top = GUTTER + i / columns * (height * scale + GUTTER);
            paste(images.get(i), scale, sheet, left, top);
        }
        return sheet;
    }

    private static void paste(RgbImage image, int scale, RgbImage sheet, int left, int top) {
        for (int y = 0; y < image.height() * scale; y++) {
            for (int x = 0; x < image.width() * scale; x++) {
                int from = 3 * (y / scale * image.width() + x / scale);
                int to = 3 * ((top + y) * sheet.width() + left + x);
                System.arraycopy(image.rgb(), from, sheet.rgb(), to, 3);
            }
        }
    }
}
