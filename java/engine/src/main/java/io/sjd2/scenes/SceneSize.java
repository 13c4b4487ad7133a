package io.sjd2.scenes;

/// The sizes a shape comes in. The steps are large enough that a size is still read correctly after a tokeniser has
/// moved an outline by a pixel.
public enum SceneSize {
    SMALL("small", 7),
    MEDIUM("medium", 10),
    LARGE("large", 14);

    private final String word;
    private final int radius;

    SceneSize(String word, int radius) {
        this.word = word;
        this.radius = radius;
    }

    /// The word that captions use.
    public String word() {
        return word;
    }

    /// The radius in pixels that outlines are scaled by.
    public int radius() {
        return radius;
    }
}
