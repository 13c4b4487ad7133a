package io.sjd2.vq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.sjd2.scenes.Scene;
import io.sjd2.scenes.SceneChecker;
import io.sjd2.scenes.SceneGenerator;
import io.sjd2.scenes.SceneGenerator.Split;
import io.sjd2.scenes.SceneTruth;
import io.sjd2.tensor.RgbImage;
import io.sjd2.vq.PatchCodebookTrainer.Settings;
import java.util.Random;
import java.util.function.LongFunction;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class PatchCodebookTrainerTest {
    private static final int SCENES = 1_000;
    /// The bundled tokeniser's settings with less of everything, for speed.
    private static final Settings QUICK = new Settings(512, 20, 4, 1_500, 4_000, 30_000, 40, 10, 60, 3);

    private static PatchTokenizer quick;

    @BeforeAll
    static void trainOnce() {
        SceneGenerator generator = new SceneGenerator(1, Split.TRAIN);
        float[] codebook = PatchCodebookTrainer.train(i -> generator.scene(i).image(), QUICK);
        quick = new PatchTokenizer(codebook, 512, 4, 16, 16);
    }

    @Test
    void truePicturesStillPassTheCheckerAfterARoundTrip() {
        SceneGenerator generator = new SceneGenerator(31, Split.HELD_OUT);
        int passed = 0;
        for (int i = 0; i < SCENES; i++) {
            Scene scene = generator.scene(i);
            RgbImage image = quick.decode(quick.encode(scene.image()));
            passed += SceneChecker.check(image, scene.caption()).allHold() ? 1 : 0;
        }
        assertThat(passed).isGreaterThanOrEqualTo(SCENES * 97 / 100);
    }

    @Test
    void picturesDoNotPassAfterARoundTripWithOneWordOfTheCaptionChanged() {
        SceneGenerator generator = new SceneGenerator(32, Split.TRAIN);
        Random random = new Random(32);
        int passed = 0;
        for (int i = 0; i < SCENES; i++) {
            Scene scene = generator.scene(i);
            RgbImage image = quick.decode(quick.encode(scene.image()));
            passed += SceneChecker.check(image, SceneTruth.falsified(scene, random))
                            .allHold()
                    ? 1
                    : 0;
        }
        assertThat(passed).isLessThanOrEqualTo(SCENES * 2 / 100);
    }

    @Test
    void paperAndFillsUseTheQuietCodesAndOutlinesTheOthers() {
        SceneGenerator generator = new SceneGenerator(33, Split.TRAIN);
        int quiet = 0;
        int usedBusy = 0;
        boolean[] used = new boolean[512];
        for (int i = 0; i < 300; i++) {
            for (int code : quick.encode(generator.scene(i).image())) {
                quiet += code < QUICK.quietCodes() ? 1 : 0;
                used[code] = true;
            }
        }
        for (int code = QUICK.quietCodes(); code < used.length; code++) {
            usedBusy += used[code] ? 1 : 0;
        }
        assertThat(quiet).isBetween(300 * 256 * 80 / 100, 300 * 256 * 95 / 100);
        assertThat(usedBusy).isGreaterThan(400);
    }

    @Test
    void theSameSettingsGiveTheSameTableAndAnotherSeedAnother() {
        SceneGenerator generator = new SceneGenerator(1, Split.TRAIN);
        LongFunction<RgbImage> images = i -> generator.scene(i).image();
        Settings settings = new Settings(24, 8, 4, 40, 500, 500, 40, 5, 2, 9);
        float[] codebook = PatchCodebookTrainer.train(images, settings);
        assertThat(PatchCodebookTrainer.train(images, settings)).isEqualTo(codebook);
        Settings other = new Settings(24, 8, 4, 40, 500, 500, 40, 5, 2, 10);
        assertThat(PatchCodebookTrainer.train(images, other)).isNotEqualTo(codebook);
    }

    /// With as many codes as there are different patches, every patch becomes a code.
    @Test
    void findsWellSeparatedPatchesExactly() {
        Random random = new Random(34);
        byte[][] colors = new byte[12][3];
        for (byte[] color : colors) {
            random.nextBytes(color);
        }
        LongFunction<RgbImage> images = index -> {
            RgbImage image = RgbImage.blank(8, 8);
            for (int i = 0; i < 64; i++) {
                System.arraycopy(colors[(int) ((index * 64 + i) * 7 % 12)], 0, image.rgb(), 3 * i, 3);
            }
            return image;
        };
        float[] codebook = PatchCodebookTrainer.train(images, new Settings(12, 0, 1, 10, 0, 1_000, 0, 10, 1, 1));
        PatchTokenizer tokenizer = new PatchTokenizer(codebook, 12, 1, 8, 8);
        assertThat(tokenizer.decode(tokenizer.encode(images.apply(3)))).isEqualTo(images.apply(3));
    }

    @Test
    void refusesWhatCannotWork() {
        assertThatIllegalArgumentException().isThrownBy(() -> new Settings(4, 5, 4, 1, 1, 1, 1, 1, 1, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new Settings(0, 0, 4, 1, 1, 1, 1, 1, 1, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new Settings(4, 0, 0, 1, 1, 1, 1, 1, 1, 1));
        Settings settings = new Settings(8, 0, 4, 1, 0, 100, 0, 1, 1, 1);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PatchCodebookTrainer.train(i -> RgbImage.blank(9, 8), settings))
                .withMessageContaining("9 x 8");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PatchCodebookTrainer.train(i -> RgbImage.blank(8, 8), settings))
                .withMessageContaining("4 sample patches for 8");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PatchCodebookTrainer.train(i -> RgbImage.blank(64, 64), settings))
                .withMessageContaining("only 1 different patches for 8");
    }
}
