package io.sjd2.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import io.sjd2.io.Json;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Random texts and random ids through this reader and through the format's reference implementation: the same ids,
/// the same text, every time.
class TokenizerOracleTest {
    private static final int TEXTS_PER_TOKENIZER = 1_500;
    private static final Map<String, String> PLAIN = Map.of("truncation", "false", "padding", "false");

    /// Small tokenisers with the components that the golden files lack.
    private static final Map<String, String> COMPONENTS = new LinkedHashMap<>();

    static {
        String split = """
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
              {"type": "Split", "pattern": {"Regex": "%s"}, "behavior": "%s", "invert": %s},
              {"type": "ByteLevel", "add_prefix_space": %s, "trim_offsets": true, "use_regex": false}]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            """;
        COMPONENTS.put("removed", split.formatted("\\\\s+", "Removed", "false", "true"));
        COMPONENTS.put("previous", split.formatted("[aeiou ]", "MergedWithPrevious", "false", "false"));
        COMPONENTS.put("next", split.formatted("\\\\p{L}", "MergedWithNext", "false", "true"));
        COMPONENTS.put("contiguous", split.formatted("\\\\d", "Contiguous", "false", "false"));
        COMPONENTS.put("inverted", split.formatted("\\\\w+", "Removed", "true", "false"));
        COMPONENTS.put("line ends", split.formatted("\\\\s+$|^.", "Isolated", "false", "false"));
        COMPONENTS.put(
                "dialect", split.formatted("\\\\h+|[[:punct:]]+|\\\\p{Han}+|\\\\p{^L}+", "Isolated", "false", "false"));
        COMPONENTS.put("metaspace first", """
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
            "decoder": {"type": "Sequence", "decoders": [
              {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
              {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            """);
        COMPONENTS.put("metaspace always", """
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
            """);
        COMPONENTS.put("llama", """
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
              {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "decoder": {"type": "Sequence", "decoders": [
              {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
              {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            """);
        String normalized = """
            "normalizer": {"type": "Sequence", "normalizers": [%s]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
              %s, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            """;
        COMPONENTS.put(
                "accents",
                normalized.formatted(
                        "{\"type\": \"NFD\"}, {\"type\": \"Lowercase\"}, {\"type\": \"StripAccents\"}",
                        "{\"type\": \"BertPreTokenizer\"}"));
        COMPONENTS.put(
                "nfkc",
                normalized.formatted(
                        "{\"type\": \"NFKC\"}, {\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}",
                        "{\"type\": \"Whitespace\"}"));
        COMPONENTS.put(
                "nfc",
                normalized.formatted(
                        "{\"type\": \"NFC\"}, {\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"},"
                                + " \"content\": \"_\"}",
                        "{\"type\": \"WhitespaceSplit\"}, {\"type\": \"Digits\", \"individual_digits\": false}, "
                                + "{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}"));
    }

    @BeforeAll
    static void keepTheOracleOffline() {
        System.setProperty("ai.djl.offline", "true");
        // It unpacks its library; keep that inside the build folder rather than in somebody's home.
        System.setProperty("DJL_CACHE_DIR", "target/djl");
        System.setProperty("ENGINE_CACHE_DIR", "target/djl");
        try {
            HuggingFaceTokenizer.newInstance(stream(WordTokenizerBuilder.build(List.of("a"), 1)), PLAIN)
                    .close();
        } catch (UnsatisfiedLinkError | NoClassDefFoundError | ExceptionInInitializerError | IOException e) {
            Assumptions.abort("the reference tokenizer does not load on this platform: " + e);
        }
    }

    static Stream<Arguments> tokenizers() throws IOException {
        List<Arguments> all = new ArrayList<>();
        for (String family : TokenizerGoldenTest.FAMILIES) {
            byte[] json = TokenizerGoldenTest.resource(family + "/tokenizer.json");
            all.add(Arguments.of(Named.of(family, new String(json, StandardCharsets.UTF_8))));
        }
        List<String> words = List.of("a", "large", "red", "green", "circle", "above", "orange", "square");
        all.add(Arguments.of(Named.of("words", WordTokenizerBuilder.build(words, 12))));
        COMPONENTS.forEach((name, components) -> all.add(Arguments.of(Named.of(name, small(components)))));
        return all.stream();
    }

    /// A tokeniser with the given stages over a vocabulary of bytes, letters, fallback bytes and a few merges, and one
    /// added token for each flag.
    private static String small(String components) {
        Map<String, Integer> vocab = new LinkedHashMap<>();
        for (int b = 0; b < 256; b++) {
            vocab.put(String.valueOf(ByteAlphabet.symbol(b)), vocab.size());
        }
        vocab.putIfAbsent("▁", vocab.size());
        vocab.put("<unk>", vocab.size());
        boolean fallback = components.contains("ByteFallback");
        for (int b = 0; fallback && b < 256; b++) {
            vocab.put("<0x%02X>".formatted(b), vocab.size());
        }
        List<List<String>> merges = List.of(
                List.of("a", "b"),
                List.of("r", "e"),
                List.of("re", "d"),
                List.of("▁", "a"),
                List.of("Ġ", "t"),
                List.of("h", "e"),
                List.of("Ġt", "he"),
                List.of("l", "l"));
        merges.forEach(merge -> vocab.putIfAbsent(String.join("", merge), vocab.size()));
        List<Object> added = new ArrayList<>();
        int next = vocab.size();
        added.add(added(next++, "<plain>", false, false, false, false));
        added.add(added(next++, "<left>", false, true, false, false));
        added.add(added(next++, "<right>", false, false, true, false));
        added.add(added(next++, "word", true, false, false, false));
        added.add(added(next++, "<plain>er", false, false, false, false));
        added.add(added(next++, "Straße", false, false, false, true));
        added.add(added(next, "<Both>", false, true, true, true));
        Map<String, Object> model = new LinkedHashMap<>();
        model.put("type", "BPE");
        model.put("unk_token", "<unk>");
        model.put("fuse_unk", true);
        model.put("byte_fallback", fallback);
        model.put("ignore_merges", components.contains("Contiguous"));
        model.put("vocab", vocab);
        model.put("merges", merges);
        return "{\"version\": \"1.0\", \"added_tokens\": " + Json.text(added) + ",\n" + components + "\"model\": "
                + Json.text(model) + "}";
    }

    private static Map<String, Object> added(
            int id, String content, boolean singleWord, boolean lstrip, boolean rstrip, boolean normalized) {
        Map<String, Object> token = new LinkedHashMap<>();
        token.put("id", id);
        token.put("content", content);
        token.put("single_word", singleWord);
        token.put("lstrip", lstrip);
        token.put("rstrip", rstrip);
        token.put("normalized", normalized);
        token.put("special", !normalized);
        return token;
    }

    @ParameterizedTest
    @MethodSource("tokenizers")
    void agrees(String json) throws IOException {
        Tokenizer tokenizer = Tokenizer.parse(json, "tokenizer.json");
        List<String> special = new ArrayList<>();
        for (Json token : Json.parse(json, "tokenizer.json").get("added_tokens").items()) {
            special.add(token.get("content").string());
        }
        RandomText texts = new RandomText(11, special);
        Random random = new Random(12);
        try (HuggingFaceTokenizer oracle = HuggingFaceTokenizer.newInstance(stream(json), PLAIN)) {
            for (int i = 0; i < TEXTS_PER_TOKENIZER; i++) {
                String text = texts.next();
                boolean addSpecial = i % 2 == 0;
                int[] expected = Arrays.stream(
                                oracle.encode(text, addSpecial, false).getIds())
                        .mapToInt(Math::toIntExact)
                        .toArray();
                int[] ids = tokenizer.encode(text, addSpecial);
                assertThat(ids).as("ids of \"%s\"", visible(text)).containsExactly(expected);
                assertDecodes(tokenizer, oracle, ids);
                assertDecodes(
                        tokenizer,
                        oracle,
                        random.ints(1 + random.nextInt(12), 0, tokenizer.size()).toArray());
            }
        }
    }

    private static void assertDecodes(Tokenizer tokenizer, HuggingFaceTokenizer oracle, int[] ids) {
        long[] wide = Arrays.stream(ids).asLongStream().toArray();
        for (boolean skip : new boolean[] {false, true}) {
            assertThat(tokenizer.decode(ids, skip))
                    .as("text of %s, skipping special: %s", Arrays.toString(ids), skip)
                    .isEqualTo(oracle.decode(wide, skip));
        }
    }

    private static InputStream stream(String json) {
        return new ByteArrayInputStream(json.getBytes(StandardCharsets.UTF_8));
    }

    private static String visible(String text) {
        return text.codePoints()
                .collect(
                        StringBuilder::new,
                        (out, c) -> {
                            if (c > ' ' && c < 0x7f) {
                                out.appendCodePoint(c);
                            } else {
                                out.append("{").append(Integer.toHexString(c)).append("}");
                            }
                        },
                        StringBuilder::append)
                .toString();
    }
}
