package io.sjd2.io;

import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.MalformedJsonException;
import java.io.IOException;
import java.io.Reader;
import java.io.StringReader;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;

/// A JSON value that knows where it came from, so that reading it wrongly yields a message a user can act on:
/// `config.json: text_config.hidden_size is "wide", expected an integer; ...`.
///
/// Parsing is strict: UTF-8, one value, no comments, no duplicate keys, at most 64 levels, numbers that fit a
/// `long` or a finite `double`. Whatever else comes is a [ModelFormatException], never another exception and never
/// an exhausted stack. Immutable and thread-safe.
public final class Json {
    private static final int MAX_DEPTH = 64;
    private static final long MAX_FILE_BYTES = 1L << 29;
    private static final int MAX_NUMBER_CHARS = 64;
    private static final int MAX_SHOWN_CHARS = 60;
    private static final Pattern INTEGER = Pattern.compile("-?[0-9]+");
    private static final String REPLACE_FILE = "the file is damaged or not what it claims to be, fetch it again";

    private enum Null {
        NULL
    }

    private final String source;
    private final String path;
    // One of Map<String, Object>, List<Object>, String, Long, Double, Boolean, Null; nested values likewise.
    private final Object value;

    private Json(String source, String path, Object value) {
        this.source = source;
        this.path = path;
        this.value = value;
    }

    /// Reads a whole file.
    ///
    /// @throws ModelFormatException if it is missing, no regular file, larger than 512 MiB, or not strict JSON
    /// @throws IOException if reading fails
    public static Json read(Path file) throws IOException {
        if (!Files.isRegularFile(file)) {
            throw new ModelFormatException(
                    file.toString(),
                    Files.exists(file) ? "is not a regular file" : "does not exist",
                    "check the path; a model is a folder as published, complete with its JSON files");
        }
        long size = Files.size(file);
        if (size > MAX_FILE_BYTES) {
            throw new ModelFormatException(
                    file.toString(), "is " + size + " bytes of JSON", "at most " + MAX_FILE_BYTES + " are read");
        }
        return parse(Files.readAllBytes(file), file.toString());
    }

    /// @param utf8   the text, with or without a byte order mark
    /// @param source the name that messages give it
    /// @throws ModelFormatException if it is not UTF-8 or not strict JSON
    public static Json parse(byte[] utf8, String source) throws ModelFormatException {
        try {
            String text = StandardCharsets.UTF_8
                    .newDecoder()
                    .onMalformedInput(CodingErrorAction.REPORT)
                    .decode(ByteBuffer.wrap(utf8))
                    .toString();
            return parse(text, source);
        } catch (CharacterCodingException e) {
            throw new ModelFormatException(source, "is not UTF-8 text", REPLACE_FILE, e);
        }
    }

    /// @param text   one JSON value
    /// @param source the name that messages give it
    /// @throws ModelFormatException if it is not strict JSON
    public static Json parse(String text, String source) throws ModelFormatException {
        return parse(new StringReader(text), source);
    }

    private static Json parse(Reader text, String source) throws ModelFormatException {
        try (JsonReader reader = new JsonReader(text)) {
            reader.setStrictness(Strictness.STRICT);
            reader.setNestingLimit(MAX_DEPTH);
            Object value = readValue(reader, source);
            if (reader.peek() != JsonToken.END_DOCUMENT) {
                throw new ModelFormatException(source, "goes on after its JSON value ended", REPLACE_FILE);
            }
            return new Json(source, "", value);
        } catch (ModelFormatException e) {
            throw e;
        } catch (MalformedJsonException e) {
            throw new ModelFormatException(source, "is not JSON: " + firstLine(e.getMessage()), REPLACE_FILE, e);
        } catch (IOException | IllegalStateException | NumberFormatException e) {
            // From a reader over a string an IOException can only mean that the text ended early.
            throw new ModelFormatException(source, "is not JSON: " + firstLine(e.getMessage()), REPLACE_FILE, e);
        }
    }

    private static Object readValue(JsonReader reader, String source) throws IOException {
        return switch (reader.peek()) {
            case BEGIN_OBJECT -> readObject(reader, source);
            case BEGIN_ARRAY -> {
                List<Object> items = new ArrayList<>();
                reader.beginArray();
                while (reader.hasNext()) {
                    items.add(readValue(reader, source));
                }
                reader.endArray();
                yield Collections.unmodifiableList(items);
            }
            case STRING -> reader.nextString();
            case NUMBER -> readNumber(reader, source);
            case BOOLEAN -> reader.nextBoolean();
            case NULL -> {
                reader.nextNull();
                yield Null.NULL;
            }
            default -> throw new ModelFormatException(source, "is not JSON at " + reader.getPath(), REPLACE_FILE);
        };
    }

