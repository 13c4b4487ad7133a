package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.tokenizer.AddedTokens.Added;
import io.sjd2.tokenizer.AddedTokens.Part;
import io.sjd2.tokenizer.PreTokenizer.Piece;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Text to token ids and back, as a model's `tokenizer.json` says.
///
/// Any Java string can be encoded; a lone surrogate counts as U+FFFD. The file's `truncation` and `padding` are not
/// applied: callers see every token of their text and decide themselves. Immutable and thread-safe.
public final class Tokenizer {
    private final Optional<Normalizer> normalizer;
    private final Optional<PreTokenizer> preTokenizer;
    private final BytePairs model;
    private final PostProcessor postProcessor;
    private final Optional<Decoder> decoder;
    private final AddedTokens beforeNormalizing = new AddedTokens();
    private final AddedTokens afterNormalizing = new AddedTokens();
    private final Set<Integer> special = new HashSet<>();
    private final Map<String, Integer> ids;
    private final Map<Integer, String> tokens = new HashMap<>();
    private final int size;

    private Tokenizer(Json json) throws ModelFormatException {
        Optional<Json> normalizerJson = json.find("normalizer");
        Optional<Json> preTokenizerJson = json.find("pre_tokenizer");
        Optional<Json> postProcessorJson = json.find("post_processor");
        Optional<Json> decoderJson = json.find("decoder");
        normalizer =
                normalizerJson.isPresent() ? Optional.of(Normalizer.parse(normalizerJson.get())) : Optional.empty();
        preTokenizer = preTokenizerJson.isPresent()
                ? Optional.of(PreTokenizer.parse(preTokenizerJson.get()))
                : Optional.empty();
        postProcessor =
                postProcessorJson.isPresent() ? PostProcessor.parse(postProcessorJson.get()) : PostProcessor.NONE;
        decoder = decoderJson.isPresent() ? Optional.of(Decoder.parse(decoderJson.get())) : Optional.empty();
        model = BytePairs.parse(json.get("model"));
        ids = new HashMap<>(model.vocab());
        ids.forEach((token, id) -> tokens.put(id, token));
        if (json.has("added_tokens")) {
            for (Json added : json.get("added_tokens").items()) {
                add(added);
            }
        }
        checkTemplate(json);
        size = 1 + tokens.keySet().stream().mapToInt(Integer::intValue).max().orElse(-1);
    }

    /// Reads a `tokenizer.json`.
    ///
    /// @throws ModelFormatException if it is missing, damaged, or asks for a component that is not built, by name
    /// @throws IOException if reading fails
    public static Tokenizer load(Path tokenizerJson) throws IOException {
        return new Tokenizer(Json.read(tokenizerJson));
    }

    /// Reads the text of a `tokenizer.json`.
    ///
    /// @param sourceName the name that messages give it
    /// @throws ModelFormatException as [#load]
    public static Tokenizer parse(String json, String sourceName) throws ModelFormatException {
        return new Tokenizer(Json.parse(json, sourceName));
    }

    private void add(Json json) throws ModelFormatException {
        Added added = new Added(
                BytePairs.checkedId(json.get("id")),
                json.get("content").string(),
                json.bool("single_word", false),
                json.bool("lstrip", false),
                json.bool("rstrip", false),
                json.bool("normalized", !json.bool("special", false)),
                json.bool("special", false));
        if (added.content().isEmpty()) {
            throw json.get("content").unexpected("a token that is not empty");
        }
        Integer known = ids.putIfAbsent(added.content(), added.id());
        String other = tokens.putIfAbsent(added.id(), added.content());
        if (known != null && known != added.id()) {
            throw json.get("id").unexpected(known + ", the id that the vocabulary gives \"" + added.content() + "\"");
        }
        if (other != null && !other.equals(added.content())) {
            throw json.get("id").unexpected("an id of its own, \"" + other + "\" has it too");
        }
        if (added.special()) {
            special.add(added.id());
        }
        if (added.normalized()) {
            afterNormalizing.add(normalize(added.content()), added);
        } else {
            beforeNormalizing.add(added.content(), added);
        }
    }

    private void checkTemplate(Json json) throws ModelFormatException {
        List<Integer> used = new ArrayList<>(postProcessor.before());
        used.addAll(postProcessor.after());
        for (int id : used) {
            if (!tokens.containsKey(id)) {
                throw json.get("post_processor").unexpected("ids of the vocabulary in it, " + id + " is none");
            }
        }
    }

    /// The ids of a text. Added tokens inside the text are recognised, special ones included.
    ///
    /// @param text       any string, also empty
    /// @param addSpecial whether the post-processor adds its tokens, such as a begin token
    /// @throws IllegalArgumentException if the text is so long that the file's regular expressions cannot match it
    public int[] encode(String text, boolean addSpecial) {
        BytePairs.Ids out = new BytePairs.Ids();
        if (addSpecial) {
            postProcessor.before().forEach(out::add);
        }
        for (Part raw : beforeNormalizing.split(wellFormed(text), true)) {
            if (raw.id() >= 0) {
                out.add(raw.id());
                continue;
            }
            for (Part part : afterNormalizing.split(normalize(raw.text()), raw.first())) {
                if (part.id() >= 0) {
                    out.add(part.id());
                } else {
                    encodePart(new Piece(part.text(), part.first()), out);
                }
            }
        }
        if (addSpecial) {
            postProcessor.after().forEach(out::add);
        }
        return out.toArray();
    }

    private void encodePart(Piece part, BytePairs.Ids out) {
        List<Piece> pieces = new ArrayList<>();
        if (preTokenizer.isPresent()) {
            preTokenizer.get().split(part, pieces);
        } else {
            pieces.add(part);
        }
        for (Piece piece : pieces) {
            model.encode(piece.text(), out);
        }
    }

    private String normalize(String text) {
        return normalizer.isPresent() ? normalizer.get().normalize(text) : text;
    }

    private static String wellFormed(String text) {
        for (int i = 0; i < text.length(); i++) {
            if (Character.isSurrogate(text.charAt(i))) {
                StringBuilder fixed = new StringBuilder(text.length());
                text.codePoints()
                        .map(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE ? 0xfffd : c)
                        .forEach(fixed::appendCodePoint);
                return fixed.toString();
            }
        }
        return text;
    }

    /// The text of ids. Bytes that are no UTF-8 become U+FFFD; ids that the vocabulary lacks are left out.
    ///
    /// @param skipSpecial whether special tokens are left out
    public String decode(int[] ids, boolean skipSpecial) {
        List<String> found = new ArrayList<>(ids.length);
        for (int id : ids) {
            String token = tokens.get(id);
            if (token != null && !(skipSpecial && special.contains(id))) {
                found.add(token);
            }
        }
        return decoder.isPresent() ? String.join("", decoder.get().decode(found)) : String.join(" ", found);
    }

    /// The id of a token spelled as in the file (`Ġred`, `<bos>`), or -1 if there is none.
    public int idOf(String token) {
        return ids.getOrDefault(token, -1);
    }

    /// The token of an id, spelled as in the file.
    ///
    /// @throws IllegalArgumentException if there is none
    public String tokenOf(int id) {
        String token = tokens.get(id);
        if (token == null) {
            throw new IllegalArgumentException("token id " + id + " is not in the vocabulary of " + size);
        }
        return token;
    }

    /// Whether decoding may leave this id out as special.
    public boolean isSpecial(int id) {
        return special.contains(id);
    }

    /// One more than the largest id: the number of rows that an embedding table needs.
    public int size() {
        return size;
    }
}
