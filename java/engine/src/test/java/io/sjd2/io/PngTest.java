package io.sjd2.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.tensor.RgbImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PngTest {
    private static RgbImage random(int width, int height, long seed) {
        byte[] rgb = new byte[3 * width * height];
        new Random(seed).nextBytes(rgb);
        return new RgbImage(width, height, rgb);
    }

    private static RgbImage smooth(int width, int height) {
        byte[] rgb = new byte[3 * width * height];
        for (int i = 0; i < rgb.length; i++) {
            rgb[i] = (byte) (i / 3 % width + i / 3 / width + 40 * (i % 3));
        }
        return new RgbImage(width, height, rgb);
    }

    /// A PNG put together by hand, so that reader and writer are not only checked against each other.
    private static byte[] png(
            int width, int height, int depth, int colour, int interlace, byte[] raw, byte[]... before) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(new byte[] {(byte) 0x89, 'P', 'N', 'G', 13, 10, 26, 10});
        byte[] header = ByteBuffer.allocate(13)
                .putInt(width)
                .putInt(height)
                .put(new byte[] {(byte) depth, (byte) colour, 0, 0, (byte) interlace})
                .array();
        out.writeBytes(chunk("IHDR", header));
        for (byte[] chunk : before) {
            out.writeBytes(chunk);
        }
        byte[] data = deflate(raw);
        int half = data.length / 2;
        out.writeBytes(chunk("IDAT", Arrays.copyOf(data, half)));
        out.writeBytes(chunk("IDAT", Arrays.copyOfRange(data, half, data.length)));
        out.writeBytes(chunk("IEND", new byte[0]));
        return out.toByteArray();
    }

    private static byte[] deflate(byte[] raw) {
        Deflater deflater = new Deflater();
        deflater.setInput(raw);
        deflater.finish();
        byte[] data = new byte[raw.length + 100];
        int length = deflater.deflate(data);
        deflater.end();
        return Arrays.copyOf(data, length);
    }

    private static byte[] chunk(String type, byte[] body) {
        byte[] name = type.getBytes(StandardCharsets.US_ASCII);
        CRC32 crc = new CRC32();
        crc.update(name);
        crc.update(body);
        return ByteBuffer.allocate(12 + body.length)
                .putInt(body.length)
                .put(name)
                .put(body)
                .putInt((int) crc.getValue())
                .array();
    }

    @ParameterizedTest
    @CsvSource({"1,1", "1,7", "7,1", "64,64", "129,3", "3,300"})
    void whatIsWrittenReadsBack(int width, int height) throws IOException {
        for (RgbImage image : new RgbImage[] {random(width, height, 71), smooth(width, height)}) {
            byte[] png = PngWriter.encode(image, Map.of());
            assertThat(PngReader.read(png, "x.png")).isEqualTo(image);
            assertThat(PngReader.text(png, "x.png")).isEmpty();
        }
    }

    @Test
    void filtersMakeSmoothPicturesSmall() {
        assertThat(PngWriter.encode(smooth(256, 256), Map.of())).hasSizeLessThan(3 * 256 * 256 / 50);
    }

    @Test
    void textOfEveryKindReadsBackInOrder(@TempDir Path folder) throws IOException {
        Map<String, String> text = new LinkedHashMap<>();
        text.put("prompt", "a large red circle");
        text.put("Title", "zwölf\nZeilen");
        text.put("emoji", "👨‍👩‍👧‍👦 猫");
        text.put("seed", "-1");
        text.put("empty", "");
        Path file = folder.resolve("a.png");
        PngWriter.write(file, random(5, 4, 72), text);
        assertThat(PngReader.text(file)).containsExactlyEntriesOf(text);
        assertThat(PngReader.read(file)).isEqualTo(random(5, 4, 72));
        byte[] odd = PngWriter.encode(random(1, 1, 1), Map.of("k", "a\0b\ud800c"));
        assertThat(PngReader.text(odd, "odd")).containsEntry("k", "a\ufffdb\ufffdc");
        byte[] packed = png(
                1,
                1,
                8,
                2,
                0,
                new byte[4],
                chunk("zTXt", concat("a\0\0", deflate("packed".getBytes(StandardCharsets.ISO_8859_1)))),
                chunk("iTXt", concat("b\0\1\0de\0Titel\0", deflate("gepackt ✓".getBytes(StandardCharsets.UTF_8)))),
                chunk("tEXt", concat("b\0", new byte[] {'x'})));
        assertThat(PngReader.text(packed, "packed"))
                .containsEntry("a", "packed")
                .containsEntry("b", "gepackt ✓");
    }

    private static byte[] concat(String head, byte[] tail) {
        byte[] start = head.getBytes(StandardCharsets.ISO_8859_1);
        byte[] all = Arrays.copyOf(start, start.length + tail.length);
        System.arraycopy(tail, 0, all, start.length, tail.length);
        return all;
    }

    @ParameterizedTest
    @ValueSource(strings = {"", " a", "a ", "a  b", "ключ", "a\nb"})
    void keywordsThatTheFormatForbidsAreRefused(String keyword) {
        assertThatThrownBy(() -> PngWriter.encode(random(1, 1, 1), Map.of(keyword, "x")))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("keyword");
    }

    @Test
    void greyAndAlphaBecomeRgbOverWhite() throws IOException {
        assertThat(PngReader.read(png(2, 1, 8, 0, 0, new byte[] {0, 10, (byte) 200}), "grey")
                        .rgb())
                .containsExactly(10, 10, 10, 200, 200, 200);
        assertThat(PngReader.read(png(2, 1, 8, 4, 0, new byte[] {0, 10, (byte) 255, 10, 0}), "grey alpha")
                        .rgb())
                .containsExactly(10, 10, 10, 255, 255, 255);
        byte[] rgba = {0, 10, 20, 30, (byte) 255, 10, 20, 30, 0, 0, 100, (byte) 200, (byte) 128};
        assertThat(PngReader.read(png(3, 1, 8, 6, 0, rgba), "rgba").rgb())
                .containsExactly(10, 20, 30, 255, 255, 255, 127, 177, 227);
    }

    @Test
    void everyFilterIsUndone() throws IOException {
        // Rows 1 to 5 use filters 0 to 4 and all decode to the same pixels 7, 9 (grey).
        byte[] raw = {0, 7, 9, 1, 7, 2, 2, 0, 0, 3, 4, 1, 4, 0, 0};
        RgbImage image = PngReader.read(png(2, 5, 8, 0, 0, raw), "filters");
        for (int y = 0; y < 5; y++) {
            assertThat(image.channel(0, y, 0)).as("row %d", y).isEqualTo(7);
            assertThat(image.channel(1, y, 0)).as("row %d", y).isEqualTo(9);
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
        1          | 1          | 16 | 2 | 0 | depth 16
        1          | 1          | 8  | 3 | 0 | colour type 3
        1          | 1          | 1  | 0 | 0 | depth 1
        1          | 1          | 8  | 2 | 1 | interlaced
        1          | 1          | 8  | 5 | 0 | colour type 5
        0          | 1          | 8  | 2 | 0 | 0 x 1
        1          | 70000      | 8  | 2 | 0 | 70000
        -1         | -1         | 8  | 2 | 0 | 4294967295
        60000      | 60000      | 8  | 2 | 0 | 60000 x 60000
        8000       | 8000       | 8  | 2 | 0 | promises 8000 x 8000
        1          | 2          | 8  | 2 | 0 | ends in row 1
        """)
    void kindsThatAreNotBuiltAndLiesAreRefused(
            int width, int height, int depth, int colour, int interlace, String named) {
        assertThatThrownBy(() -> PngReader.read(png(width, height, depth, colour, interlace, new byte[4]), "x.png"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith("x.png: ")
                .hasMessageContaining(named);
    }

    @Test
    void otherDamageIsRefused(@TempDir Path folder) throws IOException {
        assertThatThrownBy(() -> PngReader.read(png(1, 1, 8, 2, 0, new byte[] {9, 0, 0, 0}), "x"))
                .hasMessageContaining("row filter 9");
        assertThatThrownBy(() -> PngReader.read(png(1, 1, 8, 2, 0, new byte[5]), "x"))
                .hasMessageContaining("more data");
        assertThatThrownBy(() -> PngReader.read(png(1, 1, 8, 2, 0, new byte[4], chunk("ABCD", new byte[0])), "x"))
                .hasMessageContaining("unknown chunk ABCD");
        assertThatThrownBy(() -> PngReader.read(png(1, 1, 8, 2, 0, new byte[4], chunk("tRNS", new byte[6])), "x"))
                .hasMessageContaining("tRNS");
        assertThatThrownBy(() -> PngReader.read(png(1, 1, 8, 2, 0, new byte[4], chunk("IHDR", new byte[13])), "x"))
                .hasMessageContaining("wrong place");
        assertThat(PngReader.read(png(1, 1, 8, 2, 0, new byte[4], chunk("gAMA", new byte[4])), "x")
                        .rgb())
                .containsExactly(0, 0, 0);
        byte[] bomb = chunk("zTXt", concat("a\0\0", deflate(new byte[2 << 20])));
        assertThatThrownBy(() -> PngReader.text(png(1, 1, 8, 2, 0, new byte[4], bomb), "x"))
                .hasMessageContaining("too long");
        assertThatThrownBy(() -> PngReader.read(folder.resolve("a.png"))).hasMessageContaining("does not exist");
        Path jpeg = Files.write(folder.resolve("a.jpg"), new byte[] {(byte) 0xff, (byte) 0xd8, 1, 2});
        assertThatThrownBy(() -> PngReader.read(jpeg)).hasMessageContaining("does not start like a PNG");
    }

    @Test
    void everyTruncationIsRefused() {
        byte[] whole = PngWriter.encode(random(3, 3, 73), Map.of("k", "v", "k2", "猫"));
        for (int length = 0; length < whole.length; length++) {
            byte[] cut = Arrays.copyOf(whole, length);
            assertThatThrownBy(() -> PngReader.read(cut, "cut")).isInstanceOf(ModelFormatException.class);
        }
    }

    @Test
    void mutantsAreReadOrRefusedButNeverMore() throws IOException {
        byte[] sound = PngWriter.encode(random(6, 5, 74), Map.of("k", "v", "u", "猫"));
        Random random = new Random(75);
        int mutants = 40_000;
        int refused = 0;
        for (int i = 0; i < mutants; i++) {
            byte[] mutant = sound.clone();
            mutant[random.nextInt(mutant.length)] = (byte) random.nextInt();
            if (i % 2 == 0) {
                mendChecksums(mutant); // otherwise a checksum would catch nearly all, and nothing behind it were tried
            }
            try {
                RgbImage image = PngReader.read(mutant, "mutant");
                assertThat((long) image.width() * image.height()).isLessThan(200_000);
            } catch (ModelFormatException e) {
                refused++;
                assertThat(e).hasMessageStartingWith("mutant: ");
            }
        }
        assertThat(refused).isBetween(mutants / 2, mutants - 1);
    }

    private static void mendChecksums(byte[] png) {
        ByteBuffer buffer = ByteBuffer.wrap(png);
        int at = 8;
        while (at + 12 <= png.length) {
            int length = buffer.getInt(at);
            if (length < 0 || length > png.length - at - 12) {
                return;
            }
            CRC32 crc = new CRC32();
            crc.update(png, at + 4, length + 4);
            buffer.putInt(at + 8 + length, (int) crc.getValue());
            at += 12 + length;
        }
    }
}
