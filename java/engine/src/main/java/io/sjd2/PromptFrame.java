package io.sjd2;

import io.sjd2.io.ModelFormatException;
import io.sjd2.model.ConditionShape;
import io.sjd2.model.Conditions;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.Prompt;
import io.sjd2.model.PromptFormat;
import io.sjd2.model.SyntheticModel;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// From a user's words to the conditional and the unconditional sequence. `docs/models.md` shows each family's frame.
final class PromptFrame {
    private static final Pattern WORD = Pattern.compile("[^\\s\\p{Punct}]+");

    private final ModelDescription description;
    private final @Nullable Tokenizer tokenizer;
    private final Set<String> known;

    /// @param tokenizer  null for models that take no text
    /// @throws ModelFormatException if the tokeniser has ids that the model does not
    PromptFrame(ModelDescription description, @Nullable Tokenizer tokenizer, String source)
            throws ModelFormatException {
        int vocab = description.transformer().vocabSize();
        if (tokenizer != null && tokenizer.size() > vocab) {
            throw new ModelFormatException(
                    source,
                    "the tokeniser has " + tokenizer.size() + " ids, the model a vocabulary of " + vocab,
                    "the two belong to different models");
        }
        this.description = description;
        this.tokenizer = tokenizer;
        this.known = new LinkedHashSet<>(description.captionWords());
    }

    /// The frame of a model.
    ///
    /// @param folder  of the model, or the name of a made-up one
    /// @throws ModelFormatException if it takes text and has no text tokeniser
    static PromptFrame of(Path folder, ModelDescription description) throws IOException {
        if (description.condition() != null) {
            return new PromptFrame(description, null, folder.toString());
        }
        SyntheticModel synthetic = SyntheticModel.of(folder);
        String made = synthetic == null ? null : synthetic.tokenizer();
        if (made != null) {
            return new PromptFrame(description, Tokenizer.parse(made, folder.toString()), folder.toString());
        }
        Path file = ModelDescription.tokenizerFile(folder);
        if (!Files.exists(file)) {
            throw new ModelFormatException(
                    folder.toString(), "holds no tokenizer.json", "the model's folder must contain its text tokeniser");
        }
        return new PromptFrame(description, Tokenizer.load(file), file.toString());
    }

    /// The two sequences of a picture.
    ///
    /// @param unconditional  what guidance compares with
    record Pair(Prompt conditional, Prompt unconditional) {
        int longest() {
            return Math.max(conditional.length(), unconditional.length());
        }
    }

    /// The sequences of a request.
    ///
    /// @param conditions  of the loaded model; null where it takes text
    /// @param maxTokens   most entries of a prompt beside the picture
    /// @throws IllegalArgumentException if the prompt is blank or too long, or of a kind that the model does not take
    Pair of(GenerationRequest request, Grid grid, @Nullable Conditions conditions, int maxTokens) {
        Pair pair;
        if (conditions != null) {
            pair = conditioned(request, conditions);
        } else {
            if (request.condition() != null) {
                throw new IllegalArgumentException("a class or caption features are given, this model takes a prompt");
            }
            pair = new Pair(
                    Prompt.of(conditional(request.prompt(), request.rawPrompt(), grid)),
                    Prompt.of(unconditional(request, grid)));
        }
        if (maxTokens < 1) {
            throw new IllegalArgumentException("size: a picture of " + grid.width() + " x " + grid.height()
                    + " codes leaves no room for a prompt in the model's positions; make it smaller");
        }
        if (pair.longest() > maxTokens) {
            throw new IllegalArgumentException("the prompt has " + pair.longest() + " tokens, the model takes at most "
                    + maxTokens + " beside the picture; shorten it");
        }
        return pair;
    }

    private static Pair conditioned(GenerationRequest request, Conditions conditions) {
        if (request.negative() != null) {
            throw new IllegalArgumentException("a negative prompt is given, this model takes none");
        }
        return switch (request.condition()) {
            case Condition.Label label -> {
                int classes = conditions.shape().classes();
                // The row behind the last class stands for none: a picture of no class is not asked for by mistake.
                if (conditions.shape().kind() == ConditionShape.Kind.CLASS
                        && (label.label() < 0 || label.label() >= classes)) {
                    throw new IllegalArgumentException(
                            "class is " + label.label() + ", expected 0 to " + (classes - 1));
                }
                yield new Pair(conditions.label(label.label()), conditions.label(classes));
            }
            case Condition.Caption caption -> {
                Condition.Caption whole = padded(caption.features(), caption.mask(), conditions.shape());
                yield new Pair(conditions.caption(whole.features(), whole.mask()), conditions.noCaption(whole.mask()));
            }
            case null ->
                throw new IllegalArgumentException(
                        conditions.shape().kind() == ConditionShape.Kind.CLASS
                                ? "this model takes a class, not a prompt: name one of 0 to "
                                        + (conditions.shape().classes() - 1) + " with --class"
                                : "this model takes features of a caption, not its text: give a file of them with"
                                        + " --caption-features");
        };
    }

