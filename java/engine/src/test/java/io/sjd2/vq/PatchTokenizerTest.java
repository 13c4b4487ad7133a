package io.sjd2.vq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.sjd2.tensor.RgbImage;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PatchTokenizerTest {
    private static float[] randomCodebook(int codes, int patch, long seed) {
        Random random = new Random(seed);
        float[] codebook = new float[codes * 3 * patch * patch];
        for (int i = 0; i < codebook.length; i++) {
            // Whole pixel values, so that decoding is exact.
            codebook[i] = random.nextInt(256) / 127.5f - 1;
        }
        return codebook;
    }

    @ParameterizedTest
    @CsvSource({"1, 1, 1, 1", "7, 1, 3, 5", "17, 2, 4, 3", "512, 4, 16, 16", "33, 3, 1, 9"})
    void encodingWhatWasDecodedGivesTheSameCodes(int codes, int patch, int gridH, int gridW) {
        PatchTokenizer tokenizer = new PatchTokenizer(randomCodebook(codes, patch, 1), codes, patch, gridH, gridW);
        int[] grid = new Random(2).ints((long) gridH * gridW, 0, codes).toArray();
        RgbImage image = tokenizer.decode(grid);
        assertThat(image.width()).isEqualTo(gridW * patch);
        assertThat(image.height()).isEqualTo(gridH * patch);
        assertThat(tokenizer.encode(image)).isEqualTo(grid);
        assertThat(tokenizer.decode(tokenizer.encode(image))).isEqualTo(image);
    }

    @Test
    void choosesTheNearestEntry() {
        int codes = 61;
        int patch = 2;
        float[] codebook = randomCodebook(codes, patch, 3);
        PatchTokenizer tokenizer = new PatchTokenizer(codebook, codes, patch, 8, 9);
        RgbImage image = RgbImage.blank(18, 16);
        new Random(4).nextBytes(image.rgb());
        int[] grid = tokenizer.encode(image);
        for (int cell = 0; cell < grid.length; cell++) {
            int row = cell / 9;
            int column = cell % 9;
            double[] distances = IntStream.range(0, codes)
                    .mapToDouble(code -> distance(image, row, column, patch, codebook, code))
                    .toArray();
            double least = IntStream.range(0, codes)
                    .mapToDouble(code -> distances[code])
                    .min()
                    .orElseThrow();
            // The search works in f32; only a near tie may go the other way.
            assertThat(distances[grid[cell]]).isLessThanOrEqualTo(least + 1e-4);
        }
    }

    private static double distance(RgbImage image, int row, int column, int patch, float[] codebook, int code) {
        double sum = 0;
        for (int i = 0; i < 3 * patch * patch; i++) {
            int x = column * patch + i / 3 % patch;
            int y = row * patch + i / 3 / patch;
            double difference = image.channel(x, y, i % 3) / 127.5 - 1 - codebook[code * 3 * patch * patch + i];
            sum += difference * difference;
        }
        return sum;
    }

    @Test
    void aTieGoesToTheLowerCode() {
        PatchTokenizer tokenizer = new PatchTokenizer(new float[] {1, 1, 1, 0, 0, 0, 0, 0, 0}, 3, 1, 1, 1);
        assertThat(tokenizer.encode(new RgbImage(1, 1, new byte[] {127, 127, 127})))
                .containsExactly(1);
    }

    @Test
    void copiesItsTable() {
        float[] codebook = randomCodebook(2, 1, 5);
        PatchTokenizer tokenizer = new PatchTokenizer(codebook, 2, 1, 1, 1);
        float[] before = tokenizer.codebook();
        codebook[0] = 0.123f;
        tokenizer.codebook()[0] = 0.123f;
        assertThat(tokenizer.codebook()).isEqualTo(before);
    }

    @Test
    void refusesTablesAndGridsThatDoNotFit() {
        float[] good = new float[2 * 3];
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new PatchTokenizer(new float[5], 2, 1, 1, 1))
                .withMessageContaining("= 6");
        assertThatIllegalArgumentException().isThrownBy(() -> new PatchTokenizer(good, 0, 1, 1, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new PatchTokenizer(good, 2, 0, 1, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new PatchTokenizer(good, 2, 1, 0, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new PatchTokenizer(good, 2, 1, 1, 1_000_000));
        for (float bad : new float[] {1.5f, -1.01f, Float.NaN, Float.NEGATIVE_INFINITY}) {
            float[] codebook = {0, 0, 0, 0, bad, 0};
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> new PatchTokenizer(codebook, 2, 1, 1, 1))
                    .withMessageContaining("code 1");
        }
    }

    @Test
    void refusesPicturesAndCodesThatDoNotFit() {
        PatchTokenizer tokenizer = new PatchTokenizer(new float[2 * 3], 2, 1, 2, 2);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> tokenizer.encode(RgbImage.blank(3, 2)))
                .withMessageContaining("3 x 2")
                .withMessageContaining("2 x 2");
        assertThatIllegalArgumentException().isThrownBy(() -> tokenizer.decode(new int[3]));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> tokenizer.decode(new int[] {0, 1, 2, 0}))
                .withMessageContaining("code 2 at cell 2");
        assertThatIllegalArgumentException().isThrownBy(() -> tokenizer.decode(new int[] {0, -1, 0, 0}));
    }
}
