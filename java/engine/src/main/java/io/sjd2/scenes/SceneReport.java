package io.sjd2.scenes;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// What [SceneChecker] found: for each statement of a caption, whether it holds in the picture.
///
/// @param caption   what was stated
/// @param objects   one finding per object of the caption, in its order
/// @param relations whether each of the caption's links holds, in its order
/// @param extra     objects seen that no object of the caption stands for; they make no statement false
public record SceneReport(Caption caption, List<Finding> objects, List<Boolean> relations, List<Seen> extra) {
    /// An object seen in a picture.
    ///
    /// @param color   the published colour its inside is nearest to
    /// @param colorDistance how far the mean of its inside lies from that colour, in 8-bit RGB
    /// @param shape   the shape that explains its outline best
    /// @param size    the size that explains its outline best
    /// @param match   overlap with that shape and size, intersection over union, 0 to 1
    /// @param centerX middle of its bounding box in pixels
    /// @param centerY as `centerX`, y down
    /// @param area    pixels covered
    public record Seen(
            SceneColor color,
            double colorDistance,
            SceneShape shape,
            SceneSize size,
            double match,
            double centerX,
            double centerY,
            double area) {}

    /// What became of one object of the caption. What the caption leaves out counts as holding for an object found.
    ///
    /// @param seen    the object in the picture that stands for it, empty if none is left for it
    /// @param colorOk it has the stated colour
    /// @param placeOk every relation the caption states of it holds
    /// @param shapeOk it has the stated shape, recognisably
    /// @param sizeOk  it has the stated size
    public record Finding(
            Caption.Item item, Optional<Seen> seen, boolean colorOk, boolean placeOk, boolean shapeOk, boolean sizeOk) {
        /// Whether anything in the picture stands for the object.
        public boolean found() {
            return seen.isPresent();
        }

        /// Whether everything the caption says of the object holds.
        public boolean allOk() {
            return found() && colorOk && placeOk && shapeOk && sizeOk;
        }
    }

    /// One statement in words, and whether it holds.
    public record Statement(String text, boolean holds) {}

    public SceneReport {
        objects = List.copyOf(objects);
        relations = List.copyOf(relations);
        extra = List.copyOf(extra);
    }

    /// Whether the caption states anything and all of it holds.
    public boolean allHold() {
        return !objects.isEmpty() && objects.stream().allMatch(Finding::allOk) && !relations.contains(false);
    }

    /// Every statement of the caption: colour, shape and size of each object, then the relations.
    public List<Statement> statements() {
        List<Statement> result = new ArrayList<>();
        for (Finding finding : objects) {
            Caption.Item item = finding.item();
            String name = item.phrase();
            result.add(new Statement(name + ": present", finding.found()));
            item.color()
                    .ifPresent(color -> result.add(new Statement(name + ": is " + color.word(), finding.colorOk())));
            result.add(new Statement(name + ": is a " + item.shape().word(), finding.shapeOk()));
            item.size().ifPresent(size -> result.add(new Statement(name + ": is " + size.word(), finding.sizeOk())));
        }
        for (int i = 0; i < relations.size(); i++) {
            Caption.Link link = caption.links().get(i);
            String text = caption.objects().get(link.subject()).phrase() + " "
                    + link.relation().phrase() + " "
                    + caption.objects().get(link.object()).phrase();
            result.add(new Statement(text, relations.get(i)));
        }
        return result;
    }
}
