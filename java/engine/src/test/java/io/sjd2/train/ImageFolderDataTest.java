package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PictureReader;
import io.sjd2.io.PngWriter;
import io.sjd2.tensor.RgbImage;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import io.sjd2.vq.ImageTokenizer;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ImageFolderDataTest {
    /// Each pixel of a 2 x 2 picture is a code: its red value.
    private static final ImageTokenizer RED = new ImageTokenizer() {
        @Override
        public int gridHeight() {
            return 2;
        }

        @Override
        public int gridWidth() {
            return 2;
        }

        @Override
        public int codes() {
            return 256;
        }

        @Override
        public int[] encode(RgbImage image) {
            int[] codes = new int[4];
            for (int i = 0; i < 4; i++) {
                codes[i] = image.rgb()[3 * i] & 0xff;
            }
            return codes;
        }

        @Override
        public RgbImage decode(int[] codes) {
            throw new UnsupportedOperationException("not needed here");
        }
    };

    private static final Tokenizer TEXT = tokenizer();

    private static Tokenizer tokenizer() {
        try {
            return Tokenizer.parse(WordTokenizerBuilder.build(List.of("red", "blue"), 256), "test");
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private static RgbImage picture(int width, int height) {
        byte[] rgb = new byte[3 * width * height];
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                rgb[3 * (y * width + x)] = (byte) (10 * x + 100 * (y >= height / 2 ? 1 : 0));
            }
        }
        return new RgbImage(width, height, rgb);
    }

    private static ImageFolderData open(Path folder) throws IOException {
        return ImageFolderData.open(CaptionedPictures.in(folder), 2, 2, RED, TEXT);
    }

    @Test
    void readsPicturesWithCaptionsInOrderOfNames(@TempDir Path folder) throws IOException {
        PngWriter.write(folder.resolve("b.png"), picture(2, 2), Map.of());
        Files.writeString(folder.resolve("b.txt"), "red\n");
        // Twice as large and wider than tall: the outer columns are cut, four pixels become one.
        PngWriter.write(folder.resolve("a.png"), picture(6, 4), Map.of());
        Files.writeString(folder.resolve("a.txt"), "blue red");
        ImageFolderData data = open(folder);
        assertThat(data.size()).isEqualTo(2);
        assertThat(data.example(0).codes()).containsExactly(15, 35, 115, 135);
        assertThat(data.example(0).caption()).isEqualTo(TEXT.encode("blue red", false));
        assertThat(data.example(1).codes()).containsExactly(0, 10, 100, 110);
    }

    @Test
    void everyTwentiethIsHeldOut(@TempDir Path folder) throws IOException {
        for (int i = 0; i < 41; i++) {
            PngWriter.write(folder.resolve("%02d.png".formatted(i)), picture(2, 2), Map.of());
            Files.writeString(folder.resolve("%02d.txt".formatted(i)), "red ".repeat(i + 1));
        }
        ImageFolderData all = open(folder);
        assertThat(all.training().size()).isEqualTo(39);
        assertThat(all.heldOut().size()).isEqualTo(2);
        assertThat(all.heldOut().example(1).caption()).hasSize(40);
    }

    @Test
    void readsJpegAndCountsWords(@TempDir Path folder) throws IOException {
        BufferedImage image = new BufferedImage(8, 8, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = image.createGraphics();
        graphics.setColor(new Color(200, 60, 30));
        graphics.fillRect(0, 0, 8, 8);
        graphics.dispose();
        assertThat(ImageIO.write(image, "jpg", folder.resolve("b.JPG").toFile()))
                .isTrue();
        Files.writeString(folder.resolve("b.txt"), "A red, red \u00c4pfel-pie");
        PngWriter.write(folder.resolve("a.png"), picture(2, 2), Map.of());
        Files.writeString(folder.resolve("a.txt"), "red pie");
        CaptionedPictures pictures = CaptionedPictures.in(folder);
        byte[] rgb = pictures.picture(1, 2, 2).rgb();
        for (int i = 0; i < rgb.length; i++) {
            assertThat(rgb[i] & 0xff).isCloseTo(new int[] {200, 60, 30}[i % 3], within(6));
        }
        assertThat(pictures.words(9)).containsExactly("red", "pie", "a", "\u00e4pfel");
        assertThat(pictures.words(2)).containsExactly("red", "pie");
    }

    @Test
    void refusesJpegThatPromisesMorePixelsThanItHolds(@TempDir Path folder) throws IOException {
        BufferedImage image = new BufferedImage(8, 8, BufferedImage.TYPE_INT_RGB);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ImageIO.write(image, "jpg", out);
        byte[] jpeg = out.toByteArray();
        int at = 0;
        while ((jpeg[at] & 0xff) != 0xff || (jpeg[at + 1] & 0xff) != 0xc0) {
            at++;
        }
        jpeg[at + 5] = (byte) 0x1f;
        jpeg[at + 7] = (byte) 0x1f;
        assertThatThrownBy(() -> PictureReader.read(jpeg, "big.jpg"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("big.jpg")
                .hasMessageContaining("7944 x 7944");
    }

    @Test
    void enlargesSmallPictures() {
        RgbImage large = CaptionedPictures.fit(picture(1, 2), 2, 2);
        assertThat(large.width()).isEqualTo(2);
        assertThat(large.rgb()).containsExactly(0, 0, 0, 0, 0, 0, 100, 0, 0, 100, 0, 0);
    }

    @Test
    void namesWhatIsMissing(@TempDir Path folder) throws IOException {
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("no pictures");
        PngWriter.write(folder.resolve("a.png"), picture(2, 2), Map.of());
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("a.png")
                .hasMessageContaining("a.txt");
        Files.writeString(folder.resolve("a.png"), "not a picture");
        Files.writeString(folder.resolve("a.txt"), "red");
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("a.png");
    }
}
