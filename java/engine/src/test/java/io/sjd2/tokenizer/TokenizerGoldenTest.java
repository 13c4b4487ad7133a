package io.sjd2.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Every case of the golden files, exactly.
class TokenizerGoldenTest {
    static final List<String> FAMILIES = List.of("chameleon", "emu3", "emu3_tiktoken_split", "janus");

    static byte[] resource(String name) throws IOException {
        try (InputStream in = TokenizerGoldenTest.class.getResourceAsStream("/golden/tokenizer/" + name)) {
            assertThat(in).as("test resource %s", name).isNotNull();
            return in.readAllBytes();
        }
    }

    static Tokenizer tokenizer(String family) throws IOException {
        String name = family + "/tokenizer.json";
        return Tokenizer.parse(new String(resource(name), java.nio.charset.StandardCharsets.UTF_8), name);
    }

    static Stream<Arguments> cases() throws IOException {
        List<Arguments> cases = new ArrayList<>();
        for (String family : FAMILIES) {
            Tokenizer tokenizer = tokenizer(family);
            String name = family + "/tokenizer_cases.json";
            for (Json each : Json.parse(resource(name), name).items()) {
                cases.add(Arguments.of(Named.of(family, tokenizer), each));
            }
        }
        assertThat(cases).as("cases").hasSizeGreaterThan(200);
        return cases.stream();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void agrees(Tokenizer tokenizer, Json golden) throws IOException {
        String text = golden.get("text").string();
        int[] ids = tokenizer.encode(text, false);
        List<String> tokens = new ArrayList<>();
        for (int id : ids) {
            tokens.add(tokenizer.tokenOf(id));
            assertThat(tokenizer.idOf(tokenizer.tokenOf(id))).isEqualTo(id);
        }
        List<String> goldenTokens = new ArrayList<>();
        for (Json token : golden.get("tokens").items()) {
            goldenTokens.add(token.string());
        }
        assertThat(ids).containsExactly(ints(golden.get("ids")));
        assertThat(tokens).isEqualTo(goldenTokens);
        assertThat(tokenizer.encode(text, true)).containsExactly(ints(golden.get("ids_with_special")));
        assertThat(tokenizer.decode(ids, false)).isEqualTo(golden.get("decoded").string());
        assertThat(tokenizer.decode(ids, true))
                .isEqualTo(golden.get("decoded_skip_special").string());
    }

    private static int[] ints(Json array) throws IOException {
        List<Json> items = array.items();
        int[] ints = new int[items.size()];
        for (int i = 0; i < ints.length; i++) {
            ints[i] = items.get(i).int32();
        }
        return ints;
    }
}
