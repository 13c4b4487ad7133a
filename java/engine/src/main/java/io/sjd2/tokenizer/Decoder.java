package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/// The way back: rewrites a list of tokens, whose concatenation in the end is the text.
@FunctionalInterface
interface Decoder {
    /// The rewritten tokens; their number may change.
    List<String> decode(List<String> tokens);

    /// @param json the component, `{"type": ...}`
    /// @throws ModelFormatException naming a component that is not built
    static Decoder parse(Json json) throws ModelFormatException {
        Json type = json.get("type");
        return switch (type.string()) {
            case "Sequence" -> {
                List<Decoder> parts = new ArrayList<>();
                for (Json part : json.get("decoders").items()) {
                    parts.add(parse(part));
                }
                yield tokens -> {
                    List<String> result = tokens;
                    for (Decoder part : parts) {
                        result = part.decode(result);
                    }
                    return result;
                };
            }
            case "ByteLevel" -> Decoder::fromByteLevel;
            case "ByteFallback" -> Decoder::fromByteFallback;
            case "Fuse" -> tokens -> List.of(String.join("", tokens));
            case "Strip" -> strip(json);
            case "Replace" -> {
                Pattern pattern = Splitter.pattern(json.get("pattern"));
                String by = json.get("content").string();
                yield each(token -> Splitter.replaceAll(pattern, token, by));
            }
            case "Metaspace" -> {
                Metaspace metaspace = Metaspace.parse(json);
                yield tokens -> {
                    List<String> texts = new ArrayList<>(tokens.size());
                    for (String token : tokens) {
                        texts.add(metaspace.read(token, texts.isEmpty()));
                    }
                    return texts;
                };
            }
            default ->
                throw type.unexpected("a decoder that is built: Sequence, ByteLevel, ByteFallback, Fuse, Strip, "
                        + "Replace, Metaspace");
        };
    }

    private static Decoder each(UnaryOperator<String> rewrite) {
        return tokens -> tokens.stream().map(rewrite).toList();
    }

    /// Tokens of the alphabet are bytes; a token with any other character stands for itself as a whole.
    private static List<String> fromByteLevel(List<String> tokens) {
        ByteArrayOutputStream utf8 = new ByteArrayOutputStream();
        for (String token : tokens) {
            if (token.chars().allMatch(c -> ByteAlphabet.unsignedByte(c) >= 0)) {
                token.chars().forEach(c -> utf8.write(ByteAlphabet.unsignedByte(c)));
            } else {
                utf8.writeBytes(token.getBytes(StandardCharsets.UTF_8));
            }
        }
        return List.of(lossyUtf8(utf8.toByteArray()));
    }

    /// Runs of `<0x..>` tokens are bytes; a run that is not UTF-8 becomes one replacement character per byte.
    private static List<String> fromByteFallback(List<String> tokens) {
        List<String> texts = new ArrayList<>();
        ByteArrayOutputStream run = new ByteArrayOutputStream();
        for (String token : tokens) {
            int value = fallbackByte(token);
            if (value >= 0) {
                run.write(value);
            } else {
                flush(run, texts);
                texts.add(token);
            }
        }
        flush(run, texts);
        return texts;
    }

    private static int fallbackByte(String token) {
        boolean framed = token.length() == 6 && token.startsWith("<0x") && token.endsWith(">");
        int high = framed ? Character.digit(token.charAt(3), 16) : -1;
        int low = framed ? Character.digit(token.charAt(4), 16) : -1;
        return high < 0 || low < 0 ? -1 : 16 * high + low;
    }

    private static void flush(ByteArrayOutputStream run, List<String> texts) {
        byte[] bytes = run.toByteArray();
        run.reset();
        if (bytes.length == 0) {
            return;
        }
        try {
            // A new decoder reports malformed input instead of replacing it.
            texts.add(StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString());
        } catch (CharacterCodingException e) {
            texts.add("\ufffd".repeat(bytes.length));
        }
    }

    private static Decoder strip(Json json) throws ModelFormatException {
        Json content = json.get("content");
        if (content.string().codePoints().count() != 1) {
            throw content.unexpected("one character");
        }
        String stripped = content.string();
        int atStart = json.int32("start", 0);
        int atEnd = json.int32("stop", 0);
        return each(token -> {
            String text = token;
            for (int i = 0; i < atStart && text.startsWith(stripped); i++) {
                text = text.substring(stripped.length());
            }
            for (int i = 0; i < atEnd && text.endsWith(stripped); i++) {
                text = text.substring(0, text.length() - stripped.length());
            }
            return text;
        });
    }

    /// Bytes as UTF-8; of a broken sequence, each longest part that could have begun a character becomes one U+FFFD.
    /// Java's own decoder agrees except on encoded surrogates, of which every byte is such a part.
    private static String lossyUtf8(byte[] bytes) {
        StringBuilder text = new StringBuilder(bytes.length);
        int at = 0;
        while (at < bytes.length) {
            int lead = bytes[at] & 0xff;
            int length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
            int valid = Math.min(length, 1);
            while (valid > 0
                    && valid < length
                    && at + valid < bytes.length
                    && continues(lead, valid, bytes[at + valid])) {
                valid++;
            }
            if (length > 0 && valid == length) {
                int c = length == 1 ? lead : lead & 0x7f >> length;
                for (int i = 1; i < length; i++) {
                    c = c << 6 | bytes[at + i] & 0x3f;
                }
                text.appendCodePoint(c);
            } else {
                text.append('\ufffd');
            }
            at += Math.max(1, valid);
        }
        return text.toString();
    }

    /// Whether `next` can stand at `index` after `lead`; the second byte also rules out overlong forms, surrogates and
    /// what lies beyond U+10FFFF.
    private static boolean continues(int lead, int index, byte next) {
        int low = 0x80;
        int high = 0xbf;
        if (index == 1) {
            low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : low;
            high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : high;
        }
        int value = next & 0xff;
        return value >= low && value <= high;
    }
}
