package io.sjd2.io;

import io.sjd2.tensor.RgbImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.zip.CRC32;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/// Reads PNG pictures of 8 bits per channel, RGB or grey, with or without alpha, not interlaced, and their text.
///
/// Alpha is laid over white. Everything else, palettes and 16 bits included, is a [ModelFormatException] that says so;
/// so is any damage, since every checksum is verified. Memory stays proportional to what the file's compressed bytes
/// can really hold. Stateless.
public final class PngReader {
    private static final String REMEDY = "the picture is damaged, fetch or export it again";
    private static final String CONVERT = "convert the picture to 8-bit RGB without interlacing";
    private static final int CHUNK_OVERHEAD = 12;
    private static final int MAX_TEXT_BYTES = 1 << 20;
    private static final int MAX_KEYWORD = 79;
    private static final long MAX_FILE_BYTES = 1L << 29;
    private static final long MAX_PIXELS = 1L << 26;
    // Deflate cannot express more than 1032 bytes in one; a header that promises more lies.
    private static final long MAX_EXPANSION = 1040;

    private final String source;
    private final ByteBuffer in;
    private final ByteArrayOutputStream compressed = new ByteArrayOutputStream();
    private final Map<String, String> text = new LinkedHashMap<>();
    private int width;
    private int height;
    private int channels;

    private PngReader(byte[] png, String source) {
        this.in = ByteBuffer.wrap(png);
        this.source = source;
    }

    /// The picture in `file`.
    ///
    /// @throws ModelFormatException if it is missing, damaged, or of a kind that is not built
    /// @throws IOException if reading fails
    public static RgbImage read(Path file) throws IOException {
        return read(bytes(file), file.toString());
    }

    /// The picture in a PNG file's bytes.
    ///
    /// @param source the name that messages give it
    /// @throws ModelFormatException if it is damaged or of a kind that is not built
    public static RgbImage read(byte[] png, String source) throws ModelFormatException {
        PngReader reader = new PngReader(png, source);
        reader.readChunks();
        return reader.decode();
    }

    /// The text attached to the picture in `file`: keyword to text, of a repeated keyword the first.
    ///
    /// @throws ModelFormatException if it is missing or damaged
    /// @throws IOException if reading fails
    public static Map<String, String> text(Path file) throws IOException {
        return text(bytes(file), file.toString());
    }

    /// The text attached to a PNG file's bytes.
    ///
    /// @param source the name that messages give it
    /// @throws ModelFormatException if it is damaged
    public static Map<String, String> text(byte[] png, String source) throws ModelFormatException {
        PngReader reader = new PngReader(png, source);
        reader.readChunks();
        return reader.text;
    }

    static byte[] bytes(Path file) throws IOException {
        if (!Files.isRegularFile(file)) {
            throw new ModelFormatException(
                    file.toString(), Files.exists(file) ? "is not a regular file" : "does not exist", "check the path");
        }
        long size = Files.size(file);
        if (size > MAX_FILE_BYTES) {
            throw new ModelFormatException(
                    file.toString(), "has " + size + " bytes", "use a picture of less than " + MAX_FILE_BYTES);
        }
        return Files.readAllBytes(file);
    }

    private void readChunks() throws ModelFormatException {
        byte[] signature = new byte[Png.SIGNATURE.length];
        if (in.remaining() >= signature.length) {
            in.get(signature);
        }
        if (!java.util.Arrays.equals(signature, Png.SIGNATURE)) {
            throw failure("does not start like a PNG file", CONVERT);
        }
        boolean first = true;
        while (true) {
            if (in.remaining() < CHUNK_OVERHEAD) {
                throw failure("ends in the middle, after " + in.position() + " bytes", REMEDY);
            }
            int length = in.getInt();
            if (length < 0 || length > in.remaining() - 8) {
                throw failure(
                        "has a chunk of " + Integer.toUnsignedString(length) + " bytes at " + (in.position() - 4)
                                + ", beyond its end",
                        REMEDY);
            }
            CRC32 crc = new CRC32();
            crc.update(in.array(), in.position(), length + 4);
            int type = in.getInt();
            ByteBuffer body = in.slice(in.position(), length);
            in.position(in.position() + length);
            if (in.getInt() != (int) crc.getValue()) {
                throw failure("has a wrong checksum in chunk " + name(type), REMEDY);
            }
            if (first != (type == Png.IHDR)) {
                throw failure("has its header chunk in the wrong place", REMEDY);
            }
            first = false;
            if (type == Png.IEND) {
                return;
            }
            readChunk(type, body);
        }
    }

