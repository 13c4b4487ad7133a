package io.sjd2.tensor;

import java.util.Arrays;

/// A picture in memory: 8-bit RGB, interleaved, row-major, top row first, no padding.
///
/// The pixel array is shared, not copied, on the way in and on the way out: an image owns its array from the moment of
/// construction, and whoever writes to it afterwards changes the image. Instances are safe to share between threads
/// as long as nobody does. Two images are equal when their sizes and all their bytes are.
///
/// @param width  pixels per row, 1 to 65,535
/// @param height rows, 1 to 65,535
/// @param rgb    `[height, width, 3]`, unsigned bytes
public record RgbImage(int width, int height, byte[] rgb) {
    /// The longest side accepted; keeps `3 * width * height` far from overflowing a long.
    public static final int MAX_SIDE = 65_535;

    /// @throws IllegalArgumentException if a side is out of range or `rgb` is not `3 * width * height` bytes long
    public RgbImage {
        long bytes = byteCount(width, height);
        if (rgb.length != bytes) {
            throw new IllegalArgumentException(
                    "RgbImage: " + rgb.length + " bytes given, expected 3 * " + width + " * " + height + " = " + bytes);
        }
    }

    /// A black image.
    /// @throws IllegalArgumentException if a side is out of range or the image would not fit into one Java array
    public static RgbImage blank(int width, int height) {
        long bytes = byteCount(width, height);
        if (bytes > Integer.MAX_VALUE - 8) {
            throw new IllegalArgumentException("RgbImage: " + width + " x " + height + " needs " + bytes
                    + " bytes, more than one array holds; use a smaller image");
        }
        return new RgbImage(width, height, new byte[(int) bytes]);
    }

    private static long byteCount(int width, int height) {
        if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE) {
            throw new IllegalArgumentException(
                    "RgbImage: size " + width + " x " + height + ", expected sides from 1 to " + MAX_SIDE);
        }
        return 3L * width * height;
    }

    /// One channel of one pixel, 0 to 255.
    /// @param x column, 0 at the left
    /// @param y row, 0 at the top
    /// @param channel 0 red, 1 green, 2 blue
    /// @throws IndexOutOfBoundsException if any of them is outside the image
    public int channel(int x, int y, int channel) {
        if (x < 0 || y < 0 || x >= width || y >= height || channel < 0 || channel > 2) {
            throw new IndexOutOfBoundsException(
                    "pixel (" + x + ", " + y + ") channel " + channel + " of a " + width + " x " + height + " image");
        }
        return rgb[3 * (y * width + x) + channel] & 0xff;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof RgbImage that
                && width == that.width
                && height == that.height
                && Arrays.equals(rgb, that.rgb);
    }

    @Override
    public int hashCode() {
        return 31 * (31 * width + height) + Arrays.hashCode(rgb);
    }

    @Override
    public String toString() {
        return "RgbImage[" + width + " x " + height + "]";
    }
}
