package io.sjd2.scenes;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// What a caption states: the objects it names and how they lie to each other.
///
/// The language, case-insensitive, articles optional:
/// ```
/// caption  := group ( relation group ( "and" relation group )* )?
/// group    := object ( ( "," | "and" | ", and" ) object )*
/// object   := article? size? colour? shape
/// relation := "above" | "below" | "to the left of" | "to the right of"
/// ```
/// A relation holds between **every** object of the group before it and every object of the group after it, and
/// `and relation` speaks of the first group again: "A and B above C" puts both above C, "A above B and to the left of
/// C" says two things of A. In "A above B to the left of C", without the "and", it is B that lies to the left of C.
/// Words that are not known are reported and skipped, so any text can be read; it may then state nothing.
///
/// @param objects      the objects, in the order they are named
/// @param links        the relations, as indices into `objects`
/// @param unknownWords words outside [SceneVocabulary#words()], lower case, each once, in order of appearance
public record Caption(List<Item> objects, List<Link> links, List<String> unknownWords) {
    private static final Pattern TOKEN =
            Pattern.compile("[\\p{L}\\p{M}\\p{N}'’]+|[,;]|[^\\s\\p{Punct}\\p{L}\\p{M}\\p{N}]+");

    /// One object as a caption names it; what it leaves out is not stated.
    public record Item(Optional<SceneSize> size, Optional<SceneColor> color, SceneShape shape) {
        /// Size, colour and shape without article, as in "small red circle".
        public String phrase() {
            StringBuilder text = new StringBuilder();
            size.ifPresent(s -> text.append(s.word()).append(' '));
            color.ifPresent(c -> text.append(c.word()).append(' '));
            return text.append(shape.word()).toString();
        }

        /// [#phrase()] with "a" or "an" before it.
        public String withArticle() {
            String phrase = phrase();
            return ("aeiou".indexOf(phrase.charAt(0)) >= 0 ? "an " : "a ") + phrase;
        }
    }

    /// The statement "`objects[subject]` lies `relation` `objects[object]`".
    public record Link(int subject, SceneRelation relation, int object) {}

    public Caption {
        objects = List.copyOf(objects);
        links = List.copyOf(links);
        unknownWords = List.copyOf(unknownWords);
    }

    /// Reads a caption; never fails. Linear in the length of the text, save for groups, whose links are pairs.
    public static Caption parse(String text) {
        return new Parser().parse(text);
    }

    /// A key that is equal for captions that state the same thing in another order or from the other side, so that
    /// "A above B" held out of training holds out "B below A" too.
    public String key() {
        TreeSet<String> parts = new TreeSet<>();
        Map<String, Integer> counts = new TreeMap<>();
        for (Item item : objects) {
            counts.merge(item.phrase(), 1, Integer::sum);
        }
        counts.forEach((phrase, count) -> parts.add(count + " " + phrase));
        for (Link link : links) {
            boolean turn = link.relation() == SceneRelation.BELOW || link.relation() == SceneRelation.RIGHT_OF;
            Item first = objects.get(turn ? link.object() : link.subject());
            Item second = objects.get(turn ? link.subject() : link.object());
            SceneRelation relation = turn ? link.relation().opposite() : link.relation();
            parts.add(first.phrase() + " " + relation.phrase() + " " + second.phrase());
        }
        return String.join("; ", parts);
    }

    private static final class Parser {
        /// More links than this are noise, not a caption, and would grow with the square of the text.
        private static final int MAX_LINKS = 1_000;

        private final List<Item> objects = new ArrayList<>();
        private final List<Link> links = new ArrayList<>();
        private final List<String> unknown = new ArrayList<>();
        private final Set<String> unknownSeen = new HashSet<>();
        private List<Integer> subjects = new ArrayList<>();
        private List<Integer> targets = new ArrayList<>();
        private Optional<SceneRelation> relation = Optional.empty();
        private Optional<SceneSize> size = Optional.empty();
        private Optional<SceneColor> color = Optional.empty();
        private boolean afterAnd;

        Caption parse(String text) {
            Matcher matcher = TOKEN.matcher(text.toLowerCase(Locale.ROOT));
            while (matcher.find()) {
                word(matcher.group());
            }
            return new Caption(objects, links, unknown);
        }

        private void word(String word) {
            switch (word) {
                case ",", ";", "and" -> afterAnd = true;
                case "above" -> relate(SceneRelation.ABOVE);
                case "below" -> relate(SceneRelation.BELOW);
                case "left" -> relate(SceneRelation.LEFT_OF);
                case "right" -> relate(SceneRelation.RIGHT_OF);
                default -> describe(word);
            }
        }

        private void describe(String word) {
            SceneShape shape = SceneVocabulary.shapes().get(word);
            if (shape != null) {
                object(new Item(size, color, shape));
                return;
            }
            SceneColor newColor = SceneVocabulary.colors().get(word);
            SceneSize newSize = SceneVocabulary.sizes().get(word);
            if (newColor != null) {
                color = Optional.of(newColor);
            } else if (newSize != null) {
                size = Optional.of(newSize);
            } else if (!SceneVocabulary.isKnown(word) && unknownSeen.add(word)) {
                unknown.add(word);
            }
        }

        private void object(Item item) {
            int index = objects.size();
            objects.add(item);
            if (relation.isPresent()) {
                for (int subject : subjects) {
                    if (links.size() < MAX_LINKS) {
                        links.add(new Link(subject, relation.get(), index));
                    }
                }
                targets.add(index);
            } else {
                subjects.add(index);
            }
            size = Optional.empty();
            color = Optional.empty();
            afterAnd = false;
        }

        private void relate(SceneRelation next) {
            if (relation.isPresent() && !afterAnd && !targets.isEmpty()) {
                subjects = targets;
            }
            targets = new ArrayList<>();
            relation = Optional.of(next);
            afterAnd = false;
        }
    }
}
