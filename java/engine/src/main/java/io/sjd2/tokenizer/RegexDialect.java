package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/// Regular expressions of `tokenizer.json`, which are Oniguruma's, as Java patterns.
///
/// The two differ in what stands for "multi-line", in `\h` and `\w`, in POSIX brackets and in the names of scripts; the
/// rest is covered by flags: Unicode classes everywhere, `^` and `$` at every line, lines ended by `\n` alone.
final class RegexDialect {
    private static final int FLAGS = Pattern.UNICODE_CHARACTER_CLASS | Pattern.MULTILINE | Pattern.UNIX_LINES;
    private static final String HEX = "0-9a-fA-F";
    // Java's own \w also takes the two joiners.
    private static final String WORD = "\\p{IsAlphabetic}\\p{M}\\p{Nd}\\p{Pc}";
    // Superscripts and fractions of Latin-1, which Oniguruma's \w takes when it does not stand in brackets.
    private static final String LATIN_NUMBERS = "\\u00b2\\u00b3\\u00b9\\u00bc-\\u00be";
    private static final Map<String, String> POSIX = Map.ofEntries(
            Map.entry("alnum", "\\p{IsAlphabetic}\\p{Nd}"),
            Map.entry("alpha", "\\p{IsAlphabetic}"),
            Map.entry("ascii", "\\x00-\\x7f"),
            Map.entry("blank", "\\p{Zs}\\t"),
            Map.entry("cntrl", "\\p{Cc}"),
            Map.entry("digit", "\\p{Nd}"),
            Map.entry("lower", "\\p{IsLowercase}"),
            Map.entry("punct", "\\p{P}\\p{S}"),
            Map.entry("space", "\\s"),
            Map.entry("upper", "\\p{IsUppercase}"),
            Map.entry("word", WORD),
            Map.entry("xdigit", HEX));

    private final String source;
    private final StringBuilder out = new StringBuilder();
    private int at;

    private RegexDialect(String source) {
        this.source = source;
    }

    /// Compiles the expression that `json` holds.
    ///
    /// @throws ModelFormatException if it is no string, or no expression that can be expressed in Java
    static Pattern compile(Json json) throws ModelFormatException {
        try {
            return Pattern.compile(new RegexDialect(json.string()).translate(), FLAGS);
        } catch (PatternSyntaxException | StackOverflowError e) {
            String why = e instanceof PatternSyntaxException syntax ? syntax.getDescription() : "nested too deeply";
            throw json.unexpected("a regular expression that is built here (" + why + ")");
        }
    }

    private String translate() {
        int classDepth = 0;
        while (at < source.length()) {
            char c = source.charAt(at);
            if (c == '\\') {
                escape(classDepth > 0);
            } else if (c == '[' && classDepth > 0 && source.startsWith("[:", at)) {
                posix();
            } else if (c == '[') {
                classDepth++;
                copy(source.startsWith("[^", at) ? 2 : 1);
            } else if (c == ']' && classDepth > 0) {
                classDepth--;
                copy(1);
            } else if (c == '(' && classDepth == 0 && source.startsWith("(?", at)) {
                groupOptions();
            } else {
                copy(1);
            }
        }
        return out.toString();
    }

    private void copy(int chars) {
        int end = Math.min(source.length(), at + chars);
        out.append(source, at, end);
        at = end;
    }

    private void escape(boolean inClass) {
        if (at + 1 >= source.length()) {
            throw failure("a backslash at the end");
        }
        char c = source.charAt(at + 1);
        switch (c) {
            case 'h' -> replace(2, inClass ? HEX : "[" + HEX + "]");
            case 'H' -> replace(2, "[^" + HEX + "]");
            case 'w' -> replace(2, inClass ? WORD : "[" + WORD + LATIN_NUMBERS + "]");
            case 'W' -> replace(2, inClass ? "[^" + WORD + "]" : "[^" + WORD + LATIN_NUMBERS + "]");
            case 'p', 'P' -> property();
            case 'Q', 'E', 'K', 'g', 'y', 'Y', 'O', 'N' -> throw failure("\\" + c);
            default -> copy(2);
        }
    }

    private void replace(int chars, String by) {
        at += chars;
        out.append(by);
    }

    /// `\p{Han}` names a script there, which Java spells `\p{IsHan}`; `\p{^L}` is Java's `\P{L}`.
    private void property() {
        int end = source.indexOf('}', at);
        if (!source.startsWith("{", at + 2) || end < 0) {
            throw failure("\\" + source.charAt(at + 1) + " without {name}");
        }
        String name = source.substring(at + 3, end);
        boolean negated = source.charAt(at + 1) == 'P';
        if (name.startsWith("^")) {
            negated = !negated;
            name = name.substring(1);
        }
        // As a property, unlike in brackets, punctuation leaves symbols out: it is the category P.
        boolean category = name.equalsIgnoreCase("punct");
        String posix = category ? "\\p{P}" : POSIX.get(name.toLowerCase(java.util.Locale.ROOT));
        String open = negated ? "\\P{" : "\\p{";
        if (posix != null) {
            out.append(negated ? "[^" : "[").append(posix).append(']');
        } else {
            out.append(open).append(name.length() > 2 ? "Is" : "").append(name).append('}');
        }
        at = end + 1;
    }

    private void posix() {
        int end = source.indexOf(":]", at);
        String name = end < 0 ? "" : source.substring(at + 2, end);
        boolean negated = name.startsWith("^");
        String members = POSIX.get(negated ? name.substring(1) : name);
        if (members == null) {
            throw failure("[:" + name + ":]");
        }
        out.append(negated ? "[^" : "[").append(members).append(']');
        at = end + 2;
    }

    /// In `(?imx-imx)` the letter m means that a dot matches line ends, which is Java's s.
    private void groupOptions() {
        copy(2);
        int end = at;
        while (end < source.length() && "imx-".indexOf(source.charAt(end)) >= 0) {
            end++;
        }
        boolean options = end > at && end < source.length() && ":)".indexOf(source.charAt(end)) >= 0;
        if (options) {
            String letters = source.substring(at, end);
            if (letters.indexOf('x') >= 0) {
                throw failure("the option x");
            }
            out.append(letters.replace('m', 's'));
            at = end;
        }
    }

    private PatternSyntaxException failure(String what) {
        return new PatternSyntaxException("not built: " + what, source, at);
    }
}
