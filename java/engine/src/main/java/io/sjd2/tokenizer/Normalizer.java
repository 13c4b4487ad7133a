package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.text.Normalizer.Form;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

/// The first stage: rewrites a text before it is cut into pieces.
@FunctionalInterface
interface Normalizer {
    /// The rewritten text.
    String normalize(String text);

    /// @param json the component, `{"type": ...}`
    /// @throws ModelFormatException naming a component that is not built
    static Normalizer parse(Json json) throws ModelFormatException {
        Json type = json.get("type");
        return switch (type.string()) {
            case "Sequence" -> {
                List<Normalizer> parts = new ArrayList<>();
                for (Json part : json.get("normalizers").items()) {
                    parts.add(parse(part));
                }
                yield text -> {
                    String result = text;
                    for (Normalizer part : parts) {
                        result = part.normalize(result);
                    }
                    return result;
                };
            }
            case "NFC" -> unicode(Form.NFC);
            case "NFD" -> unicode(Form.NFD);
            case "NFKC" -> unicode(Form.NFKC);
            case "NFKD" -> unicode(Form.NFKD);
            case "Lowercase" -> Normalizer::lowercase;
            case "Strip" -> {
                boolean left = json.bool("strip_left", true);
                boolean right = json.bool("strip_right", true);
                yield text -> strip(text, left, right);
            }
            case "StripAccents" -> Normalizer::withoutMarks;
            case "Prepend" -> {
                String prefix = json.get("prepend").string();
                yield text -> text.isEmpty() ? text : prefix + text;
            }
            case "Replace" -> {
                Pattern pattern = Splitter.pattern(json.get("pattern"));
                String by = json.get("content").string();
                yield text -> Splitter.replaceAll(pattern, text, by);
            }
            case "ByteLevel" -> ByteAlphabet::write;
            default ->
                throw type.unexpected("a normalizer that is built: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Strip, "
                        + "StripAccents, Prepend, Replace, ByteLevel");
        };
    }

    private static Normalizer unicode(Form form) {
        return text -> java.text.Normalizer.normalize(text, form);
    }

    /// Each character by itself: unlike `String.toLowerCase`, no final form of the Greek sigma.
    private static String lowercase(String text) {
        StringBuilder lower = new StringBuilder(text.length());
        text.codePoints().forEach(c -> {
            if (c == 0x130) {
                lower.append("i\u0307"); // the one letter whose lower case is two characters
            } else {
                lower.appendCodePoint(Character.toLowerCase(c));
            }
        });
        return lower.toString();
    }

    private static String withoutMarks(String text) {
        StringBuilder plain = new StringBuilder(text.length());
        text.codePoints().filter(c -> !CharClasses.isMark(c)).forEach(plain::appendCodePoint);
        return plain.toString();
    }

    private static String strip(String text, boolean left, boolean right) {
        int start = 0;
        int end = text.length();
        while (left && start < end && CharClasses.isWhiteSpace(text.charAt(start))) {
            start++;
        }
        while (right && end > start && CharClasses.isWhiteSpace(text.charAt(end - 1))) {
            end--;
        }
        return text.substring(start, end);
    }
}
