package io.sjd2.model;

import java.util.Arrays;

/// Which token of the vocabulary stands for which code of the image tokeniser.
///
/// Taken from the tokens' names, never from an offset: a vocabulary may hold its image tokens in any order.
public final class CodeMap {
    private final int[] tokens;

    private CodeMap(int[] tokens) {
        this.tokens = tokens;
    }

    /// The map of `tokens[code]`.
    ///
    /// @param tokens  a token id per code, each at least 0
    public static CodeMap of(int[] tokens) {
        return new CodeMap(tokens.clone());
    }

    /// Codes `0 .. count-1` as tokens `first ..`.
    public static CodeMap contiguous(int first, int count) {
        int[] tokens = new int[count];
        Arrays.setAll(tokens, code -> first + code);
        return new CodeMap(tokens);
    }

    /// Number of codes.
    public int size() {
        return tokens.length;
    }

    /// The token of a code.
    public int token(int code) {
        return tokens[code];
    }

    /// The largest token id.
    public int last() {
        return Arrays.stream(tokens).max().orElse(-1);
    }

    /// Token ids by code.
    public int[] tokens() {
        return tokens.clone();
    }

    /// How many codes from `code` on have tokens that follow each other.
    int runFrom(int code) {
        int end = code + 1;
        while (end < tokens.length && tokens[end] == tokens[end - 1] + 1) {
            end++;
        }
        return end - code;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof CodeMap map && Arrays.equals(tokens, map.tokens);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(tokens);
    }

    /// Short and the same in every process: part of the name under which measurements are kept.
    @Override
    public String toString() {
        return tokens.length + " codes from token " + (tokens.length == 0 ? "none" : tokens[0]) + ", hash "
                + Integer.toHexString(hashCode());
    }
}
