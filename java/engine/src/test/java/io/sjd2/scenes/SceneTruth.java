package io.sjd2.scenes;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;

/// What is true of a generated scene, from what was painted rather than from its pixels, and captions made false.
public final class SceneTruth {
    private SceneTruth() {}

    /// Whether some one-to-one assignment of the caption's objects to those painted makes every statement true.
    static boolean holds(Scene scene, Caption caption) {
        return assign(scene, caption, new ArrayList<>());
    }

    private static boolean assign(Scene scene, Caption caption, List<Scene.Placed> chosen) {
        if (chosen.size() == caption.objects().size()) {
            return caption.links().stream().allMatch(link -> {
                Scene.Placed subject = chosen.get(link.subject());
                Scene.Placed object = chosen.get(link.object());
                return link.relation()
                        .holds(subject.centerX() - object.centerX(), subject.centerY() - object.centerY());
            });
        }
        Caption.Item item = caption.objects().get(chosen.size());
        for (Scene.Placed object : scene.objects()) {
            boolean fits = !chosen.contains(object)
                    && item.shape() == object.shape()
                    && item.color().map(color -> color == object.color()).orElse(true)
                    && item.size().map(size -> size == object.size()).orElse(true);
            if (fits) {
                chosen.add(object);
                boolean found = assign(scene, caption, chosen);
                chosen.removeLast();
                if (found) {
                    return true;
                }
            }
        }
        return false;
    }

    /// The scene's caption with one content word changed, so that it is false.
    public static String falsified(Scene scene, Random random) {
        List<List<String>> kinds = List.of(
                Stream.of(SceneColor.values()).map(SceneColor::word).toList(),
                Stream.of(SceneShape.values()).map(SceneShape::word).toList(),
                Stream.of(SceneSize.values()).map(SceneSize::word).toList(),
                List.of("above", "below"),
                List.of("left", "right"));
        while (true) {
            String[] words = scene.caption().split(" ");
            int at = random.nextInt(words.length);
            String word = words[at].replace(",", "");
            List<String> kind =
                    kinds.stream().filter(k -> k.contains(word)).findFirst().orElse(List.of(word));
            words[at] = words[at].replace(word, kind.get(random.nextInt(kind.size())));
            String text = String.join(" ", words);
            if (!holds(scene, Caption.parse(text))) {
                return text;
            }
        }
    }
}
