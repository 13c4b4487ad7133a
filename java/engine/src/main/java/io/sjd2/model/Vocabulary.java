package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToIntFunction;

/// Token names of a model: from `vocabulary_map` of its configuration, else from its `tokenizer.json`.
final class Vocabulary {
    private static final String MAP = "vocabulary_map";

    /// Places of the text tokeniser in published folders, beside the model's own.
    private static final List<String> TOKENIZERS = List.of(
            "tokenizer.json",
            "text_tokenizer.json",
            "tokenizer/text_tokenizer.json",
            "tokenizer/tokenizer.json",
            "chameleon/tokenizer/text_tokenizer.json",
            "vqgan/text_tokenizer.json");

    private final String source;
    private final Map<String, Integer> ids;

    private Vocabulary(String source, Map<String, Integer> ids) {
        this.source = source;
        this.ids = ids;
    }

    /// @param folder  where to look for a tokeniser if the configuration has no map
    /// @param size    ids that the model has
    static Vocabulary find(Json config, Path folder, int size) throws IOException {
        if (config.has(MAP)) {
            return ofConfig(config, size);
        }
        Path file = tokenizerFile(folder);
        Json json = Json.read(file);
        Map<String, Integer> ids = new HashMap<>();
        Json vocab = json.get("model").get("vocab");
        if (vocab.isObject()) {
            addAll(ids, vocab, size);
        }
        if (json.has("added_tokens")) {
            for (Json added : json.get("added_tokens").items()) {
                ids.put(added.get("content").string(), id(added.get("id"), size));
            }
        }
        return new Vocabulary(file.toString(), ids);
    }

    private static Vocabulary ofConfig(Json config, int size) throws ModelFormatException {
        Map<String, Integer> ids = new HashMap<>();
        addAll(ids, config.get(MAP), size);
        return new Vocabulary(config.source(), ids);
    }

    private static void addAll(Map<String, Integer> ids, Json map, int size) throws ModelFormatException {
        for (String name : map.keys()) {
            ids.put(name, id(map.get(name), size));
        }
    }

    private static int id(Json value, int size) throws ModelFormatException {
        int id = value.int32();
        if (id < 0 || id >= size) {
            throw value.unexpected("a token id from 0 to " + (size - 1));
        }
        return id;
    }

    /// The text tokeniser of a model folder; the usual place if there is none.
    static Path tokenizerFile(Path folder) {
        return TOKENIZERS.stream()
                .map(folder::resolve)
                .filter(Files::exists)
                .findFirst()
                .orElse(folder.resolve(TOKENIZERS.getFirst()));
    }

    boolean has(String token) {
        return ids.containsKey(token);
    }

    int id(String token) throws ModelFormatException {
        Integer id = ids.get(token);
        if (id == null) {
            throw new ModelFormatException(
                    source, "names no token " + token, "the model's pictures need it; take the model's own files");
        }
        return id;
    }

    /// The map from codes to tokens.
    ///
    /// @param codeOf  the code that a token's name spells, -1 if it spells none
    CodeMap codes(String what, ToIntFunction<String> codeOf) throws ModelFormatException {
        Map<Integer, Integer> byCode = new HashMap<>();
        for (Map.Entry<String, Integer> entry : ids.entrySet()) {
            int code = codeOf.applyAsInt(entry.getKey());
            if (code >= 0 && byCode.put(code, entry.getValue()) != null) {
                throw new ModelFormatException(source, "names code " + code + " twice", "the file is damaged");
            }
        }
        int[] tokens = new int[byCode.size()];
        Arrays.fill(tokens, -1);
        for (Map.Entry<Integer, Integer> entry : byCode.entrySet()) {
            if (entry.getKey() >= tokens.length) {
                throw new ModelFormatException(
                        source,
                        "names image token " + entry.getKey() + ", but only " + tokens.length + " of them",
                        "the codes must count up from 0 without a gap");
            }
            tokens[entry.getKey()] = entry.getValue();
        }
        if (tokens.length < 2) {
            throw new ModelFormatException(
                    source, "names no image tokens (" + what + ")", "take the model's own files");
        }
        return CodeMap.of(tokens);
    }
}
