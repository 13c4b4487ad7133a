package io.sjd2.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.ModelFormatException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;

class WordTokenizerBuilderTest {
    // Chosen to get in each other's way: shared beginnings, endings and middles.
    private static final List<String> WORDS = List.of("""
        a an and the to of left right above below small medium large red green blue yellow orange purple black white
        circle square triangle star ring diamond cross angle range reen ed arge tri
        """.strip().split("\\s+"));
    private static final int CODES = 512;

    private static Tokenizer tokenizer() throws ModelFormatException {
        return Tokenizer.parse(WordTokenizerBuilder.build(WORDS, CODES), "words");
    }

    @Test
    void everyWordIsOneTokenWhereverItStands() throws ModelFormatException {
        Tokenizer tokenizer = tokenizer();
        for (String word : WORDS) {
            int id = tokenizer.idOf("Ġ" + word);
            assertThat(id).as(word).isNotNegative();
            assertThat(tokenizer.encode(word, false)).as(word).containsExactly(id);
            assertThat(tokenizer.encode(" " + word, false)).as(word).containsExactly(id);
            assertThat(tokenizer.encode(word.toUpperCase(Locale.ROOT) + " " + word, false))
                    .as(word)
                    .containsExactly(id, id);
            assertThat(tokenizer.idOf(word)).as("without a space: %s", word).isNotNegative();
        }
    }

    @Test
    void aCaptionIsItsWordsAfterTheBeginToken() throws ModelFormatException {
        Tokenizer tokenizer = tokenizer();
        int[] ids = tokenizer.encode("A Red circle, and a blue star", true);
        List<String> tokens = new ArrayList<>();
        Arrays.stream(ids).forEach(id -> tokens.add(tokenizer.tokenOf(id)));
        assertThat(tokens).containsExactly("<bos>", "Ġa", "Ġred", "Ġcircle", ",", "Ġand", "Ġa", "Ġblue", "Ġstar");
        assertThat(tokenizer.decode(ids, true)).isEqualTo("a red circle, and a blue star");
    }

    @Test
    void idsFollowTheStatedLayout() throws ModelFormatException {
        Tokenizer tokenizer = tokenizer();
        assertThat(tokenizer.idOf(WordTokenizerBuilder.PAD)).isEqualTo(WordTokenizerBuilder.PAD_ID);
        assertThat(tokenizer.idOf(WordTokenizerBuilder.BOS)).isEqualTo(WordTokenizerBuilder.BOS_ID);
        assertThat(tokenizer.idOf(WordTokenizerBuilder.BOI)).isEqualTo(WordTokenizerBuilder.BOI_ID);
        assertThat(tokenizer.tokenOf(3)).isEqualTo(String.valueOf(ByteAlphabet.symbol(0)));
        assertThat(tokenizer.tokenOf(258)).isEqualTo(String.valueOf(ByteAlphabet.symbol(255)));
        int first = tokenizer.idOf(WordTokenizerBuilder.imageToken(0, CODES));
        for (int code = 0; code < CODES; code++) {
            int id = tokenizer.idOf(WordTokenizerBuilder.imageToken(code, CODES));
            assertThat(id).isEqualTo(first + code);
            assertThat(tokenizer.isSpecial(id)).isTrue();
        }
        assertThat(tokenizer.size()).isEqualTo(first + CODES);
        assertThat(tokenizer.encode("<bos>red<boi><img007><img511>", false))
                .containsExactly(1, tokenizer.idOf("Ġred"), 2, first + 7, first + 511);
        assertThat(WordTokenizerBuilder.imageToken(7, 16_384)).isEqualTo("<img00007>");
    }

    @Test
    void anyTextSurvivesTheRoundTripInLowerCase() throws ModelFormatException {
        Tokenizer tokenizer = tokenizer();
        RandomText texts = new RandomText(21, List.of());
        for (int i = 0; i < 2_000; i++) {
            String text = "x" + texts.next();
            StringBuilder lower = new StringBuilder();
            text.codePoints()
                    .forEach(c -> lower.append(c == 0x130 ? "i\u0307" : Character.toString(Character.toLowerCase(c))));
            assertThat(tokenizer.decode(tokenizer.encode(text, true), true)).isEqualTo(lower.toString());
        }
    }

    @Test
    void theSameWordsGiveTheSameFile() {
        assertThat(WordTokenizerBuilder.build(WORDS, CODES)).isEqualTo(WordTokenizerBuilder.build(WORDS, CODES));
    }

    @Test
    void wordsThatCouldNotBeOneTokenAreRefused() {
        for (String bad : List.of("", "Red", "light blue", "x2", "re-d")) {
            assertThatThrownBy(() -> WordTokenizerBuilder.build(List.of(bad), 4))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("\"" + bad + "\"");
        }
        assertThatThrownBy(() -> WordTokenizerBuilder.build(WORDS, 0)).hasMessageContaining("imageCodes is 0");
    }
}
