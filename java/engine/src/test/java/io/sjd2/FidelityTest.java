package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.scenes.Caption;
import io.sjd2.scenes.Scene;
import io.sjd2.scenes.SceneGenerator;
import io.sjd2.tensor.RgbImage;
import java.util.HashSet;
import java.util.List;
import org.junit.jupiter.api.Test;

class FidelityTest {
    private static final int SCENES = 60;

    @Test
    void truePicturesAreFaithfulAndOthersAreNot() {
        SceneGenerator generator = new SceneGenerator(77, SceneGenerator.Split.HELD_OUT);
        int objects = 0;
        int right = 0;
        int rightElsewhere = 0;
        for (int i = 0; i < SCENES; i++) {
            Scene scene = generator.scene(i);
            Fidelity own = Fidelity.of(scene.image(), scene.caption()).orElseThrow();
            Fidelity other = Fidelity.of(generator.scene(i + SCENES).image(), scene.caption())
                    .orElseThrow();
            assertThat(own.objects()).isEqualTo(scene.objects().size());
            objects += own.objects();
            right += own.colorAndPlace();
            rightElsewhere += other.colorAndPlace();
        }
        assertThat(right).isGreaterThanOrEqualTo(objects - 1);
        assertThat(rightElsewhere).as("of %d", objects).isLessThan(objects / 3);
    }

    @Test
    void whatCannotBeCheckedIsLeftOut() {
        RgbImage picture = RgbImage.blank(64, 64);
        assertThat(Fidelity.of(picture, "a sunset over the sea")).isEmpty();
        assertThat(Fidelity.of(picture, "a star and ".repeat(7))).isEmpty();
        assertThat(Fidelity.of(RgbImage.blank(32, 32), "a star")).isEmpty();
        assertThat(Fidelity.of(picture, "a red star").orElseThrow()).isEqualTo(new Fidelity(1, 0, 0, 0, 0, false));
    }

    @Test
    void countsObjectsNobodyAskedFor() {
        Scene scene = new SceneGenerator(7, SceneGenerator.Split.TRAIN)
                .distinct(50).stream()
                        .filter(s -> s.objects().size() == 3)
                        .findFirst()
                        .orElseThrow();
        String one = Caption.parse(scene.caption()).objects().getFirst().phrase();
        assertThat(Fidelity.of(scene.image(), scene.caption()).orElseThrow().extra())
                .isZero();
        assertThat(Fidelity.of(scene.image(), one).orElseThrow().extra()).isEqualTo(2);
    }

    @Test
    void heldOutPromptsAreDifferentRepeatableAndHeldOut() {
        List<String> prompts = ScenePrompts.heldOut(200);
        assertThat(new HashSet<>(prompts)).hasSize(200);
        assertThat(ScenePrompts.heldOut(50)).isEqualTo(prompts.subList(0, 50));
        assertThat(prompts).allSatisfy(prompt -> {
            assertThat(SceneGenerator.splitOf(Caption.parse(prompt))).isEqualTo(SceneGenerator.Split.HELD_OUT);
            assertThat(Caption.parse(prompt).objects()).isNotEmpty();
        });
        assertThatThrownBy(() -> ScenePrompts.heldOut(0)).isInstanceOf(IllegalArgumentException.class);
    }
}
