package io.sjd2.scenes;

/// The shapes a scene may hold, with their outlines as inside tests.
///
/// An outline is given around the origin for radius 1, x to the right and y *down*, as pixels run. Shapes are scaled
/// so that they look about equally large; none reaches further than [#REACH] from the centre. The factors are sevenths
/// because the radii are 7, 10 and 14: straight edges of small and large shapes then fall on whole pixels, often on
/// the borders of 4-pixel patches, and the tokeniser needs fewer codes for the same sharpness.
public enum SceneShape {
    /// A filled disc.
    CIRCLE("circle"),
    /// An upright square, a little smaller than the disc's bounding box.
    SQUARE("square"),
    /// An isosceles triangle with its tip up.
    TRIANGLE("triangle"),
    /// A five-pointed star, one tip up.
    STAR("star"),
    /// A disc with a round hole.
    RING("ring"),
    /// A square standing on a corner.
    DIAMOND("diamond"),
    /// An upright plus sign.
    CROSS("cross");

    /// The largest coordinate, in radii, that any shape reaches on either axis.
    public static final double REACH = 8 / 7.0;

    private static final double SQUARE_HALF_SIDE = 6 / 7.0;
    private static final double TRIANGLE_TOP = -1;
    private static final double TRIANGLE_BOTTOM = 6 / 7.0;
    private static final double RING_HOLE = 4 / 7.0;
    private static final double CROSS_HALF_ARM = 2 / 7.0;
    private static final double STAR_INNER = 0.48;

    private final String word;

    SceneShape(String word) {
        this.word = word;
    }

    /// The word that captions use.
    public String word() {
        return word;
    }

    /// Whether the point lies inside the shape of radius 1.
    boolean contains(double x, double y) {
        return switch (this) {
            case CIRCLE -> x * x + y * y <= 1;
            case SQUARE -> Math.abs(x) <= SQUARE_HALF_SIDE && Math.abs(y) <= SQUARE_HALF_SIDE;
            case TRIANGLE ->
                y <= TRIANGLE_BOTTOM && Math.abs(x) <= (y - TRIANGLE_TOP) / (TRIANGLE_BOTTOM - TRIANGLE_TOP);
            case STAR -> insideStar(x, y);
            case RING -> {
                double squared = x * x + y * y;
                yield squared <= 1 && squared >= RING_HOLE * RING_HOLE;
            }
            case DIAMOND -> Math.abs(x) + Math.abs(y) <= REACH;
            case CROSS -> {
                double along = Math.max(Math.abs(x), Math.abs(y));
                double across = Math.min(Math.abs(x), Math.abs(y));
                yield along <= 1 && across <= CROSS_HALF_ARM;
            }
        };
    }

    /// Folds the plane onto one tenth of the star, where the outline is a single straight edge from tip to notch.
    /// Strict arithmetic, or a star could differ in a shade between machines.
    private static boolean insideStar(double x, double y) {
        double sector = 2 * StrictMath.PI / 5;
        double angle = StrictMath.atan2(x, -y);
        angle = StrictMath.abs(angle - sector * StrictMath.rint(angle / sector));
        double radius = StrictMath.hypot(x, y);
        double px = radius * StrictMath.cos(angle);
        double py = radius * StrictMath.sin(angle);
        double notchX = STAR_INNER * StrictMath.cos(sector / 2);
        double notchY = STAR_INNER * StrictMath.sin(sector / 2);
        // The side of the line tip-notch that the origin lies on.
        return (notchX - REACH) * py - notchY * (px - REACH) >= 0;
    }
}
