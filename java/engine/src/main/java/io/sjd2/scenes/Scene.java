package io.sjd2.scenes;

import io.sjd2.tensor.RgbImage;
import java.util.List;

/// A picture, the caption that is true of it, and what was painted.
///
/// @param caption one sentence, lower case
/// @param objects what was painted, in the order the caption names it
/// @param image   [SceneGenerator#SIDE] pixels square
public record Scene(String caption, List<Placed> objects, RgbImage image) {
    /// One painted object, its centre in pixels from the top left corner.
    public record Placed(SceneShape shape, SceneColor color, SceneSize size, int centerX, int centerY) {}

    public Scene {
        objects = List.copyOf(objects);
    }
}
