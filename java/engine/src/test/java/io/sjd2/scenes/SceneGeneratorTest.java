package io.sjd2.scenes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.scenes.SceneGenerator.Split;
import io.sjd2.tensor.RgbImage;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class SceneGeneratorTest {
    /// The bundled model was trained on exactly these pictures; a changed pixel makes its recorded command a lie.
    @Test
    void makesTheScenesThatTheBundledModelWasTrainedOn() {
        CRC32 crc = new CRC32();
        for (Split split : Split.values()) {
            SceneGenerator generator = new SceneGenerator(1, split);
            for (int i = 0; i < 500; i++) {
                Scene scene = generator.scene(i);
                crc.update(scene.image().rgb());
                crc.update(scene.caption().getBytes(StandardCharsets.UTF_8));
            }
        }
        assertThat(crc.getValue()).isEqualTo(0xc9fdc044L);
    }

    @Test
    void aSceneDependsOnSeedAndIndexAlone() {
        SceneGenerator generator = new SceneGenerator(11, Split.TRAIN);
        List<Scene> inOrder = LongStream.range(0, 50).mapToObj(generator::scene).toList();
        for (int i = 49; i >= 0; i--) {
            assertThat(new SceneGenerator(11, Split.TRAIN).scene(i)).isEqualTo(inOrder.get(i));
        }
        assertThat(new SceneGenerator(12, Split.TRAIN).scene(0)).isNotEqualTo(inOrder.get(0));
        assertThat(new HashSet<>(inOrder)).hasSize(50);
    }

    @ParameterizedTest
    @EnumSource(Split.class)
    void captionsAreTrueAndInTheLanguageOfTheVocabulary(Split split) {
        SceneGenerator generator = new SceneGenerator(3, split);
        for (int i = 0; i < 2_000; i++) {
            Scene scene = generator.scene(i);
            Caption caption = Caption.parse(scene.caption());
            assertThat(caption.unknownWords()).as(scene.caption()).isEmpty();
            assertThat(caption.objects()).as(scene.caption()).hasSameSizeAs(scene.objects());
            assertThat(SceneTruth.holds(scene, caption)).as(scene.caption()).isTrue();
            assertThat(SceneGenerator.splitOf(caption)).as(scene.caption()).isEqualTo(split);
        }
    }

    @Test
    void objectsStayInsideAndApart() {
        SceneGenerator generator = new SceneGenerator(4, Split.TRAIN);
        for (int i = 0; i < 2_000; i++) {
            List<Scene.Placed> objects = generator.scene(i).objects();
            for (Scene.Placed object : objects) {
                assertThat(object.size().radius()).isGreaterThanOrEqualTo(6);
                assertThat(object.centerX())
                        .isBetween(
                                object.size().radius() - 1, 65 - object.size().radius());
                assertThat(object.centerY())
                        .isBetween(
                                object.size().radius() - 1, 65 - object.size().radius());
            }
            boolean[] covered = new boolean[64 * 64];
            for (Scene.Placed object : objects) {
                ShapeMask mask = ShapeMask.of(object.shape(), object.size());
                for (int at = 0; at < mask.coverage.length; at++) {
                    if (mask.coverage[at] > 0) {
                        int x = object.centerX() - ShapeMask.HALF + at % ShapeMask.SIDE;
                        int y = object.centerY() - ShapeMask.HALF + at / ShapeMask.SIDE;
                        assertThat(covered[y * 64 + x]).isFalse();
                        covered[y * 64 + x] = true;
                    }
                }
            }
        }
    }

    /// A model writes row by row: which object it must begin with has to follow from the caption.
    @Test
    void objectsBeginInTheOrderOfTheCaptionAsFarAsItsRelationsAllow() {
        SceneGenerator generator = new SceneGenerator(10, Split.TRAIN);
        Set<List<SceneRelation>> turned = new HashSet<>();
        for (int i = 0; i < 2_000; i++) {
            Scene scene = generator.scene(i);
            Caption caption = Caption.parse(scene.caption());
            int count = scene.objects().size();
            boolean[][] before = new boolean[count][count];
            for (Caption.Link link : caption.links()) {
                boolean turn = link.relation() == SceneRelation.BELOW || link.relation() == SceneRelation.RIGHT_OF;
                before[turn ? link.object() : link.subject()][turn ? link.subject() : link.object()] = true;
            }
            for (int a = 0; a < count; a++) {
                for (int b = 0; b < count; b++) {
                    int third = 3 - a - b;
                    boolean known = before[a][b]
                            || (count == 3 && a != b && before[a][third] && before[third][b])
                            || (a < b && sameSide(before, a, b));
                    if (known) {
                        assertThat(begin(scene.objects().get(a)))
                                .as("%s: %d begins before %d", scene.caption(), a, b)
                                .isLessThan(begin(scene.objects().get(b)));
                    }
                }
            }
            turned.add(caption.links().stream().map(Caption.Link::relation).toList());
        }
        // Nothing, each of the four relations, once, of two subjects or of one, and pairs of them.
        assertThat(turned).hasSizeGreaterThan(1 + 4 + 4 + 8);
    }

    /// Whether nothing that is said tells `a` and `b` apart: both precede or both follow the same objects.
    private static boolean sameSide(boolean[][] before, int a, int b) {
        for (int other = 0; other < before.length; other++) {
            if (before[a][other] != before[b][other] || before[other][a] != before[other][b]) {
                return false;
            }
        }
        return true;
    }

    /// Where an object begins: by row of cells, then from left to right.
    private static int begin(Scene.Placed object) {
        int top = object.centerY() - ShapeMask.of(object.shape(), object.size()).top;
        return top / SceneGenerator.LATTICE * SceneGenerator.SIDE + object.centerX();
    }

    @Test
    void passesOverScenesWithFewerRelationsAsOftenAsAsked() {
        int scenes = 4_000;
        double[] related = new double[2];
        for (int half = 0; half < 2; half++) {
            SceneGenerator generator = new SceneGenerator(13, Split.TRAIN, 0.5 * half);
            related[half] = LongStream.range(0, scenes)
                            .filter(i -> Caption.parse(generator.scene(i).caption())
                                            .links()
                                            .size()
                                    == 2)
                            .count()
                    / (double) scenes;
        }
        double expected = related[0] / (related[0] + (1 - related[0]) / 2);
        // Five standard deviations of the difference: one failure in a million seeds.
        double deviation = Math.sqrt(2 * expected * (1 - expected) / scenes);
        assertThat(related[0]).isBetween(0.05, 0.2);
        assertThat(related[1]).isCloseTo(expected, within(5 * deviation));
        assertThatIllegalArgumentException().isThrownBy(() -> new SceneGenerator(1, Split.TRAIN, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new SceneGenerator(1, Split.TRAIN, Double.NaN));
    }

    @Test
    void fillsLieNearThePublishedColours() {
        SceneGenerator generator = new SceneGenerator(5, Split.TRAIN);
        for (int i = 0; i < 1_000; i++) {
            Scene scene = generator.scene(i);
            for (Scene.Placed object : scene.objects()) {
                double[] mean = new double[3];
                int inside = 0;
                ShapeMask mask = ShapeMask.of(object.shape(), object.size());
                for (int at = 0; at < mask.coverage.length; at++) {
                    if (mask.coverage[at] == 1) {
                        int x = object.centerX() - ShapeMask.HALF + at % ShapeMask.SIDE;
                        int y = object.centerY() - ShapeMask.HALF + at / ShapeMask.SIDE;
                        for (int channel = 0; channel < 3; channel++) {
                            mean[channel] += scene.image().channel(x, y, channel);
                        }
                        inside++;
                    }
                }
                assertThat(object.color().distance(mean[0] / inside, mean[1] / inside, mean[2] / inside))
                        .isLessThan(SceneColor.MAX_DISTANCE / 2);
            }
        }
    }

    @Test
    void publishedColoursAreFurtherApartThanTwiceTheirTolerance() {
        for (SceneColor one : SceneColor.values()) {
            for (SceneColor other : SceneColor.values()) {
                if (one != other) {
                    assertThat(one.distance(other.red(), other.green(), other.blue()))
                            .isGreaterThan(2 * SceneColor.MAX_DISTANCE);
                }
            }
        }
    }

    @Test
    void thePaperIsTexturedAndUnlikeAnyFill() {
        SceneGenerator generator = new SceneGenerator(6, Split.TRAIN);
        Set<Integer> tints = new HashSet<>();
        for (int i = 0; i < 200; i++) {
            RgbImage image = generator.scene(i).image();
            // A corner of one pixel, two at most, is always paper: objects keep a margin.
            int r = image.channel(0, 0, 0);
            int g = image.channel(0, 0, 1);
            int b = image.channel(0, 0, 2);
            tints.add(100 * Integer.signum((r - b) / 8) + Integer.signum(g - r));
            for (SceneColor color : SceneColor.values()) {
                assertThat(color.distance(r, g, b)).isGreaterThan(70);
            }
            Set<Integer> shades = new HashSet<>();
            IntStream.range(0, 64).forEach(x -> shades.add(image.channel(x, 0, 1)));
            assertThat(shades).hasSizeGreaterThan(3);
        }
        assertThat(tints).hasSize(4);
    }

    @Test
    void bothSplitsUseEveryShapeColourSizeAndRelation() {
        for (Split split : Split.values()) {
            SceneGenerator generator = new SceneGenerator(7, split);
            Set<Object> met = new HashSet<>();
            for (int i = 0; i < 1_000; i++) {
                Scene scene = generator.scene(i);
                met.add(scene.objects().size());
                scene.objects().forEach(object -> met.addAll(List.of(object.shape(), object.color(), object.size())));
                Caption.parse(scene.caption()).links().forEach(link -> met.add(link.relation()));
            }
            assertThat(met).hasSize(3 + 7 + 8 + 3 + 4);
        }
    }

    @Test
    void heldOutCaptionsNeverOccurInTrainingInAnyWording() {
        Set<String> heldOut = new HashSet<>();
        for (Scene scene : new SceneGenerator(8, Split.HELD_OUT).distinct(500)) {
            assertThat(heldOut.add(Caption.parse(scene.caption()).key())).isTrue();
        }
        SceneGenerator training = new SceneGenerator(8, Split.TRAIN);
        for (int i = 0; i < 5_000; i++) {
            assertThat(heldOut)
                    .doesNotContain(Caption.parse(training.scene(i).caption()).key());
        }
    }

    @Test
    void refusesAbsurdNumbersOfDistinctScenes() {
        SceneGenerator generator = new SceneGenerator(9, Split.TRAIN);
        assertThat(generator.distinct(0)).isEmpty();
        assertThatIllegalArgumentException().isThrownBy(() -> generator.distinct(-1));
        assertThatIllegalArgumentException().isThrownBy(() -> generator.distinct(10_001));
    }
}
