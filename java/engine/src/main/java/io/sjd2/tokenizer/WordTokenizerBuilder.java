package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// Makes the `tokenizer.json` of a small model that knows few words, each as one token, and still takes any text.
///
/// Ids: [#PAD_ID], [#BOS_ID], [#BOI_ID], then the 256 bytes, then the tokens of the merges, then one token per image
/// code. Text is put into lower case and gets a space before it, so that a word is the same token wherever it stands;
/// decoding takes that space away again. The same arguments give the same text.
public final class WordTokenizerBuilder {
    /// Fills up rows of a batch.
    public static final String PAD = "<pad>";

    /// Begins every sequence.
    public static final String BOS = "<bos>";

    /// Ends the text and begins the image.
    public static final String BOI = "<boi>";

    /// The id of [#PAD].
    public static final int PAD_ID = 0;

    /// The id of [#BOS].
    public static final int BOS_ID = 1;

    /// The id of [#BOI].
    public static final int BOI_ID = 2;

    private static final int MIN_DIGITS = 3;

    private final Map<String, Integer> vocab = new LinkedHashMap<>();
    private final Map<String, Integer> ranks = new LinkedHashMap<>();

    private WordTokenizerBuilder() {}

    /// The text of the file.
    ///
    /// @param words      letters only, in lower case; the order decides the ids
    /// @param imageCodes number of image tokens, at least 1
    /// @throws IllegalArgumentException naming a word that is not made of lower-case letters
    public static String build(Collection<String> words, int imageCodes) {
        if (imageCodes < 1) {
            throw new IllegalArgumentException("imageCodes is " + imageCodes + ", expected at least 1");
        }
        WordTokenizerBuilder builder = new WordTokenizerBuilder();
        List.of(PAD, BOS, BOI).forEach(builder::addToken);
        for (int b = 0; b < 256; b++) {
            builder.addToken(String.valueOf(ByteAlphabet.symbol(b)));
        }
        for (String word : words) {
            boolean fits = word.equals(word.toLowerCase(Locale.ROOT))
                    && word.codePoints().allMatch(Character::isLetter);
            if (word.isEmpty() || !fits) {
                throw new IllegalArgumentException("word \"" + word + "\" is not made of lower-case letters");
            }
            builder.addWord(ByteAlphabet.write(word));
            builder.addWord(ByteAlphabet.write(" " + word));
        }
        return Json.prettyText(builder.file(imageCodes));
    }

    /// The token of an image code, `<img007>`.
    ///
    /// @param code       from 0
    /// @param imageCodes how many there are; decides the number of digits, at least 3
    public static String imageToken(int code, int imageCodes) {
        int digits = Math.max(MIN_DIGITS, Integer.toString(imageCodes - 1).length());
        return String.format(Locale.ROOT, "<img%0" + digits + "d>", code);
    }

    private void addToken(String token) {
        vocab.putIfAbsent(token, vocab.size());
    }

    /// Adds merges until the word is one token. They rank below all earlier ones, so that no earlier word changes: as
    /// long as one of its own merges applies, a later one is never chosen.
    private void addWord(String word) {
        List<String> symbols = new ArrayList<>();
        word.chars().forEach(c -> symbols.add(String.valueOf((char) c)));
        while (symbols.size() > 1) {
            int at = bestPair(symbols);
            if (at < 0) {
                at = symbols.getFirst().equals(String.valueOf(ByteAlphabet.symbol(' '))) && symbols.size() > 2 ? 1 : 0;
                ranks.put(symbols.get(at) + " " + symbols.get(at + 1), ranks.size());
            }
            String merged = symbols.get(at) + symbols.remove(at + 1);
            symbols.set(at, merged);
            addToken(merged);
        }
    }

    private int bestPair(List<String> symbols) {
        int best = -1;
        int bestRank = Integer.MAX_VALUE;
        for (int i = 0; i + 1 < symbols.size(); i++) {
            int rank = ranks.getOrDefault(symbols.get(i) + " " + symbols.get(i + 1), Integer.MAX_VALUE);
            if (rank < bestRank) {
                bestRank = rank;
                best = i;
            }
        }
        return best;
    }

    private Map<String, Object> file(int imageCodes) {
        List<Object> added = new ArrayList<>();
        added.add(addedToken(PAD_ID, PAD));
        added.add(addedToken(BOS_ID, BOS));
        added.add(addedToken(BOI_ID, BOI));
        for (int code = 0; code < imageCodes; code++) {
            added.add(addedToken(vocab.size() + code, imageToken(code, imageCodes)));
        }
        Map<String, Object> model = new LinkedHashMap<>();
        model.put("type", "BPE");
        model.put("dropout", null);
        model.put("unk_token", null);
        model.put("continuing_subword_prefix", null);
        model.put("end_of_word_suffix", null);
        model.put("fuse_unk", false);
        model.put("byte_fallback", false);
        model.put("ignore_merges", false);
        model.put("vocab", vocab);
        model.put("merges", new ArrayList<>(ranks.keySet()));

        Map<String, Object> file = new LinkedHashMap<>();
        file.put("version", "1.0");
        file.put("truncation", null);
        file.put("padding", null);
        file.put("added_tokens", added);
        file.put("normalizer", component("Lowercase"));
        file.put("pre_tokenizer", byteLevel(true));
        file.put("post_processor", template());
        Map<String, Object> strip = component("Strip");
        strip.put("content", " ");
        strip.put("start", 1);
        strip.put("stop", 0);
        Map<String, Object> decoder = component("Sequence");
        decoder.put("decoders", List.of(byteLevel(true), strip));
        file.put("decoder", decoder);
        file.put("model", model);
        return file;
    }

    private static Map<String, Object> component(String type) {
        Map<String, Object> component = new LinkedHashMap<>();
        component.put("type", type);
        return component;
    }

    private static Map<String, Object> byteLevel(boolean addPrefixSpace) {
        Map<String, Object> component = component("ByteLevel");
        component.put("add_prefix_space", addPrefixSpace);
        component.put("trim_offsets", true);
        component.put("use_regex", true);
        return component;
    }

    private static Map<String, Object> addedToken(int id, String content) {
        Map<String, Object> token = new LinkedHashMap<>();
        token.put("id", id);
        token.put("content", content);
        token.put("single_word", false);
        token.put("lstrip", false);
        token.put("rstrip", false);
        token.put("normalized", false);
        token.put("special", true);
        return token;
    }

    private static Map<String, Object> template() {
        Map<String, Object> bos = Map.of("SpecialToken", ordered("id", BOS, "type_id", 0));
        Map<String, Object> first = Map.of("Sequence", ordered("id", "A", "type_id", 0));
        Map<String, Object> second = Map.of("Sequence", ordered("id", "B", "type_id", 0));
        Map<String, Object> special = ordered("id", BOS, "ids", List.of(BOS_ID));
        special.put("tokens", List.of(BOS));
        Map<String, Object> template = component("TemplateProcessing");
        template.put("single", List.of(bos, first));
        template.put("pair", List.of(bos, first, bos, second));
        template.put("special_tokens", Map.of(BOS, special));
        return template;
    }

    private static Map<String, Object> ordered(String firstKey, Object first, String secondKey, Object second) {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put(firstKey, first);
        map.put(secondKey, second);
        return map;
    }
}