    private void readChunk(int type, ByteBuffer body) throws ModelFormatException {
        if (type == Png.IHDR) {
            readHeader(body);
        } else if (type == Png.IDAT) {
            compressed.write(body.array(), body.arrayOffset(), body.remaining());
        } else if (type == Png.TEXT || type == Png.ZTXT || type == Png.ITXT) {
            readText(type, body);
        } else if (type == Png.TRNS) {
            throw failure("has a transparent colour (chunk tRNS)", CONVERT);
        } else if (type != Png.PLTE && (type >>> 24 & 0x20) == 0) {
            throw failure("needs the unknown chunk " + name(type), CONVERT);
        }
    }

    private void readHeader(ByteBuffer body) throws ModelFormatException {
        if (body.remaining() != 13) {
            throw failure("has a header of " + body.remaining() + " bytes, not 13", REMEDY);
        }
        width = body.getInt();
        height = body.getInt();
        int depth = body.get();
        int colour = body.get();
        int compression = body.get();
        int filtering = body.get();
        int interlacing = body.get();
        if (width < 1
                || height < 1
                || width > RgbImage.MAX_SIDE
                || height > RgbImage.MAX_SIDE
                || (long) width * height > MAX_PIXELS) {
            throw failure(
                    "is " + Integer.toUnsignedString(width) + " x " + Integer.toUnsignedString(height) + " pixels",
                    "use a picture of at most " + MAX_PIXELS + " pixels, sides at most " + RgbImage.MAX_SIDE);
        }
        channels = switch (colour) {
            case 0 -> 1;
            case 2 -> 3;
            case 4 -> 2;
            case 6 -> 4;
            default -> 0;
        };
        if (depth != 8 || channels == 0 || interlacing != 0) {
            throw failure(
                    "has depth " + depth + ", colour type " + colour + (interlacing == 0 ? "" : ", interlaced"),
                    CONVERT);
        }
        if (compression != 0 || filtering != 0) {
            throw failure("has compression " + compression + " and filtering " + filtering, REMEDY);
        }
    }

    private void readText(int type, ByteBuffer body) throws ModelFormatException {
        String keyword = zeroTerminated(body, StandardCharsets.ISO_8859_1);
        if (keyword.isEmpty() || keyword.length() > MAX_KEYWORD) {
            throw failure("has text under a keyword of " + keyword.length() + " characters", REMEDY);
        }
        boolean packed = type == Png.ZTXT;
        int headerBytes = type == Png.ZTXT ? 1 : type == Png.ITXT ? 2 : 0;
        if (body.remaining() < headerBytes) {
            throw failure("has text that ends early under the keyword " + keyword, REMEDY);
        }
        if (type == Png.ITXT) {
            packed = body.get() != 0;
        }
        if (headerBytes > 0 && body.get() != 0) {
            throw failure("has text in an unknown compression under the keyword " + keyword, REMEDY);
        }
        if (type == Png.ITXT) {
            zeroTerminated(body, StandardCharsets.US_ASCII); // language
            zeroTerminated(body, StandardCharsets.UTF_8); // translated keyword
        }
        byte[] bytes = new byte[body.remaining()];
        body.get(bytes);
        if (packed) {
            bytes = inflateText(bytes, keyword);
        }
        Charset charset = type == Png.ITXT ? StandardCharsets.UTF_8 : StandardCharsets.ISO_8859_1;
        text.putIfAbsent(keyword, new String(bytes, charset));
    }

    private String zeroTerminated(ByteBuffer body, Charset charset) throws ModelFormatException {
        int start = body.position();
        for (int end = start; end < body.limit(); end++) {
            if (body.get(end) == 0) {
                byte[] bytes = new byte[end - start];
                body.get(bytes).get();
                return new String(bytes, charset);
            }
        }
        throw failure("has a text chunk without the zero that ends its keyword", REMEDY);
    }

