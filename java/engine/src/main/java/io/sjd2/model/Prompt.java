package io.sjd2.model;

/// What a sequence starts with: tokens, or embeddings that are no token's.
public sealed interface Prompt {
    /// Cache entries that it takes, its last one included.
    int length();

    /// Index of its first entry in the table of rotary positions.
    int position();

    /// @param ids  token ids, at least one. Not copied: do not write to it
    record Tokens(int[] ids) implements Prompt {
        @Override
        public int length() {
            return ids.length;
        }

        @Override
        public int position() {
            return 0;
        }
    }

    /// @param values    `[length, hidden_size]`. Not copied: do not write to it
    /// @param length    at least one
    /// @param position  of the first
    record Embeddings(float[] values, int length, int position) implements Prompt {}

    /// A prompt of tokens.
    static Prompt of(int... ids) {
        return new Tokens(ids);
    }
}
