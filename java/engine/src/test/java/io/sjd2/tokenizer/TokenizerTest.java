package io.sjd2.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.FieldSource;

class TokenizerTest {
    static final List<String> FAMILIES = TokenizerGoldenTest.FAMILIES;

    private static final String MINIMAL = "{\"model\": {\"type\": \"BPE\", "
            + "\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"<unk>\": 3}, \"merges\": [\"a b\"]}}";

    private static Tokenizer minimal(String replaced, String by) throws ModelFormatException {
        assertThat(MINIMAL).contains(replaced);
        return Tokenizer.parse(MINIMAL.replace(replaced, by), "tiny/tokenizer.json");
    }

    @ParameterizedTest
    @FieldSource("FAMILIES")
    void takesTenThousandWords(String family) throws IOException {
        Tokenizer tokenizer = TokenizerGoldenTest.tokenizer(family);
        Random random = new Random(31);
        String text = IntStream.range(0, 10_000)
                .mapToObj(i -> Integer.toString(random.nextInt(1 << 30), 36))
                .collect(Collectors.joining(" "));
        assertThat(tokenizer.decode(tokenizer.encode(text, true), true)).isEqualTo(text);
    }

    @ParameterizedTest
    @FieldSource("FAMILIES")
    void takesOneWordOfAHundredThousandLetters(String family) throws IOException {
        // Quadratic merging would need 10^10 steps here.
        Tokenizer tokenizer = TokenizerGoldenTest.tokenizer(family);
        String text = "there".repeat(20_000);
        int[] ids = tokenizer.encode(text, false);
        assertThat(ids.length).isLessThan(text.length());
        assertThat(tokenizer.decode(ids, true)).isEqualTo(text);
    }

    @ParameterizedTest
    @FieldSource("FAMILIES")
    void aLoneSurrogateCountsAsTheReplacementCharacter(String family) throws IOException {
        Tokenizer tokenizer = TokenizerGoldenTest.tokenizer(family);
        for (String broken : List.of("\ud83d", "\ude00 x", "a\ud83d\ud83d\ude00", "\ude00\ud83d")) {
            String mended = broken.codePoints()
                    .map(c -> Character.getType(c) == Character.SURROGATE ? 0xfffd : c)
                    .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
                    .toString();
            assertThat(tokenizer.encode(broken, true)).containsExactly(tokenizer.encode(mended, true));
            assertThat(tokenizer.decode(tokenizer.encode(broken, true), true)).isEqualTo(mended);
        }
    }

    @Test
    void mergesMayBeStringsOrPairsAndIgnored() throws ModelFormatException {
        assertThat(minimal("b\"]", "b\"]").encode("abba", false)).containsExactly(2, 1, 0);
        assertThat(minimal("[\"a b\"]", "[[\"a\", \"b\"]]").encode("abba", false))
                .containsExactly(2, 1, 0);
        assertThat(minimal("[\"a b\"]", "[\"#version: 0.2\", \"a b\"]").encode("ab", false))
                .containsExactly(2);
        Tokenizer whole = minimal("[\"a b\"]", "[], \"ignore_merges\": true");
        assertThat(whole.encode("ab", false)).containsExactly(2);
        assertThat(whole.encode("abb", false)).containsExactly(0, 1, 1);
    }

    @Test
    void unknownCharactersBecomeTheUnknownTokenOrNothing() throws ModelFormatException {
        assertThat(minimal("b\"]", "b\"]").encode("axxb", false)).containsExactly(2);
        assertThat(minimal("b\"]", "b\"], \"unk_token\": \"<unk>\"").encode("axxb", false))
                .containsExactly(0, 3, 3, 1);
        assertThat(minimal("b\"]", "b\"], \"unk_token\": \"<unk>\", \"fuse_unk\": true")
                        .encode("axxb", false))
                .containsExactly(0, 3, 1);
    }

