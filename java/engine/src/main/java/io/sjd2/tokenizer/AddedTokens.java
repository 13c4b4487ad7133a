package io.sjd2.tokenizer;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// Tokens that are recognised in a text as they stand, before anything else is done to it.
///
/// At each place the longest one wins; matches do not overlap.
final class AddedTokens {
    /// @param content    what stands in the text, not empty
    /// @param singleWord only where no word character touches it
    /// @param lstrip     takes white space before it along
    /// @param rstrip     takes white space after it along
    /// @param normalized looked for after normalising, not before
    /// @param special    left out by decoding without special tokens
    record Added(
            int id,
            String content,
            boolean singleWord,
            boolean lstrip,
            boolean rstrip,
            boolean normalized,
            boolean special) {}

    /// A part of a text: a token, or what stands between tokens.
    ///
    /// @param id    the token, or -1
    /// @param text  the part as it stands, if it is no token
    /// @param first whether it starts where the text starts
    record Part(int id, String text, boolean first) {}

    private static final class Node {
        private final Map<Character, Node> next = new HashMap<>();
        private Added token = NO_TOKEN;
    }

    private static final Added NO_TOKEN = new Added(-1, "", false, false, false, false, false);

    private final Node root = new Node();

    /// @param pattern what to look for: the token's content, normalised if the token asks for that
    void add(String pattern, Added token) {
        Node node = root;
        for (int i = 0; i < pattern.length(); i++) {
            node = node.next.computeIfAbsent(pattern.charAt(i), character -> new Node());
        }
        if (node != root) {
            node.token = token;
        }
    }

    /// Cuts `text` into tokens and the rest, in order, empty parts left out.
    ///
    /// @param first whether `text` starts where the whole input starts
    List<Part> split(String text, boolean first) {
        List<Part> parts = new ArrayList<>();
        int done = 0;
        int at = 0;
        while (at < text.length()) {
            int end = longestMatch(text, at);
            if (end < 0) {
                at++;
                continue;
            }
            Added token = tokenAt(text, at, end);
            if (!token.singleWord || standsAlone(text, at, end)) {
                int start = token.lstrip ? Math.max(done, spacesBefore(text, at)) : at;
                if (done < start) {
                    parts.add(new Part(-1, text.substring(done, start), first && done == 0));
                }
                parts.add(new Part(token.id, "", first && start == 0));
                done = token.rstrip ? spacesAfter(text, end) : end;
            }
            at = end;
        }
        if (done < text.length()) {
            parts.add(new Part(-1, text.substring(done), first && done == 0));
        }
        return parts;
    }

    private int longestMatch(String text, int from) {
        Node node = root;
        int end = -1;
        for (int i = from; i < text.length(); i++) {
            Node next = node.next.get(text.charAt(i));
            if (next == null) {
                break;
            }
            node = next;
            if (node.token != NO_TOKEN) {
                end = i + 1;
            }
        }
        return end;
    }

    private Added tokenAt(String text, int from, int end) {
        Node node = root;
        for (int i = from; i < end; i++) {
            node = node.next.get(text.charAt(i));
        }
        return node.token;
    }

    private static boolean standsAlone(String text, int start, int end) {
        boolean wordBefore = start > 0 && CharClasses.isWord(text.codePointBefore(start));
        boolean wordAfter = end < text.length() && CharClasses.isWord(text.codePointAt(end));
        return !wordBefore && !wordAfter;
    }

    private static int spacesBefore(String text, int end) {
        int start = end;
        while (start > 0 && CharClasses.isWhiteSpace(text.charAt(start - 1))) {
            start--;
        }
        return start;
    }

    private static int spacesAfter(String text, int start) {
        int end = start;
        while (end < text.length() && CharClasses.isWhiteSpace(text.charAt(end))) {
            end++;
        }
        return end;
    }
}
