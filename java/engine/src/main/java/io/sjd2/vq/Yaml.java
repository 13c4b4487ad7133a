package io.sjd2.vq;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/// The part of YAML that configurations of image tokenisers are written in: maps and lists by indentation, lists in
/// brackets, plain and quoted scalars, comments. Anything else is an error that names the line.
final class Yaml {
    private static final Pattern NUMBER =
            Pattern.compile("-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?([eE][-+]?[0-9]{1,3})?");
    private static final int DEEPEST = 32;
    private static final long LARGEST = 1 << 20;

    private record Line(int number, int indent, String text) {}

    private final String source;
    private final List<Line> lines = new ArrayList<>();
    private int at;

    private Yaml(String source) {
        this.source = source;
    }

    /// Reads a whole file of at most 1 MiB.
    ///
    /// @throws ModelFormatException if it is larger, or more than this part of YAML
    static Json read(Path file) throws IOException {
        if (Files.size(file) > LARGEST) {
            throw new ModelFormatException(file.toString(), "is larger than 1 MiB", "it is no configuration");
        }
        return parse(Files.readString(file, StandardCharsets.ISO_8859_1), file.toString());
    }

    /// @param source the name that messages give the text
    /// @throws ModelFormatException if it is more than this part of YAML
    static Json parse(String text, String source) throws ModelFormatException {
        Yaml yaml = new Yaml(source);
        int number = 0;
        for (String raw : text.split("\n", -1)) {
            number++;
            String line = withoutComment(raw).stripTrailing();
            if (line.isBlank() || line.equals("---")) {
                continue;
            }
            int indent = line.length() - line.stripLeading().length();
            if (line.substring(0, indent).indexOf('\t') >= 0) {
                throw yaml.unexpected(number, "a tab");
            }
            yaml.lines.add(new Line(number, indent, line.strip()));
        }
        if (yaml.lines.isEmpty()) {
            throw yaml.unexpected(number, "nothing");
        }
        Object value = yaml.block(yaml.lines.getFirst().indent, 0);
        if (yaml.at < yaml.lines.size()) {
            throw yaml.unexpected(yaml.lines.get(yaml.at).number, "a line that is indented less than those before");
        }
        return Json.parse(Json.text(value), source);
    }

    private static String withoutComment(String line) {
        char quote = 0;
        for (int i = 0; i < line.length(); i++) {
            char c = line.charAt(i);
            if (quote != 0) {
                quote = c == quote ? 0 : quote;
            } else if (c == '"' || c == '\'') {
                quote = c;
            } else if (c == '#' && (i == 0 || line.charAt(i - 1) == ' ')) {
                return line.substring(0, i);
            }
        }
        return line;
    }

    private Object block(int indent, int depth) throws ModelFormatException {
        Line first = lines.get(at);
        if (depth > DEEPEST) {
            throw unexpected(first.number, "more than " + DEEPEST + " levels");
        }
        boolean list = isItem(first.text);
        List<Object> items = new ArrayList<>();
        Map<String, Object> map = new LinkedHashMap<>();
        while (at < lines.size() && lines.get(at).indent == indent && isItem(lines.get(at).text) == list) {
            Line line = lines.get(at++);
            if (list) {
                String value = line.text.substring(1).strip();
                if (value.isEmpty() || (value.indexOf(": ") > 0 && !isQuoted(value)) || value.endsWith(":")) {
                    throw unexpected(line.number, "a list of maps or of lists");
                }
                items.add(scalar(value, line.number));
                continue;
            }
            int colon = line.text.indexOf(':');
            if (colon < 1 || (colon + 1 < line.text.length() && line.text.charAt(colon + 1) != ' ')) {
                throw unexpected(line.number, "a line without \"key: value\"");
            }
            String key = line.text.substring(0, colon).strip();
            String value = line.text.substring(colon + 1).strip();
            if (map.containsKey(key)) {
                throw unexpected(line.number, "the key " + key + " again");
            }
            map.put(key, value.isEmpty() ? nested(indent, depth) : scalar(value, line.number));
        }
        return list ? items : map;
    }

    /// What follows a key without a value: a deeper block, or a list that is not indented further.
    private Object nested(int indent, int depth) throws ModelFormatException {
        if (at < lines.size()) {
            Line next = lines.get(at);
            if (next.indent > indent || (next.indent == indent && isItem(next.text))) {
                return block(next.indent, depth + 1);
            }
        }
        return Map.of();
    }

    private static boolean isItem(String text) {
        return text.equals("-") || text.startsWith("- ");
    }

    private static boolean isQuoted(String text) {
        return text.startsWith("\"") || text.startsWith("'");
    }

    private Object scalar(String text, int line) throws ModelFormatException {
        if (text.startsWith("[")) {
            if (!text.endsWith("]") || text.indexOf('[', 1) >= 0) {
                throw unexpected(line, "a list in brackets over several lines or levels");
            }
            List<Object> items = new ArrayList<>();
            String inner = text.substring(1, text.length() - 1).strip();
            if (!inner.isEmpty()) {
                for (String item : inner.split(",", -1)) {
                    items.add(scalar(item.strip(), line));
                }
            }
            return items;
        }
        if (isQuoted(text)) {
            if (text.length() < 2 || text.charAt(text.length() - 1) != text.charAt(0) || text.indexOf('\\') >= 0) {
                throw unexpected(line, "text in quotes that does not end, or with escapes");
            }
            return text.substring(1, text.length() - 1);
        }
        if (text.isEmpty() || "{&*!|>%@`".indexOf(text.charAt(0)) >= 0) {
            throw unexpected(line, text.isEmpty() ? "an empty item" : text);
        }
        return switch (text) {
            case "true", "True" -> true;
            case "false", "False" -> false;
            default -> NUMBER.matcher(text).matches() ? number(text) : text;
        };
    }

    private static Object number(String text) {
        if (text.indexOf('.') < 0 && text.indexOf('e') < 0 && text.indexOf('E') < 0) {
            return Long.valueOf(text);
        }
        double value = Double.parseDouble(text);
        return Double.isFinite(value) ? (Object) value : text;
    }

    private ModelFormatException unexpected(int line, String what) {
        return new ModelFormatException(
                source,
                "line " + line + " holds " + what,
                "only plain maps, lists and values are read; write it as config.json instead");
    }
}