    @Test
    void idsOutsideTheVocabularyAreLeftOutOrRefused() throws ModelFormatException {
        Tokenizer tokenizer = minimal("b\"]", "b\"]");
        assertThat(tokenizer.size()).isEqualTo(4);
        assertThat(tokenizer.decode(new int[] {0, -1, 4, Integer.MAX_VALUE, 1}, false))
                .isEqualTo("a b");
        assertThat(tokenizer.idOf("nothing")).isEqualTo(-1);
        assertThatThrownBy(() -> tokenizer.tokenOf(4))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("4");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
        {"model"              | {"normalizer": {"type": "Precompiled"}, "model"                         | Precompiled
        {"model"              | {"pre_tokenizer": {"type": "UnicodeScripts"}, "model"                   | UnicodeScripts
        {"model"              | {"decoder": {"type": "CTC"}, "model"                                    | CTC
        {"model"              | {"post_processor": {"type": "RobertaProcessing"}, "model"               | RobertaProcessing
        {"model"              | {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}]}, "model" | normalizers[0]
        {"model"              | {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}, "model" | regular expression
        {"model"              | {"added_tokens": [{"id": 0, "content": "x"}], "model"                   | "a" has it too
        {"model"              | {"added_tokens": [{"id": 9, "content": "a"}], "model"                   | expected 0
        {"model"              | {"added_tokens": [{"id": 9, "content": ""}], "model"                    | not empty
        {"model"              | {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "q"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"q": {"ids": [77]}}}, "model" | 77
        "BPE"                 | "Unigram"                                                               | Unigram
        "a b"                 | "a c"                                                                   | a c
        "a b"                 | "a  b"                                                                  | one space
        "<unk>": 3            | "<unk>": 2                                                              | an id of its own
        "<unk>": 3            | "<unk>": -3                                                             | -3
        "<unk>": 3            | "<unk>": 4000000000                                                     | 4000000000
        "<unk>": 3            | "<unk>": 2147483647                                                     | 2147483647
        "<unk>": 3            | "a": 3                                                                  | twice
        "merges"              | "dropout": 0.1, "merges"                                                | dropout
        "merges"              | "end_of_word_suffix": "</w>", "merges"                                  | end_of_word_suffix
        """)
    void whatIsNotBuiltOrContradictsItselfIsNamed(String replaced, String by, String named) {
        assertThatThrownBy(() -> minimal(replaced, by))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith("tiny/tokenizer.json: ")
                .hasMessageContaining(named);
    }

    @Test
    void aMissingFileIsNamed() {
        assertThatThrownBy(() -> Tokenizer.load(Path.of("no/such/tokenizer.json")))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("no/such/tokenizer.json: does not exist");
    }

    @Test
    void anExpressionThatExhaustsTheStackIsTheCallersError() throws ModelFormatException {
        Tokenizer tokenizer = minimal(
                "{\"model\"",
                "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"((a|b)(a|b))*c\"}, "
                        + "\"behavior\": \"Isolated\"}, \"model\"");
        assertThatThrownBy(() -> tokenizer.encode("ab".repeat(1_000_000), false))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("shorten it");
    }

    @Test
    void damagedFilesEndInTypedErrors() throws ModelFormatException {
        String json = MINIMAL.replace("{\"model\"", """
            {"added_tokens": [{"id": 4, "content": "<s>", "special": true, "lstrip": true, "normalized": false}],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Prepend", "prepend": "b"},
            {"type": "Replace", "pattern": {"String": "x"}, "content": "ab"}]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},
            {"type": "Split", "pattern": {"Regex": "[^\\\\s\\\\p{L}]+|a{2,}(?!b)"}, "behavior": "Isolated", "invert": false},
            {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}]},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
            {"Sequence": {"id": "A"}}], "special_tokens": {"<s>": {"ids": [4]}}},
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"},
            {"type": "Strip", "content": "b", "start": 1, "stop": 0}]}, "model\"\
            """);
        assertThat(Tokenizer.parse(json, "sound").encode("a  xA <s>1", true)).isNotEmpty();
        byte[] sound = json.getBytes(StandardCharsets.UTF_8);
        Random random = new Random(41);
        int refused = 0;
        int mutants = 20_000;
        for (int i = 0; i < mutants; i++) {
            byte[] mutant = sound.clone();
            for (int n = 1 + random.nextInt(3); n > 0; n--) {
                mutant[random.nextInt(mutant.length)] = (byte) random.nextInt(128);
            }
            try {
                Tokenizer tokenizer = Tokenizer.parse(new String(mutant, StandardCharsets.UTF_8), "mutant");
                assertThatCode(() -> tokenizer.decode(tokenizer.encode("a  xA <s>1", true), false))
                        .doesNotThrowAnyException();
            } catch (ModelFormatException e) {
                refused++;
                assertThat(e).hasMessageStartingWith("mutant: ");
            }
        }
        assertThat(refused).isBetween(mutants / 4, mutants - 1);
    }
}