    private byte[] inflateText(byte[] bytes, String keyword) throws ModelFormatException {
        Inflater inflater = new Inflater();
        try {
            inflater.setInput(bytes);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] piece = new byte[1 << 12];
            while (!inflater.finished()) {
                int read = inflater.inflate(piece);
                if (read == 0 && !inflater.finished() || out.size() + read > MAX_TEXT_BYTES) {
                    throw failure("has text that is cut off or too long under the keyword " + keyword, REMEDY);
                }
                out.write(piece, 0, read);
            }
            return out.toByteArray();
        } catch (DataFormatException e) {
            throw new ModelFormatException(source, "has text that cannot be unpacked: " + e.getMessage(), REMEDY, e);
        } finally {
            inflater.end();
        }
    }

    private RgbImage decode() throws ModelFormatException {
        int rowBytes = width * channels;
        long rawBytes = (1L + rowBytes) * height;
        if (rawBytes > MAX_EXPANSION * compressed.size()) {
            throw failure(
                    "promises " + width + " x " + height + " pixels in " + compressed.size() + " bytes of data",
                    REMEDY);
        }
        byte[] rgb = new byte[3 * width * height];
        byte[] above = new byte[rowBytes];
        byte[] row = new byte[rowBytes];
        byte[] filter = new byte[1];
        Inflater inflater = new Inflater();
        try {
            inflater.setInput(compressed.toByteArray());
            for (int y = 0; y < height; y++) {
                inflate(inflater, filter, y);
                inflate(inflater, row, y);
                if (filter[0] < Png.FILTER_NONE || filter[0] > Png.FILTER_PAETH) {
                    throw failure("uses row filter " + filter[0] + " in row " + y, REMEDY);
                }
                unfilter(filter[0], row, above);
                copyRow(row, rgb, y);
                byte[] swap = above;
                above = row;
                row = swap;
            }
            // One byte more must not be there; asking for it also makes the inflater verify its checksum.
            if (inflater.inflate(filter) != 0 || !inflater.finished()) {
                throw failure("holds more data than its " + width + " x " + height + " pixels need", REMEDY);
            }
        } catch (DataFormatException e) {
            throw new ModelFormatException(source, "cannot be unpacked: " + e.getMessage(), REMEDY, e);
        } finally {
            inflater.end();
        }
        return new RgbImage(width, height, rgb);
    }

    private void inflate(Inflater inflater, byte[] out, int y) throws ModelFormatException, DataFormatException {
        int done = 0;
        while (done < out.length) {
            int read = inflater.inflate(out, done, out.length - done);
            if (read == 0) {
                throw failure("ends in row " + y + " of " + height, REMEDY);
            }
            done += read;
        }
    }

    private void unfilter(int filter, byte[] row, byte[] above) {
        for (int i = 0; i < row.length; i++) {
            int left = i < channels ? 0 : row[i - channels] & 0xff;
            int corner = i < channels ? 0 : above[i - channels] & 0xff;
            row[i] += (byte) Png.predict(filter, left, above[i] & 0xff, corner);
        }
    }

    private void copyRow(byte[] row, byte[] rgb, int y) {
        int out = 3 * width * y;
        boolean hasAlpha = channels % 2 == 0;
        int colours = channels < 3 ? 1 : 3;
        for (int x = 0; x < width; x++) {
            int pixel = x * channels;
            int alpha = hasAlpha ? row[pixel + colours] & 0xff : 255;
            for (int c = 0; c < 3; c++) {
                int value = row[pixel + c % colours] & 0xff;
                rgb[out++] = (byte) ((value * alpha + 255 * (255 - alpha) + 127) / 255);
            }
        }
    }

    private ModelFormatException failure(String problem, String remedy) {
        return new ModelFormatException(source, problem, remedy);
    }

    private static String name(int type) {
        StringBuilder name = new StringBuilder();
        for (int shift = 24; shift >= 0; shift -= 8) {
            int c = type >>> shift & 0xff;
            name.append(c > ' ' && c < 0x7f ? (char) c : '?');
        }
        return name.toString();
    }
}