    private static Map<String, Object> readObject(JsonReader reader, String source) throws IOException {
        Map<String, Object> members = new LinkedHashMap<>();
        reader.beginObject();
        while (reader.hasNext()) {
            String name = reader.nextName();
            String where = reader.getPath();
            if (members.putIfAbsent(name, readValue(reader, source)) != null) {
                throw new ModelFormatException(source, "has the key " + shorten(where) + " twice", REPLACE_FILE);
            }
        }
        reader.endObject();
        return Collections.unmodifiableMap(members);
    }

    private static Object readNumber(JsonReader reader, String source) throws IOException {
        String where = reader.getPath();
        String digits = reader.nextString();
        if (digits.length() <= MAX_NUMBER_CHARS) {
            if (INTEGER.matcher(digits).matches()) {
                try {
                    return Long.parseLong(digits);
                } catch (NumberFormatException e) {
                    throw new ModelFormatException(
                            source, shorten(where) + " is " + digits, "integers must fit 64 bits", e);
                }
            }
            double number = Double.parseDouble(digits);
            if (Double.isFinite(number)) {
                return number;
            }
        }
        throw new ModelFormatException(
                source, shorten(where) + " is " + shorten(digits), "numbers must be finite and of reasonable length");
    }

    private static String firstLine(String message) {
        int end = message == null ? 0 : message.indexOf('\n');
        return message == null ? "it ends early" : end < 0 ? message : message.substring(0, end);
    }

    private static String shorten(String text) {
        return text.length() <= MAX_SHOWN_CHARS ? text : text.substring(0, MAX_SHOWN_CHARS) + "...";
    }

    /// Whether this is an object.
    public boolean isObject() {
        return value instanceof Map;
    }

    /// Whether this is an array.
    public boolean isArray() {
        return value instanceof List;
    }

    /// Whether this is a string.
    public boolean isString() {
        return value instanceof String;
    }

    /// Whether this is a number.
    public boolean isNumber() {
        return value instanceof Number;
    }

    /// Whether this is `null`.
    public boolean isNull() {
        return value == Null.NULL;
    }

    /// The keys of an object, in the order of the file.
    ///
    /// @throws ModelFormatException if this is no object
    public Set<String> keys() throws ModelFormatException {
        return members().keySet();
    }

    /// Whether this is an object with a value, not `null`, under `key`.
    public boolean has(String key) {
        return value instanceof Map<?, ?> map && map.containsKey(key) && map.get(key) != Null.NULL;
    }

    /// The value under `key`.
    ///
    /// @throws ModelFormatException if this is no object or has no such key
    public Json get(String key) throws ModelFormatException {
        Object member = members().get(key);
        if (member == null) {
            throw new ModelFormatException(
                    source, inner(key) + " is missing", "this file does not describe what was asked of it");
        }
        return new Json(source, inner(key), member);
    }

    /// The value under `key`; empty if there is none or it is `null`.
    ///
    /// @throws ModelFormatException if this is no object
    public Optional<Json> find(String key) throws ModelFormatException {
        Object member = members().get(key);
        return member == null || member == Null.NULL
                ? Optional.empty()
                : Optional.of(new Json(source, inner(key), member));
    }

    /// The elements of an array.
    ///
    /// @throws ModelFormatException if this is no array
    public List<Json> items() throws ModelFormatException {
        if (!(value instanceof List<?> list)) {
            throw unexpected("an array");
        }
        List<Json> items = new ArrayList<>(list.size());
        for (int i = 0; i < list.size(); i++) {
            items.add(new Json(source, path + "[" + i + "]", list.get(i)));
        }
        return items;
    }

    /// This string.
    ///
    /// @throws ModelFormatException if this is no string
    public String string() throws ModelFormatException {
        if (value instanceof String text) {
            return text;
        }
        throw unexpected("a string");
    }

    /// This boolean.
    ///
    /// @throws ModelFormatException if this is neither `true` nor `false`
    public boolean bool() throws ModelFormatException {
        if (value instanceof Boolean bool) {
            return bool;
        }
        throw unexpected("true or false");
    }

    /// This integer; `1e6` and `2.0` count as integers.
    ///
    /// @throws ModelFormatException if this is no integer
    public long int64() throws ModelFormatException {
        if (value instanceof Long number) {
            return number;
        }
        if (value instanceof Double number && number == Math.rint(number) && Math.abs(number) < 0x1p53) {
            return number.longValue();
        }
        throw unexpected("an integer");
    }

    /// This integer, as 32 bits.
    ///
    /// @throws ModelFormatException if this is no integer or does not fit
    public int int32() throws ModelFormatException {
        long number = int64();
        if (number != (int) number) {
            throw unexpected("an integer of 32 bits");
        }
        return (int) number;
    }

    /// This number.
    ///
    /// @throws ModelFormatException if this is no number
    public double number() throws ModelFormatException {
        if (value instanceof Number number) {
            return number.doubleValue();
        }
        throw unexpected("a number");
    }

    /// The string under `key`, or `fallback` if there is none or it is `null`.
    public String string(String key, String fallback) throws ModelFormatException {
        Optional<Json> member = find(key);
        return member.isPresent() ? member.get().string() : fallback;
    }

