package io.sjd2.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {
    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                " ",
                "{",
                "[1",
                "[1,]",
                "[1,,2]",
                "{\"a\":1,}",
                "{a:1}",
                "{'a':1}",
                "{\"a\" 1}",
                "[1] []",
                "[1]x",
                "// comment\n[1]",
                "NaN",
                "[NaN]",
                "[Infinity]",
                "[-Infinity]",
                "[1e400]",
                "[-1e400]",
                "[9223372036854775808]",
                "[1e999999999999]",
                "[01]",
                "[+1]",
                "[.5]",
                "[True]",
                "[\"\n\"]",
                "[\"\\q\"]",
                "[\"\\u12g4\"]",
                "\"open",
                "{\"a\":1,\"a\":2}",
                "{\"a\":{\"b\":1,\"b\":null}}",
                "{\"a\":null,\"a\":null}",
                ")]}'\n[1]"
            })
    void whatIsNotStrictJsonIsRefused(String text) {
        assertThatThrownBy(() -> Json.parse(text, "some.json"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith("some.json: ");
    }

    @Test
    void nestingAndNumbersOfAnyLengthEndInTypedErrors() throws ModelFormatException {
        for (String open : List.of("[", "{\"a\":")) {
            assertThatThrownBy(() -> Json.parse(open.repeat(1_000_000), "deep"))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("deep: ");
        }
        assertThatThrownBy(() -> Json.parse("[" + "1".repeat(1_000_000) + "]", "long"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageMatching("(?s).{1,300}");
        assertThat(Json.parse("[".repeat(60) + "]".repeat(60), "shallow").isArray())
                .isTrue();
    }

    @Test
    void bytesThatAreNotUtf8AreRefused() throws ModelFormatException {
        assertThatThrownBy(() -> Json.parse(new byte[] {'"', (byte) 0xff, '"'}, "bytes"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("not UTF-8");
        assertThat(Json.parse("\ufeff\"é\"".getBytes(StandardCharsets.UTF_8), "bytes")
                        .string())
                .isEqualTo("é");
    }

    @Test
    void valuesAreReadAsWhatTheyAre() throws ModelFormatException {
        Json json = Json.parse(
                "{\"i\": 9223372036854775807, \"d\": 1e4, \"h\": 0.5, \"t\": true, \"s\": \"x\", \"n\": null, \"l\":"
                        + " [1, [2]]}",
                "c.json");
        assertThat(json.get("i").int64()).isEqualTo(Long.MAX_VALUE);
        assertThat(json.get("d").int32()).isEqualTo(10_000);
        assertThat(json.number("h", 7)).isEqualTo(0.5);
        assertThat(json.bool("t", false)).isTrue();
        assertThat(json.string("n", "fallback")).isEqualTo("fallback");
        assertThat(json.int32("absent", 3)).isEqualTo(3);
        assertThat(json.find("n")).isEmpty();
        assertThat(json.has("n")).isFalse();
        assertThat(json.get("n").isNull()).isTrue();
        assertThat(json.keys()).containsExactly("i", "d", "h", "t", "s", "n", "l");
        assertThat(json.get("l").items().get(1).items().getFirst().path()).isEqualTo("l[1][0]");
    }

    @Test
    void messagesNameFilePlaceAndValue() throws ModelFormatException {
        Json json = Json.parse("{\"a\": {\"b\": [\"wide\", 0.5, 4294967296]}}", "config.json");
        Json list = json.get("a").get("b");
        assertThatThrownBy(() -> list.items().get(0).int32())
                .hasMessage("config.json: a.b[0] is \"wide\"; expected an integer");
        assertThatThrownBy(() -> list.items().get(1).int64()).hasMessageContaining("a.b[1] is 0.5");
        assertThatThrownBy(() -> list.items().get(2).int32()).hasMessageContaining("4294967296");
        assertThatThrownBy(list::string).hasMessageContaining("a.b is an array of 3");
        assertThatThrownBy(() -> json.get("a").get("c")).hasMessageContaining("config.json: a.c is missing");
        assertThatThrownBy(() -> list.get("c")).hasMessageContaining("expected an object");
    }

    @Test
    void writtenTextReadsBack() throws ModelFormatException {
        Map<String, Object> value = new LinkedHashMap<>();
        value.put("quote \" back \\ line \n tab \t zero \0 del \u007f", "\u2028 é 猫 😀");
        value.put("list", Arrays.asList(1, -2L, 0.1, 1e-300, true, null, List.of(), Map.of()));
        for (String text : List.of(Json.text(value), Json.prettyText(value))) {
            Json read = Json.parse(text.getBytes(StandardCharsets.UTF_8), "written");
            assertThat(read.keys()).containsExactlyElementsOf(value.keySet());
            assertThat(Json.text(read)).isEqualTo(Json.text(value));
        }
        assertThat(Json.text("\ud800x\udc00😀")).isEqualTo("\"\ufffdx\ufffd😀\"");
        assertThatThrownBy(() -> Json.text(List.of(Double.NaN))).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> Json.text(List.of(Float.POSITIVE_INFINITY)))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> Json.text(new Object())).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void missingFilesAndFoldersAreNamed(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("config.json");
        assertThatThrownBy(() -> Json.read(file))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining(file + ": does not exist");
        assertThatThrownBy(() -> Json.read(folder)).hasMessageContaining("is not a regular file");
        Files.writeString(file, "{\"a\": 1}");
        assertThat(Json.read(file).get("a").int32()).isEqualTo(1);
    }
}
