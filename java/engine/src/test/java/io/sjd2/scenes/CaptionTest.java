package io.sjd2.scenes;

import static io.sjd2.scenes.SceneRelation.ABOVE;
import static io.sjd2.scenes.SceneRelation.BELOW;
import static io.sjd2.scenes.SceneRelation.LEFT_OF;
import static io.sjd2.scenes.SceneRelation.RIGHT_OF;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CaptionTest {
    private static final Caption.Item LARGE_RED_CIRCLE =
            new Caption.Item(Optional.of(SceneSize.LARGE), Optional.of(SceneColor.RED), SceneShape.CIRCLE);
    private static final Caption.Item SMALL_BLUE_SQUARE =
            new Caption.Item(Optional.of(SceneSize.SMALL), Optional.of(SceneColor.BLUE), SceneShape.SQUARE);

    @ParameterizedTest
    @ValueSource(
            strings = {
                "a large red circle above a small blue square",
                "Large Red Circle above SMALL blue square.",
                "the large, red circle above the small blue square!",
                "large red-circle above\n\tsmall_blue_square"
            })
    void readsTheSameStatementsWhateverTheArticlesCaseAndPunctuation(String text) {
        Caption caption = Caption.parse(text);
        assertThat(caption.objects()).containsExactly(LARGE_RED_CIRCLE, SMALL_BLUE_SQUARE);
        assertThat(caption.links()).containsExactly(new Caption.Link(0, ABOVE, 1));
        assertThat(caption.unknownWords()).isEmpty();
    }

    @Test
    void readsEveryFormOfThreeObjects() {
        assertThat(links("a star, a ring and a cross")).isEmpty();
        assertThat(links("a star above a ring and to the left of a cross"))
                .containsExactly(new Caption.Link(0, ABOVE, 1), new Caption.Link(0, LEFT_OF, 2));
        assertThat(links("a star and a ring below a cross"))
                .containsExactly(new Caption.Link(0, BELOW, 2), new Caption.Link(1, BELOW, 2));
        assertThat(links("a star to the right of a ring and a cross"))
                .containsExactly(new Caption.Link(0, RIGHT_OF, 1), new Caption.Link(0, RIGHT_OF, 2));
        assertThat(links("a star above a ring to the left of a cross"))
                .containsExactly(new Caption.Link(0, ABOVE, 1), new Caption.Link(1, LEFT_OF, 2));
    }

    private static List<Caption.Link> links(String text) {
        Caption caption = Caption.parse(text);
        assertThat(caption.objects()).hasSize(3);
        return caption.links();
    }

    @Test
    void leavesUnstatedWhatIsNotSaid() {
        assertThat(Caption.parse("a star").objects())
                .containsExactly(new Caption.Item(Optional.empty(), Optional.empty(), SceneShape.STAR));
    }

    @Test
    void reportsEachUnknownWordOnceInOrder() {
        Caption caption = Caption.parse("a happy red circle beside a DOG, a happy 🎉circle");
        assertThat(caption.unknownWords()).containsExactly("happy", "beside", "dog", "🎉");
        assertThat(caption.objects()).hasSize(2);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", " ", "above", "above and below", "and, and", "red", "🎉🎉", "of the to"})
    void statesNothingWhereNothingIsNamed(String text) {
        assertThat(Caption.parse(text).objects()).isEmpty();
        assertThat(Caption.parse(text).links()).isEmpty();
    }

    @Test
    void survivesHalfACharacter() {
        assertThat(Caption.parse("a red ring \ud83c").objects()).hasSize(1);
        assertThat(Caption.parse("\udf89 a red ring").objects()).hasSize(1);
    }

    @Test
    void readsVeryLongTextsWithoutGrowingOutOfHand() {
        Caption caption =
                Caption.parse("a red circle and ".repeat(5_000) + " above " + "a blue ring and ".repeat(5_000));
        assertThat(caption.objects()).hasSize(10_000);
        assertThat(caption.links()).hasSizeLessThanOrEqualTo(1_000);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "a red ring above a blue star | the blue star below the red ring",
                "a red ring to the left of a star | star to the right of red ring",
                "a red ring and a blue star | a blue star, a red ring",
                "a ring and a star above a cross | a star and a ring above a cross"
            })
    void keysAgreeWhenTheStatementsDo(String one, String other) {
        assertThat(Caption.parse(one).key()).isEqualTo(Caption.parse(other).key());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "a red ring above a blue star | a red ring below a blue star",
                "a red ring above a blue star | a red ring and a blue star",
                "a red ring | a small red ring",
                "a ring and a ring | a ring",
                "a ring above a star | a star above a ring"
            })
    void keysDifferWhenTheStatementsDo(String one, String other) {
        assertThat(Caption.parse(one).key()).isNotEqualTo(Caption.parse(other).key());
    }

    @Test
    void everyWordOfTheVocabularyIsKnownAndListedOnce() {
        assertThat(SceneVocabulary.words()).doesNotHaveDuplicates();
        assertThat(Caption.parse(String.join(" ", SceneVocabulary.words())).unknownWords())
                .isEmpty();
    }
}
