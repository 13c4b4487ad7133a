package io.sjd2.scenes;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// The words that captions of scenes are written with, and nothing else a scene model has ever seen.
public final class SceneVocabulary {
    private static final Map<String, SceneShape> SHAPES = new LinkedHashMap<>();
    private static final Map<String, SceneColor> COLORS = new LinkedHashMap<>();
    private static final Map<String, SceneSize> SIZES = new LinkedHashMap<>();
    private static final List<String> WORDS;
    private static final Set<String> KNOWN;

    static {
        for (SceneSize size : SceneSize.values()) {
            SIZES.put(size.word(), size);
        }
        for (SceneColor color : SceneColor.values()) {
            COLORS.put(color.word(), color);
        }
        for (SceneShape shape : SceneShape.values()) {
            SHAPES.put(shape.word(), shape);
        }
        Set<String> words = new LinkedHashSet<>(List.of("a", "an", "the", "and"));
        words.addAll(SIZES.keySet());
        words.addAll(COLORS.keySet());
        words.addAll(SHAPES.keySet());
        for (SceneRelation relation : SceneRelation.values()) {
            Collections.addAll(words, relation.phrase().split(" "));
        }
        KNOWN = Collections.unmodifiableSet(words);
        WORDS = List.copyOf(new ArrayList<>(words));
    }

    private SceneVocabulary() {}

    /// All words, lower case, in a fixed order: articles, sizes, colours, shapes, relations. The comma is not a word.
    public static List<String> words() {
        return WORDS;
    }

    /// Whether the lower-case word is one of [#words()].
    public static boolean isKnown(String word) {
        return KNOWN.contains(word);
    }

    static Map<String, SceneShape> shapes() {
        return SHAPES;
    }

    static Map<String, SceneColor> colors() {
        return COLORS;
    }

    static Map<String, SceneSize> sizes() {
        return SIZES;
    }
}
