package io.sjd2.io;

import io.sjd2.tensor.RgbImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import java.util.zip.DeflaterOutputStream;

/// Writes pictures as 8-bit RGB PNG with text attached. Written by hand so that the runtime needs no `java.desktop`.
///
/// The same picture and text give the same bytes. Stateless.
public final class PngWriter {
    private static final int MAX_KEYWORD = 79;

    private PngWriter() {}

    /// Writes `image` to `file`, atomically.
    ///
    /// @param text keyword to text, in the order in which it is to stand in the file. A keyword has 1 to 79
    ///             printable Latin-1 characters without spaces at its ends; the text may hold anything
    /// @throws IllegalArgumentException naming a keyword that the format does not allow
    /// @throws IOException naming the file, if it cannot be written; an older file then stays as it was
    public static void write(Path file, RgbImage image, Map<String, String> text) throws IOException {
        AtomicFiles.write(file, encode(image, text));
    }

    /// The bytes of a PNG file; parameters as in [#write].
    public static byte[] encode(RgbImage image, Map<String, String> text) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(Png.SIGNATURE);
        ByteBuffer header = ByteBuffer.allocate(13);
        header.putInt(image.width()).putInt(image.height());
        // 8 bits, RGB, and the only compression, filtering and interlacing codes that mean "ordinary".
        header.put(new byte[] {8, 2, 0, 0, 0});
        chunk(out, Png.IHDR, header.array());
        text.forEach((keyword, value) -> text(out, keyword, clean(value)));
        chunk(out, Png.IDAT, compress(image));
        chunk(out, Png.IEND, new byte[0]);
        return out.toByteArray();
    }

    private static byte[] compress(RgbImage image) {
        Deflater deflater = new Deflater(Deflater.BEST_COMPRESSION);
        try {
            ByteArrayOutputStream compressed = new ByteArrayOutputStream();
            try (DeflaterOutputStream out = new DeflaterOutputStream(compressed, deflater, 1 << 16)) {
                int rowBytes = 3 * image.width();
                byte[] zeros = new byte[rowBytes];
                byte[] above = zeros;
                byte[] row = new byte[rowBytes];
                byte[] best = new byte[rowBytes + 1];
                byte[] candidate = new byte[rowBytes + 1];
                for (int y = 0; y < image.height(); y++) {
                    System.arraycopy(image.rgb(), y * rowBytes, row, 0, rowBytes);
                    long bestCost = Long.MAX_VALUE;
                    for (int filter = Png.FILTER_NONE; filter <= Png.FILTER_PAETH; filter++) {
                        long cost = filter(filter, row, above, candidate);
                        if (cost < bestCost) {
                            bestCost = cost;
                            byte[] swap = best;
                            best = candidate;
                            candidate = swap;
                        }
                    }
                    out.write(best);
                    byte[] swap = above == zeros ? new byte[rowBytes] : above;
                    above = row;
                    row = swap;
                }
            }
            return compressed.toByteArray();
        } catch (IOException e) {
            throw new AssertionError("writing to memory cannot fail", e);
        } finally {
            deflater.end();
        }
    }

    /// Fills `out` with the filtered row and returns the sum of its bytes taken as signed, the usual guess at how well
    /// it will compress.
    private static long filter(int filter, byte[] row, byte[] above, byte[] out) {
        out[0] = (byte) filter;
        long cost = 0;
        for (int i = 0; i < row.length; i++) {
            int left = i < 3 ? 0 : row[i - 3] & 0xff;
            int corner = i < 3 ? 0 : above[i - 3] & 0xff;
            byte difference = (byte) (row[i] - Png.predict(filter, left, above[i] & 0xff, corner));
            out[i + 1] = difference;
            cost += Math.abs(difference);
        }
        return cost;
    }

    private static void text(ByteArrayOutputStream out, String keyword, String value) {
        byte[] key = keyword.getBytes(StandardCharsets.ISO_8859_1);
        boolean allowed = !keyword.isEmpty()
                && keyword.length() <= MAX_KEYWORD
                && keyword.chars().allMatch(c -> c >= ' ' && c <= '~' || c > 0xa0 && c <= 0xff)
                && !keyword.startsWith(" ")
                && !keyword.endsWith(" ")
                && !keyword.contains("  ");
        if (!allowed) {
            throw new IllegalArgumentException(
                    "PNG keyword \"" + keyword + "\": expected 1 to 79 Latin-1 characters without stray spaces");
        }
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        body.writeBytes(key);
        body.write(0);
        boolean latin = value.chars().allMatch(c -> c == '\n' || c >= ' ' && c <= '~' || c > 0xa0 && c <= 0xff);
        if (latin) {
            body.writeBytes(value.getBytes(StandardCharsets.ISO_8859_1));
            chunk(out, Png.TEXT, body.toByteArray());
        } else {
            // Not compressed, method 0, no language, no translated keyword.
            body.writeBytes(new byte[] {0, 0, 0, 0});
            body.writeBytes(value.getBytes(StandardCharsets.UTF_8));
            chunk(out, Png.ITXT, body.toByteArray());
        }
    }

    /// The format allows no zero, and UTF-8 no lone surrogate: both become the replacement character.
    private static String clean(String text) {
        StringBuilder clean = new StringBuilder(text.length());
        text.codePoints()
                .map(c -> c == 0 || c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE ? 0xfffd : c)
                .forEach(clean::appendCodePoint);
        return clean.toString();
    }

    private static void chunk(ByteArrayOutputStream out, int type, byte[] body) {
        ByteBuffer chunk = ByteBuffer.allocate(body.length + 12);
        chunk.putInt(body.length).putInt(type).put(body);
        CRC32 crc = new CRC32();
        crc.update(chunk.array(), 4, body.length + 4);
        chunk.putInt((int) crc.getValue());
        out.writeBytes(chunk.array());
    }
}
