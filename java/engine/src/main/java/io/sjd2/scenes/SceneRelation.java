package io.sjd2.scenes;

/// How one object lies to another. The relation with the larger displacement wins, so that of the four exactly one
/// holds between any two objects whose displacement is not exactly diagonal.
public enum SceneRelation {
    ABOVE("above"),
    BELOW("below"),
    LEFT_OF("to the left of"),
    RIGHT_OF("to the right of");

    private final String phrase;

    SceneRelation(String phrase) {
        this.phrase = phrase;
    }

    /// The words that captions use.
    public String phrase() {
        return phrase;
    }

    /// The relation seen from the other object.
    public SceneRelation opposite() {
        return switch (this) {
            case ABOVE -> BELOW;
            case BELOW -> ABOVE;
            case LEFT_OF -> RIGHT_OF;
            case RIGHT_OF -> LEFT_OF;
        };
    }

    /// Whether an object displaced by (dx, dy) pixels from another, y down, stands in this relation to it.
    public boolean holds(double dx, double dy) {
        return switch (this) {
            case ABOVE -> -dy > Math.abs(dx);
            case BELOW -> dy > Math.abs(dx);
            case LEFT_OF -> -dx > Math.abs(dy);
            case RIGHT_OF -> dx > Math.abs(dy);
        };
    }
}
