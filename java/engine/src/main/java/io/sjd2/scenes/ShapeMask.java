package io.sjd2.scenes;

/// How much of each pixel one shape of one size covers, centred on the corner between four pixels. The generator
/// paints with these masks and the checker compares with them.
final class ShapeMask {
    /// Pixels from the centre to each side of the mask.
    static final int HALF = 16;
    /// Pixels along a side.
    static final int SIDE = 2 * HALF;

    /// Sample points along a side of a pixel: 64 levels of coverage are finer than 8-bit colours need.
    private static final int SAMPLES = 8;

    private static final ShapeMask[][] ALL = renderAll();

    /// `[SIDE, SIDE]`, 0 outside to 1 inside.
    final float[] coverage;
    /// Sum of the coverage, in pixels.
    final double area;
    /// Centroid relative to the centre, in pixels, y down.
    final double centroidX;

    final double centroidY;
    /// Whole pixels touched to the left of, to the right of, above and below the centre.
    final int left;

    final int right;
    final int top;
    final int bottom;

    static ShapeMask of(SceneShape shape, SceneSize size) {
        return ALL[shape.ordinal()][size.ordinal()];
    }

    private ShapeMask(SceneShape shape, SceneSize size) {
        coverage = new float[SIDE * SIDE];
        double sum = 0;
        double sumX = 0;
        double sumY = 0;
        int minX = SIDE;
        int maxX = -1;
        int minY = SIDE;
        int maxY = -1;
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++) {
                float covered = coverage(shape, size.radius(), x - HALF, y - HALF);
                coverage[y * SIDE + x] = covered;
                if (covered > 0) {
                    sum += covered;
                    sumX += covered * (x - HALF + 0.5);
                    sumY += covered * (y - HALF + 0.5);
                    minX = Math.min(minX, x);
                    maxX = Math.max(maxX, x);
                    minY = Math.min(minY, y);
                    maxY = Math.max(maxY, y);
                }
            }
        }
        area = sum;
        centroidX = sumX / sum;
        centroidY = sumY / sum;
        left = HALF - minX;
        right = maxX + 1 - HALF;
        top = HALF - minY;
        bottom = maxY + 1 - HALF;
    }

    private static float coverage(SceneShape shape, double radius, int x, int y) {
        int inside = 0;
        for (int i = 0; i < SAMPLES; i++) {
            for (int j = 0; j < SAMPLES; j++) {
                double px = x + (j + 0.5) / SAMPLES;
                double py = y + (i + 0.5) / SAMPLES;
                if (shape.contains(px / radius, py / radius)) {
                    inside++;
                }
            }
        }
        return inside / (float) (SAMPLES * SAMPLES);
    }

    private static ShapeMask[][] renderAll() {
        ShapeMask[][] all = new ShapeMask[SceneShape.values().length][SceneSize.values().length];
        for (SceneShape shape : SceneShape.values()) {
            for (SceneSize size : SceneSize.values()) {
                all[shape.ordinal()][size.ordinal()] = new ShapeMask(shape, size);
            }
        }
        return all;
    }
}