    /// Features of a short caption, filled up on the left.
    private static Condition.Caption padded(float[] features, boolean[] mask, ConditionShape shape) {
        int missing = shape.rows() - mask.length;
        if (missing <= 0 || features.length != mask.length * shape.captionWidth()) {
            return new Condition.Caption(features, mask);
        }
        float[] all = new float[shape.rows() * shape.captionWidth()];
        System.arraycopy(features, 0, all, missing * shape.captionWidth(), features.length);
        boolean[] live = new boolean[shape.rows()];
        System.arraycopy(mask, 0, live, missing, mask.length);
        return new Condition.Caption(all, live);
    }

    /// Token ids up to and including the one that begins the picture.
    ///
    /// @throws IllegalArgumentException if the prompt is blank or has no tokens
    int[] conditional(String prompt, boolean raw, Grid grid) {
        if (prompt.isBlank()) {
            throw new IllegalArgumentException("the prompt is empty; say what the picture shows, for instance"
                    + " \"a large red circle above a small blue square\"");
        }
        PromptFormat format = description.prompt();
        int[] ids = format == null
                ? own(text(prompt), raw)
                : framed(format, raw ? prompt : format.wrapped(prompt, grid, description.picture()), grid);
        if (ids.length == 0) {
            throw new IllegalArgumentException("the prompt has no tokens");
        }
        return ids;
    }

    private int[] text(String text) {
        return tokenizer().encode(text, false);
    }

    private Tokenizer tokenizer() {
        if (tokenizer == null) {
            throw new IllegalArgumentException("this model takes no text");
        }
        return tokenizer;
    }

    private int[] own(int[] text, boolean raw) {
        if (raw) {
            return text;
        }
        int[] ids = new int[text.length + 2];
        ids[0] = description.bosToken();
        System.arraycopy(text, 0, ids, 1, text.length);
        ids[ids.length - 1] = description.imageToken();
        return ids;
    }

    /// Completes a text: what the frame has and the text does not is put around it, so that a text that is already
    /// whole stays as it is.
    private int[] framed(PromptFormat format, String text, Grid grid) {
        String start = format.startOf(grid, description.picture());
        String whole =
                (text.startsWith(format.begin()) ? "" : format.begin()) + text + (text.endsWith(start) ? "" : start);
        int[] ids = tokenizer().encode(whole, true);
        int begin = format.beginToken();
        if (begin < 0) {
            return ids;
        }
        if (ids.length == 0 || ids[0] != begin) {
            int[] longer = new int[ids.length + 1];
            longer[0] = begin;
            System.arraycopy(ids, 0, longer, 1, ids.length);
            return longer;
        }
        // The text spells the begin token and the tokeniser adds it as well.
        return ids.length > 1 && ids[1] == begin ? Arrays.copyOfRange(ids, 1, ids.length) : ids;
    }

    /// Token ids of the sequence that guidance compares with.
    int[] unconditional(GenerationRequest request, Grid grid) {
        PromptFormat format = description.prompt();
        String negative = request.negative();
        if (format == null) {
            return own(negative == null ? new int[0] : text(negative), false);
        }
        if (negative != null) {
            String text = format.unconditional() == PromptFormat.Unconditional.NEGATIVE || request.rawPrompt()
                    ? negative
                    : format.wrapped(negative, grid, description.picture());
            return framed(format, text, grid);
        }
        return switch (format.unconditional()) {
            case START_ONLY -> text(format.startOf(grid, description.picture()));
            case NEGATIVE -> framed(format, format.negative(), grid);
            case PADDED -> padded(format, conditional(request.prompt(), request.rawPrompt(), grid));
        };
    }

    /// Token ids of the sequence that a whole prompt is compared with.
    ///
    /// @param request  says the negative prompt, if any
    int[] unconditionalOf(int[] conditional, GenerationRequest request, Grid grid) {
        PromptFormat format = description.prompt();
        boolean pads = format != null && format.unconditional() == PromptFormat.Unconditional.PADDED;
        return pads && request.negative() == null ? padded(format, conditional) : unconditional(request, grid);
    }

    private int[] padded(PromptFormat format, int[] conditional) {
        int pad = tokenizer().idOf(format.pad());
        if (pad < 0) {
            throw new IllegalArgumentException("the tokeniser has no token " + format.pad()
                    + ", which stands for the prompt in the sequence without it; use guidance 1 or give a"
                    + " negative prompt");
        }
        int[] ids = conditional.clone();
        if (ids.length > 2) {
            Arrays.fill(ids, 1, ids.length - 1, pad);
        }
        return ids;
    }

    /// A prompt of about `length` entries, for measuring passes: what it says does not matter.
    Prompt filler(int length, @Nullable Conditions conditions) {
        if (conditions == null) {
            int[] ids = new int[length];
            Arrays.fill(ids, Math.max(0, description.imageToken()));
            return Prompt.of(ids);
        }
        if (conditions.shape().kind() == ConditionShape.Kind.CLASS) {
            return conditions.label(0);
        }
        boolean[] mask = new boolean[conditions.shape().rows()];
        Arrays.fill(mask, Math.max(0, mask.length - length), mask.length, true);
        return conditions.noCaption(mask);
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
}
