package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.IntPredicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Cuts a text at the matches of a pattern, and says what becomes of the matches.
final class Splitter {
    private static final int LONGEST_REWRITTEN = 1 << 26;

    /// What becomes of a match.
    enum Behavior {
        REMOVED,
        ISOLATED,
        MERGED_WITH_PREVIOUS,
        MERGED_WITH_NEXT,
        CONTIGUOUS;

        static Behavior parse(Json json) throws ModelFormatException {
            return switch (json.string()) {
                case "Removed" -> REMOVED;
                case "Isolated" -> ISOLATED;
                case "MergedWithPrevious" -> MERGED_WITH_PREVIOUS;
                case "MergedWithNext" -> MERGED_WITH_NEXT;
                case "Contiguous" -> CONTIGUOUS;
                default ->
                    throw json.unexpected("one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
            };
        }
    }

    private record Span(int start, int end, boolean match) {}

    /// Finds the matches of a text; the spans it returns cover the text.
    @FunctionalInterface
    private interface Finder {
        List<Span> find(String text);
    }

    private final Finder finder;
    private final Behavior behavior;

    private Splitter(Finder finder, Behavior behavior) {
        this.finder = finder;
        this.behavior = behavior;
    }

    /// @param inverted true to treat what the pattern does not match as the matches
    static Splitter of(Pattern pattern, Behavior behavior, boolean inverted) {
        return new Splitter(text -> spans(pattern, text, inverted), behavior);
    }

    /// Every code point of the class is a match of its own.
    static Splitter of(IntPredicate matches, Behavior behavior) {
        return new Splitter(text -> spans(matches, text), behavior);
    }

    /// The pattern of a component: `{"String": ...}` or `{"Regex": ...}`.
    static Pattern pattern(Json json) throws ModelFormatException {
        if (json.has("String")) {
            // A pattern that can match nothing at all must not match between any two characters.
            String literal = json.get("String").string();
            return Pattern.compile(literal.isEmpty() ? "(?!)" : Pattern.quote(literal));
        }
        if (json.has("Regex")) {
            return RegexDialect.compile(json.get("Regex"));
        }
        throw json.unexpected("an object with String or Regex");
    }

    /// Replaces every match by `by`, taken literally.
    static String replaceAll(Pattern pattern, String text, String by) {
        StringBuilder out = new StringBuilder();
        for (Span span : spans(pattern, text, false)) {
            if (span.match) {
                out.append(by);
            } else {
                out.append(text, span.start, span.end);
            }
            if (out.length() > LONGEST_REWRITTEN) {
                // A chain of replacements can double a text with every link.
                throw new IllegalArgumentException("the tokenizer's replacements make more than " + LONGEST_REWRITTEN
                        + " characters of a text of " + text.length() + "; shorten it");
            }
        }
        return out.toString();
    }

    /// The pieces of `text`, in order; empty ones are left out.
    List<String> split(String text) {
        List<Span> spans = finder.find(text);
        List<Span> kept = switch (behavior) {
            case ISOLATED -> spans;
            case REMOVED -> spans.stream().filter(span -> !span.match).toList();
            case CONTIGUOUS -> contiguous(spans);
            case MERGED_WITH_PREVIOUS -> merged(spans);
            case MERGED_WITH_NEXT -> merged(spans.reversed()).reversed();
        };
        List<String> pieces = new ArrayList<>(kept.size());
        for (Span span : kept) {
            if (span.start < span.end) {
                pieces.add(text.substring(span.start, span.end));
            }
        }
        return pieces;
    }

    private static List<Span> contiguous(List<Span> spans) {
        List<Span> joined = new ArrayList<>();
        for (Span span : spans) {
            if (!joined.isEmpty() && joined.getLast().match == span.match) {
                Span last = joined.removeLast();
                joined.add(new Span(last.start, span.end, span.match));
            } else {
                joined.add(span);
            }
        }
        return joined;
    }

    /// Joins each match to the span before it in the order given, unless that is a match too.
    private static List<Span> merged(List<Span> spans) {
        List<Span> joined = new ArrayList<>();
        boolean afterMatch = false;
        for (Span span : spans) {
            if (span.match && !afterMatch && !joined.isEmpty()) {
                Span last = joined.removeLast();
                joined.add(new Span(Math.min(last.start, span.start), Math.max(last.end, span.end), true));
            } else {
                joined.add(span);
            }
            afterMatch = span.match;
        }
        return joined;
    }

    private static List<Span> spans(Pattern pattern, String text, boolean inverted) {
        if (text.isEmpty()) {
            return Collections.emptyList();
        }
        List<Span> spans = new ArrayList<>();
        int done = 0;
        try {
            Matcher matcher = pattern.matcher(text);
            while (matcher.find()) {
                if (matcher.start() > done) {
                    spans.add(new Span(done, matcher.start(), inverted));
                }
                spans.add(new Span(matcher.start(), matcher.end(), !inverted));
                done = matcher.end();
            }
        } catch (StackOverflowError e) {
            // Java matches repeated groups recursively: a caller's text can exhaust the stack, and nothing is broken.
            throw new IllegalArgumentException(
                    "a text of " + text.length() + " characters is too long for the tokenizer's expression "
                            + pattern.pattern() + "; shorten it",
                    e);
        }
        if (done < text.length()) {
            spans.add(new Span(done, text.length(), inverted));
        }
        return spans;
    }

    private static List<Span> spans(IntPredicate matches, String text) {
        List<Span> spans = new ArrayList<>();
        int done = 0;
        int at = 0;
        while (at < text.length()) {
            int c = text.codePointAt(at);
            int next = at + Character.charCount(c);
            if (matches.test(c)) {
                if (done < at) {
                    spans.add(new Span(done, at, false));
                }
                spans.add(new Span(at, next, true));
                done = next;
            }
            at = next;
        }
        if (done < text.length()) {
            spans.add(new Span(done, text.length(), false));
        }
        return spans;
    }
}
