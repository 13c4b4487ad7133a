package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.tokenizer.Splitter.Behavior;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

/// The second stage: cuts a text into the pieces within which tokens are merged.
@FunctionalInterface
interface PreTokenizer {
    /// @param text  what came out of the stage before
    /// @param first whether it starts where the whole input starts
    record Piece(String text, boolean first) {}

    /// Appends the pieces of `piece` to `out`, in order, none of them empty.
    void split(Piece piece, List<Piece> out);

    /// The word-like pieces of GPT-2.
    /// Source: the expression that a byte-level `tokenizer.json` implies when it says `"use_regex": true`.
    Pattern WORDS = Pattern.compile(
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            Pattern.UNICODE_CHARACTER_CLASS);

    /// @param json the component, `{"type": ...}`
    /// @throws ModelFormatException naming a component that is not built
    static PreTokenizer parse(Json json) throws ModelFormatException {
        Json type = json.get("type");
        return switch (type.string()) {
            case "Sequence" -> {
                List<PreTokenizer> parts = new ArrayList<>();
                for (Json part : json.get("pretokenizers").items()) {
                    parts.add(parse(part));
                }
                yield (piece, out) -> out.addAll(inSequence(parts, piece));
            }
            case "Split" ->
                splitting(Splitter.of(
                        Splitter.pattern(json.get("pattern")),
                        Behavior.parse(json.get("behavior")),
                        json.bool("invert", false)));
            case "ByteLevel" -> byteLevel(json.bool("add_prefix_space", true), json.bool("use_regex", true));
            case "Digits" ->
                splitting(Splitter.of(
                        CharClasses::isNumeric,
                        json.bool("individual_digits", false) ? Behavior.ISOLATED : Behavior.CONTIGUOUS));
            case "Punctuation" -> {
                Behavior behavior = json.has("behavior") ? Behavior.parse(json.get("behavior")) : Behavior.ISOLATED;
                yield splitting(Splitter.of(CharClasses::isPunctuation, behavior));
            }
            case "Metaspace" -> metaspace(Metaspace.parse(json), json.bool("split", true));
            case "Whitespace" -> {
                Pattern words = Pattern.compile("\\w+|[^\\w\\s]+", Pattern.UNICODE_CHARACTER_CLASS);
                yield splitting(Splitter.of(words, Behavior.REMOVED, true));
            }
            case "WhitespaceSplit" -> splitting(Splitter.of(CharClasses::isWhiteSpace, Behavior.REMOVED));
            case "BertPreTokenizer" ->
                (piece, out) -> out.addAll(inSequence(
                        List.of(
                                splitting(Splitter.of(CharClasses::isWhiteSpace, Behavior.REMOVED)),
                                splitting(Splitter.of(CharClasses::isPunctuation, Behavior.ISOLATED))),
                        piece));
            default ->
                throw type.unexpected("a pre-tokenizer that is built: Sequence, Split, ByteLevel, Digits, Punctuation, "
                        + "Metaspace, Whitespace, WhitespaceSplit, BertPreTokenizer");
        };
    }

    private static List<Piece> inSequence(List<PreTokenizer> parts, Piece piece) {
        List<Piece> pieces = List.of(piece);
        for (PreTokenizer part : parts) {
            List<Piece> next = new ArrayList<>();
            for (Piece each : pieces) {
                part.split(each, next);
            }
            pieces = next;
        }
        return pieces;
    }

    private static PreTokenizer splitting(Splitter splitter) {
        return (piece, out) -> addAll(splitter.split(piece.text), piece, out);
    }

    private static void addAll(List<String> texts, Piece whole, List<Piece> out) {
        boolean first = whole.first;
        for (String text : texts) {
            out.add(new Piece(text, first));
            first = false;
        }
    }

    private static PreTokenizer byteLevel(boolean addPrefixSpace, boolean useRegex) {
        Splitter words = Splitter.of(WORDS, Behavior.ISOLATED, false);
        return (piece, out) -> {
            String text = addPrefixSpace && !piece.text.startsWith(" ") ? " " + piece.text : piece.text;
            List<String> texts = new ArrayList<>(useRegex ? words.split(text) : List.of(text));
            texts.replaceAll(ByteAlphabet::write);
            addAll(texts, piece, out);
        };
    }

    private static PreTokenizer metaspace(Metaspace metaspace, boolean split) {
        Splitter words =
                Splitter.of(Pattern.compile(Pattern.quote(metaspace.replacement())), Behavior.MERGED_WITH_NEXT, false);
        return (piece, out) -> {
            String text = metaspace.write(piece.text, piece.first);
            addAll(split ? words.split(text) : List.of(text), piece, out);
        };
    }
}
