package io.sjd2.scenes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.sjd2.scenes.SceneGenerator.Split;
import io.sjd2.tensor.RgbImage;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SceneCheckerTest {
    private static final int SCENES = 2_000;

    @Test
    void truePicturesPass() {
        SceneGenerator generator = new SceneGenerator(21, Split.TRAIN);
        int passed = 0;
        for (int i = 0; i < SCENES; i++) {
            Scene scene = generator.scene(i);
            SceneReport report = SceneChecker.check(scene.image(), scene.caption());
            passed += report.allHold() ? 1 : 0;
            assertThat(report.extra()).isEmpty();
        }
        assertThat(passed).isGreaterThanOrEqualTo(SCENES * 99 / 100);
    }

    @Test
    void picturesDoNotPassWithOneWordOfTheCaptionChanged() {
        SceneGenerator generator = new SceneGenerator(22, Split.TRAIN);
        Random random = new Random(22);
        int passed = 0;
        for (int i = 0; i < SCENES; i++) {
            Scene scene = generator.scene(i);
            String caption = SceneTruth.falsified(scene, random);
            passed += SceneChecker.check(scene.image(), caption).allHold() ? 1 : 0;
        }
        assertThat(passed).isLessThanOrEqualTo(SCENES * 2 / 100);
    }

    @Test
    void seesEachObjectWhereItWasPaintedAsWhatItIs() {
        SceneGenerator generator = new SceneGenerator(23, Split.TRAIN);
        for (int i = 0; i < 300; i++) {
            Scene scene = generator.scene(i);
            List<SceneReport.Seen> seen = SceneChecker.look(scene.image());
            assertThat(seen).hasSameSizeAs(scene.objects());
            for (Scene.Placed painted : scene.objects()) {
                assertThat(seen)
                        .anyMatch(object -> object.color() == painted.color()
                                && object.shape() == painted.shape()
                                && object.size() == painted.size()
                                && Math.abs(object.centerX() - painted.centerX()) <= 2
                                && Math.abs(object.centerY() - painted.centerY()) <= 2);
            }
        }
    }

    /// Which of colour, place, shape and size go wrong, for the first object and the second.
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "large red circle above small blue square   | ---- | ----",
                "large green circle above small blue square | C--- | ----",
                "large red circle below small blue square   | -P-- | -P--",
                "large red star above small blue square     | --S- | ----",
                "large red circle above small blue ring     | ---- | --S-",
                "large red circle above large blue square   | ---- | ---Z",
                "medium white star above small blue square  | C-SZ | ----",
                "red circle and square                      | ---- | ----"
            })
    void saysWhichStatementFails(String text, String first, String second) {
        RgbImage image = painted(
                new Scene.Placed(SceneShape.CIRCLE, SceneColor.RED, SceneSize.LARGE, 30, 20),
                new Scene.Placed(SceneShape.SQUARE, SceneColor.BLUE, SceneSize.SMALL, 34, 52));
        SceneReport report = SceneChecker.check(image, text);
        assertThat(report.objects().stream().map(SceneCheckerTest::failures)).containsExactly(first, second);
        assertThat(report.allHold()).isEqualTo(first.equals("----") && second.equals("----"));
        assertThat(report.statements().stream().allMatch(SceneReport.Statement::holds))
                .isEqualTo(report.allHold());
    }

    private static String failures(SceneReport.Finding finding) {
        return (finding.colorOk() ? "-" : "C")
                + (finding.placeOk() ? "-" : "P")
                + (finding.shapeOk() ? "-" : "S")
                + (finding.sizeOk() ? "-" : "Z");
    }

    @Test
    void anObjectThatIsNotThereIsReportedMissing() {
        RgbImage image = painted(new Scene.Placed(SceneShape.STAR, SceneColor.BLACK, SceneSize.MEDIUM, 20, 20));
        SceneReport report = SceneChecker.check(image, "a black star above a black star");
        assertThat(report.objects().get(0).found()).isTrue();
        assertThat(report.objects().get(1).found()).isFalse();
        assertThat(report.relations()).containsExactly(false);
        assertThat(report.allHold()).isFalse();
        assertThat(report.statements()).hasSize(7);
    }

    @Test
    void objectsTheCaptionDoesNotNameAreListedApart() {
        RgbImage image = painted(
                new Scene.Placed(SceneShape.STAR, SceneColor.BLACK, SceneSize.MEDIUM, 20, 20),
                new Scene.Placed(SceneShape.RING, SceneColor.GREEN, SceneSize.SMALL, 48, 48));
        SceneReport report = SceneChecker.check(image, "a green ring");
        assertThat(report.allHold()).isTrue();
        assertThat(report.extra())
                .singleElement()
                .satisfies(seen -> assertThat(seen.shape()).isEqualTo(SceneShape.STAR));
    }

    /// Neighbours that touch are told apart by colour, as a model's pictures do not always keep their distance.
    @Test
    void tellsTouchingObjectsOfDifferentColoursApart() {
        RgbImage image = painted(
                new Scene.Placed(SceneShape.SQUARE, SceneColor.WHITE, SceneSize.LARGE, 20, 32),
                new Scene.Placed(SceneShape.SQUARE, SceneColor.BLACK, SceneSize.LARGE, 44, 32));
        assertThat(SceneChecker.check(image, "a large white square to the left of a large black square")
                        .allHold())
                .isTrue();
    }

    @ParameterizedTest
    @ValueSource(ints = {4, 8, 12})
    void noiseDoesNotMatter(int amplitude) {
        SceneGenerator generator = new SceneGenerator(24, Split.TRAIN);
        Random random = new Random(24);
        int passed = 0;
        for (int i = 0; i < 300; i++) {
            Scene scene = generator.scene(i);
            byte[] rgb = scene.image().rgb();
            for (int at = 0; at < rgb.length; at++) {
                rgb[at] = (byte) Math.clamp((rgb[at] & 0xff) + random.nextInt(2 * amplitude + 1) - amplitude, 0, 255);
            }
            passed += SceneChecker.check(scene.image(), scene.caption()).allHold() ? 1 : 0;
        }
        assertThat(passed).isGreaterThanOrEqualTo(297);
    }

    @Test
    void aPictureOfNothingHoldsNothing() {
        Random random = new Random(25);
        RgbImage noise = RgbImage.blank(64, 64);
        random.nextBytes(noise.rgb());
        SceneGenerator generator = new SceneGenerator(25, Split.TRAIN);
        for (int i = 0; i < 50; i++) {
            String caption = generator.scene(i).caption();
            assertThat(SceneChecker.check(painted(), caption).allHold()).isFalse();
            assertThat(SceneChecker.check(RgbImage.blank(64, 64), caption).allHold())
                    .isFalse();
            assertThat(SceneChecker.check(noise, caption).allHold()).isFalse();
        }
    }

    @Test
    void aCaptionThatStatesNothingDoesNotHold() {
        assertThat(SceneChecker.check(painted(), "hello").allHold()).isFalse();
    }

    @Test
    void refusesWhatItCannotCheck() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> SceneChecker.check(RgbImage.blank(32, 64), "a red circle"))
                .withMessageContaining("32 x 64");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> SceneChecker.check(painted(), "a star and ".repeat(7)))
                .withMessageContaining("7 objects");
    }

    /// A picture on plain paper.
    private static RgbImage painted(Scene.Placed... objects) {
        RgbImage image = RgbImage.blank(64, 64);
        Arrays.fill(image.rgb(), (byte) 200);
        for (Scene.Placed object : objects) {
            int[] fill = {
                object.color().red(), object.color().green(), object.color().blue()
            };
            ShapeMask mask = ShapeMask.of(object.shape(), object.size());
            for (int at = 0; at < mask.coverage.length; at++) {
                int x = object.centerX() - ShapeMask.HALF + at % ShapeMask.SIDE;
                int y = object.centerY() - ShapeMask.HALF + at / ShapeMask.SIDE;
                if (mask.coverage[at] > 0) {
                    for (int channel = 0; channel < 3; channel++) {
                        int to = 3 * (y * 64 + x) + channel;
                        int below = image.rgb()[to] & 0xff;
                        image.rgb()[to] = (byte) Math.round(below + mask.coverage[at] * (fill[channel] - below));
                    }
                }
            }
        }
        return image;
    }
}
