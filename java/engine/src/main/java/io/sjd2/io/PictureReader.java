package io.sjd2.io;

import io.sjd2.tensor.RgbImage;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;
import javax.imageio.stream.MemoryCacheImageInputStream;

/// Reads pictures of the kinds that people have: PNG by [PngReader], JPEG by the JDK's own reader. Which of the two a
/// file is, its first bytes say, whatever its name.
///
/// Memory stays proportional to what the file's bytes can hold. How a camera was held is not looked at. Stateless.
public final class PictureReader {
    private static final int JPEG_START = 0xffd8;
    private static final long MAX_PIXELS = 1L << 26;
    // Every 8 x 8 block of a JPEG's finest component costs at least one bit; a header that promises more lies.
    private static final long MAX_PIXELS_PER_BYTE = 512;
    private static final String REMEDY = "the picture is damaged, or of a rare kind: export it again as PNG";

    private PictureReader() {}

    /// Whether a file's name is that of a picture that can be read.
    public static boolean accepts(Path file) {
        String name = file.getFileName().toString().toLowerCase(Locale.ROOT);
        return name.endsWith(".png") || name.endsWith(".jpg") || name.endsWith(".jpeg");
    }

    /// The picture in `file`.
    ///
    /// @throws ModelFormatException if it is missing, damaged, or of a kind that is not built
    /// @throws IOException if reading fails
    public static RgbImage read(Path file) throws IOException {
        return read(PngReader.bytes(file), file.toString());
    }

    /// The picture in a file's bytes.
    ///
    /// @param source the name that messages give it
    /// @throws ModelFormatException if it is damaged or of a kind that is not built
    public static RgbImage read(byte[] bytes, String source) throws ModelFormatException {
        boolean jpeg = bytes.length > 1 && ((bytes[0] & 0xff) << 8 | bytes[1] & 0xff) == JPEG_START;
        return jpeg ? jpeg(bytes, source) : PngReader.read(bytes, source);
    }

    private static RgbImage jpeg(byte[] bytes, String source) throws ModelFormatException {
        ImageReader reader = ImageIO.getImageReadersByFormatName("jpeg").next();
        try (ImageInputStream in = new MemoryCacheImageInputStream(new ByteArrayInputStream(bytes))) {
            reader.setInput(in, true, true);
            long pixels = (long) reader.getWidth(0) * reader.getHeight(0);
            if (Math.max(reader.getWidth(0), reader.getHeight(0)) > RgbImage.MAX_SIDE
                    || pixels > MAX_PIXELS
                    || pixels > MAX_PIXELS_PER_BYTE * bytes.length) {
                throw new ModelFormatException(
                        source,
                        "is a JPEG of " + bytes.length + " bytes that states " + reader.getWidth(0) + " x "
                                + reader.getHeight(0) + " pixels",
                        REMEDY);
            }
            return rgb(reader.read(0));
        } catch (ModelFormatException e) {
            throw e;
        } catch (IOException | RuntimeException e) {
            // The JDK's reader reports damage in many ways, unchecked ones included.
            throw new ModelFormatException(source, "cannot be read as JPEG (" + e.getMessage() + ")", REMEDY, e);
        } finally {
            reader.dispose();
        }
    }

    private static RgbImage rgb(BufferedImage image) {
        int width = image.getWidth();
        int[] line = new int[width];
        byte[] rgb = new byte[3 * width * image.getHeight()];
        for (int y = 0, at = 0; y < image.getHeight(); y++) {
            image.getRGB(0, y, width, 1, line, 0, width);
            for (int pixel : line) {
                rgb[at++] = (byte) (pixel >> 16);
                rgb[at++] = (byte) (pixel >> 8);
                rgb[at++] = (byte) pixel;
            }
        }
        return new RgbImage(width, image.getHeight(), rgb);
    }
}
