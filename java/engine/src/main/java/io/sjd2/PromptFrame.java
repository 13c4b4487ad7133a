package io.sjd2;

import io.sjd2.io.ModelFormatException;
import io.sjd2.model.ModelDescription;
import io.sjd2.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;

/// From a user's words to the token ids of the conditional and the unconditional sequence.
final class PromptFrame {
    private static final Pattern WORD = Pattern.compile("[^\\s\\p{Punct}]+");

    private final ModelDescription description;
    private final Tokenizer tokenizer;
    private final Set<String> known;

    /// @throws ModelFormatException if the tokeniser has ids that the model does not
    PromptFrame(ModelDescription description, Tokenizer tokenizer, String source) throws ModelFormatException {
        int vocab = description.transformer().vocabSize();
        if (tokenizer.size() > vocab) {
            throw new ModelFormatException(
                    source,
                    "the tokeniser has " + tokenizer.size() + " ids, the model a vocabulary of " + vocab,
                    "the two belong to different models");
        }
        this.description = description;
        this.tokenizer = tokenizer;
        this.known = new LinkedHashSet<>(description.captionWords());
    }

    /// Token ids up to and including the one that begins the picture.
    ///
    /// @throws IllegalArgumentException if the prompt is blank or too long, saying how long it may be
    int[] conditional(String prompt, boolean raw, int maxTokens) {
        if (prompt.isBlank()) {
            throw new IllegalArgumentException("the prompt is empty; say what the picture shows, for instance"
                    + " \"a large red circle above a small blue square\"");
        }
        int[] text = tokenizer.encode(prompt, false);
        int[] ids = raw ? text : framed(text);
        if (ids.length > maxTokens) {
            throw new IllegalArgumentException("the prompt has " + ids.length + " tokens, the model takes at most "
                    + maxTokens + " beside the picture; shorten it");
        }
        if (ids.length == 0) {
            throw new IllegalArgumentException("the prompt has no tokens");
        }
        return ids;
    }

    private int[] framed(int[] text) {
        int[] ids = new int[text.length + 2];
        ids[0] = description.bosToken();
        System.arraycopy(text, 0, ids, 1, text.length);
        ids[ids.length - 1] = description.imageToken();
        return ids;
    }

    /// Token ids of the sequence without a prompt.
    int[] unconditional() {
        return new int[] {description.bosToken(), description.imageToken()};
    }

    /// Words of the prompt that the model has never seen, in order, each once; empty where any word may mean something.
    List<String> unknownWords(String prompt) {
        if (known.isEmpty()) {
            return List.of();
        }
        return WORD.matcher(prompt)
                .results()
                .map(MatchResult::group)
                .map(word -> word.toLowerCase(Locale.ROOT))
                .filter(word -> !known.contains(word))
                .distinct()
                .toList();
    }

    List<String> knownWords() {
        return List.copyOf(known);
    }

    @Override
    public String toString() {
        return description.family() + " frame, unconditional " + Arrays.toString(unconditional());
    }
}