    /// The boolean under `key`, or `fallback` if there is none or it is `null`.
    public boolean bool(String key, boolean fallback) throws ModelFormatException {
        Optional<Json> member = find(key);
        return member.isPresent() ? member.get().bool() : fallback;
    }

    /// The 32-bit integer under `key`, or `fallback` if there is none or it is `null`.
    public int int32(String key, int fallback) throws ModelFormatException {
        Optional<Json> member = find(key);
        return member.isPresent() ? member.get().int32() : fallback;
    }

    /// The number under `key`, or `fallback` if there is none or it is `null`.
    public double number(String key, double fallback) throws ModelFormatException {
        Optional<Json> member = find(key);
        return member.isPresent() ? member.get().number() : fallback;
    }

    /// An exception about this value: `source: path is value; expected ...`. For readers that check more than the type.
    public ModelFormatException unexpected(String expected) {
        String where = path.isEmpty() ? "the top" : path;
        return new ModelFormatException(source, where + " is " + shown(), "expected " + expected);
    }

    /// The name of the file, as messages give it.
    public String source() {
        return source;
    }

    /// Where in the file this value stands: `a.b[2]`, empty at the top.
    public String path() {
        return path;
    }

    /// This value as compact JSON.
    @Override
    public String toString() {
        return text(value);
    }

    private String shown() {
        return switch (value) {
            case Map<?, ?> object -> "an object";
            case List<?> list -> "an array of " + list.size();
            case Object other -> shorten(text(other));
        };
    }

    private Map<String, Object> members() throws ModelFormatException {
        if (value instanceof Map<?, ?> map) {
            @SuppressWarnings("unchecked") // readObject makes no other maps
            Map<String, Object> members = (Map<String, Object>) map;
            return members;
        }
        throw unexpected("an object");
    }

    private String inner(String key) {
        return path.isEmpty() ? key : path + "." + key;
    }

    /// Compact JSON of maps with string keys, lists, strings, booleans and finite numbers; a lone surrogate is
    /// written as U+FFFD.
    ///
    /// @throws IllegalArgumentException if anything else is found inside
    public static String text(Object value) {
        StringBuilder out = new StringBuilder();
        append(out, value, -1, 0);
        return out.toString();
    }

    /// As [#text(Object)], over several lines, two spaces a level, with a line break at the end.
    public static String prettyText(Object value) {
        StringBuilder out = new StringBuilder();
        append(out, value, 2, 0);
        return out.append('\n').toString();
    }

    private static void append(StringBuilder out, Object value, int indent, int depth) {
        switch (value) {
            case null -> out.append("null");
            case Null nothing -> out.append("null");
            case Json json -> append(out, json.value, indent, depth);
            case Map<?, ?> map -> {
                out.append('{');
                String separator = "";
                for (Map.Entry<?, ?> member : map.entrySet()) {
                    out.append(separator);
                    newLine(out, indent, depth + 1);
                    quote(out, String.valueOf(member.getKey()));
                    out.append(indent < 0 ? ":" : ": ");
                    append(out, member.getValue(), indent, depth + 1);
                    separator = ",";
                }
                if (!map.isEmpty()) {
                    newLine(out, indent, depth);
                }
                out.append('}');
            }
            case Iterable<?> list -> {
                out.append('[');
                String separator = "";
                for (Object item : list) {
                    out.append(separator);
                    newLine(out, indent, depth + 1);
                    append(out, item, indent, depth + 1);
                    separator = ",";
                }
                if (!separator.isEmpty()) {
                    newLine(out, indent, depth);
                }
                out.append(']');
            }
            case Number number -> {
                if (!Double.isFinite(number.doubleValue())) {
                    throw new IllegalArgumentException(number + " cannot be written as JSON");
                }
                out.append(number);
            }
            case Boolean bool -> out.append(bool);
            case CharSequence text -> quote(out, text);
            default -> throw new IllegalArgumentException(value.getClass().getName() + " cannot be written as JSON");
        }
    }

    private static void newLine(StringBuilder out, int indent, int depth) {
        if (indent >= 0) {
            out.append('\n').repeat(' ', indent * depth);
        }
    }

    private static void quote(StringBuilder out, CharSequence text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            boolean paired = Character.isHighSurrogate(c)
                            && i + 1 < text.length()
                            && Character.isLowSurrogate(text.charAt(i + 1))
                    || Character.isLowSurrogate(c) && i > 0 && Character.isHighSurrogate(text.charAt(i - 1));
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                default -> {
                    if (c < ' ' || c == 0x7f || c == 0x2028 || c == 0x2029) {
                        out.append(String.format("\\u%04x", (int) c));
                    } else {
                        // A lone surrogate has no UTF-8 form, and strict readers refuse it even when escaped.
                        out.append(Character.isSurrogate(c) && !paired ? '\ufffd' : c);
                    }
                }
            }
        }
        out.append('"');
    }
}
