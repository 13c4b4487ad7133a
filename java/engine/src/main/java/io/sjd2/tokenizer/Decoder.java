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
            texts.add(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString());
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

    /// Bytes as UTF-8, each maximal part of a broken sequence replaced by one U+FFFD.
    static String lossyUtf8(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
