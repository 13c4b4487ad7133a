package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PngWriter;
import io.sjd2.tensor.RgbImage;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import io.sjd2.vq.ImageTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
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

    @Test
    void readsPicturesWithCaptionsInOrderOfNames(@TempDir Path folder) throws IOException {
        PngWriter.write(folder.resolve("b.png"), picture(2, 2), Map.of());
        Files.writeString(folder.resolve("b.txt"), "red\n");
        // Twice as large and wider than tall: the outer columns are cut, four pixels become one.
        PngWriter.write(folder.resolve("a.png"), picture(6, 4), Map.of());
        Files.writeString(folder.resolve("a.txt"), "blue red");
        ImageFolderData data = ImageFolderData.open(folder, 2, 2, RED, TEXT);
        assertThat(data.size()).isEqualTo(2);
        assertThat(data.example(0).codes()).containsExactly(15, 35, 115, 135);
        assertThat(data.example(0).caption()).isEqualTo(TEXT.encode("blue red", false));
        assertThat(data.example(1).codes()).containsExactly(0, 10, 100, 110);
    }

    @Test
    void enlargesSmallPictures() {
        RgbImage large = ImageFolderData.fit(picture(1, 2), 2, 2);
        assertThat(large.width()).isEqualTo(2);
        assertThat(large.rgb()).containsExactly(0, 0, 0, 0, 0, 0, 100, 0, 0, 100, 0, 0);
    }

    @Test
    void namesWhatIsMissing(@TempDir Path folder) throws IOException {
        assertThatThrownBy(() -> ImageFolderData.open(folder, 2, 2, RED, TEXT))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("no pictures");
        PngWriter.write(folder.resolve("a.png"), picture(2, 2), Map.of());
        assertThatThrownBy(() -> ImageFolderData.open(folder, 2, 2, RED, TEXT))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("a.png")
                .hasMessageContaining("a.txt");
        Files.writeString(folder.resolve("a.png"), "not a picture");
        Files.writeString(folder.resolve("a.txt"), "red");
        assertThatThrownBy(() -> ImageFolderData.open(folder, 2, 2, RED, TEXT))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("a.png");
    }
}
