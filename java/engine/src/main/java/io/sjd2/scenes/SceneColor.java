package io.sjd2.scenes;

/// The fill colours a scene may hold. These are the published values: the mean of a true fill lies within
/// [#MAX_DISTANCE] of its colour, and any two colours are more than twice that apart.
public enum SceneColor {
    RED("red", 224, 32, 36),
    GREEN("green", 28, 160, 60),
    BLUE("blue", 32, 72, 220),
    YELLOW("yellow", 250, 220, 30),
    ORANGE("orange", 248, 132, 20),
    PURPLE("purple", 140, 44, 180),
    BLACK("black", 18, 18, 20),
    WHITE("white", 252, 252, 252);

    /// How far, as Euclidean distance in 8-bit RGB, the mean of a fill may lie from the published value.
    public static final double MAX_DISTANCE = 40;

    private final String word;
    private final int red;
    private final int green;
    private final int blue;

    SceneColor(String word, int red, int green, int blue) {
        this.word = word;
        this.red = red;
        this.green = green;
        this.blue = blue;
    }

    /// The word that captions use.
    public String word() {
        return word;
    }

    /// Published red value, 0 to 255.
    public int red() {
        return red;
    }

    /// Published green value, 0 to 255.
    public int green() {
        return green;
    }

    /// Published blue value, 0 to 255.
    public int blue() {
        return blue;
    }

    /// Euclidean distance in 8-bit RGB from the published value.
    public double distance(double r, double g, double b) {
        return Math.sqrt((r - red) * (r - red) + (g - green) * (g - green) + (b - blue) * (b - blue));
    }
}
