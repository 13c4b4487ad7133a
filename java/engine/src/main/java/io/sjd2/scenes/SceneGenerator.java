package io.sjd2.scenes;

import io.sjd2.tensor.RgbImage;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Makes captioned scenes from (seed, index): any index, in any order, on any thread, always the same scene.
///
/// A scene holds one to three shapes of different colour or kind that do not touch, on light paper with faint grain
/// and flecks in one of four tints. Centres lie on a lattice of [#LATTICE] pixels. Everything the caption says is
/// true of the picture; read row by row, its objects begin in the order of the caption as far as the relations allow.
/// Sizes are sometimes left out of the caption, and articles vary. Pictures of both splits look alike: one
/// caption in sixteen, chosen by a hash of what it states, belongs to [Split#HELD_OUT] and never occurs in training.
public final class SceneGenerator {
    /// Width and height of a scene in pixels.
    public static final int SIDE = 64;
    /// Centres are multiples of this many pixels: the patch of the tokeniser, so that few patches look different.
    public static final int LATTICE = 4;
    /// The least number of background pixels between two bounding boxes.
    static final int GAP = 4;
    /// The least number of background pixels between a bounding box and the border.
    static final int MARGIN = 2;

    /// Two relations are what the demo model gets wrong most, at a twelfth of all scenes: they are never passed over.
    private static final int MOST_RELATIONS = 2;
    /// Added to the seed where it is decided what is passed over.
    private static final long PASSING_OVER = 0x5eed;

    private static final int PARTS = 1 << 16;
    private static final int HELD_OUT_ONE_IN = 16;
    private static final int MOST_DISTINCT = 10_000;
    /// Three objects in a given order find room in one try of some hundreds.
    private static final int PLACEMENT_TRIES = 1200;
    /// A related pair is displaced at most this much across the relation, as a share of the displacement along it.
    private static final double CONE = 0.7;
    /// No channel of a fill is further than this from the published colour.
    private static final int FILL_JITTER = 5;

    private static final int[][] TINTS = {{206, 202, 192}, {194, 201, 208}, {197, 206, 196}, {206, 197, 203}};
    private static final int DARK_FLECK_PERCENT = 9;
    private static final int LIGHT_FLECK_PERCENT = 9;
    private static final int DARK_FLECK = -16;
    private static final int LIGHT_FLECK = 12;
    private static final int FLECK_SIDE = 4;
    private static final float[] FLECK = {
        0.1f, 0.4f, 0.4f, 0.1f, 0.4f, 1f, 1f, 0.4f, 0.4f, 1f, 1f, 0.4f, 0.1f, 0.4f, 0.4f, 0.1f
    };
    /// Brightness offsets of single pixels, one picked by four random bits.
    private static final byte[] GRAIN = {-2, -2, -1, -1, -1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2};

    /// Which captions a generator may use.
    public enum Split {
        TRAIN,
        HELD_OUT
    }

    private final long seed;
    private final Split split;
    private final double passOver;

    public SceneGenerator(long seed, Split split) {
        this(seed, split, 0);
    }

    /// A generator that makes more of the scenes that are hard to learn.
    ///
    /// @param passOver share of the scenes with fewer than two relations that another one takes the place of
    /// @throws IllegalArgumentException if `passOver` is outside [0, 1)
    public SceneGenerator(long seed, Split split, double passOver) {
        if (!(passOver >= 0 && passOver < 1)) {
            throw new IllegalArgumentException(
                    "SceneGenerator: the share passed over is " + passOver + ", expected 0 to below 1");
        }
        this.seed = seed;
        this.split = split;
        this.passOver = passOver;
    }

    /// The split that a caption belongs to, whatever its wording.
    public static Split splitOf(Caption caption) {
        long hash = 0;
        String key = caption.key();
        for (int i = 0; i < key.length(); i++) {
            hash = CounterRandom.mix(hash + key.charAt(i) + 1);
        }
        return Long.remainderUnsigned(hash, HELD_OUT_ONE_IN) == 0 ? Split.HELD_OUT : Split.TRAIN;
    }

    /// The scene with this index.
    /// @param index any number, negative ones included
    public Scene scene(long index) {
        for (long attempt = 0; ; attempt++) {
            CounterRandom random = new CounterRandom(seed, index, attempt);
            Plan plan = plan(random);
            if (splitOf(plan.caption()) != split || isPassedOver(plan.caption(), index, attempt)) {
                continue;
            }
            Optional<List<Scene.Placed>> placed = place(plan.caption(), random);
            if (placed.isPresent()) {
                return new Scene(plan.text(), placed.get(), paint(placed.get(), random));
            }
        }
    }

    private boolean isPassedOver(Caption caption, long index, long attempt) {
        return passOver > 0
                && caption.links().size() < MOST_RELATIONS
                && new CounterRandom(seed + PASSING_OVER, index, attempt).nextInt(PARTS) < passOver * PARTS;
    }

    /// The first scenes, in order of index from 0, whose captions state different things: prompts to measure a model
    /// with, none counted twice.
    /// @param count 0 to 10,000
    /// @throws IllegalArgumentException if `count` is out of range
    public List<Scene> distinct(int count) {
        if (count < 0 || count > MOST_DISTINCT) {
            throw new IllegalArgumentException(
                    "SceneGenerator: " + count + " distinct scenes asked for, expected 0 to " + MOST_DISTINCT);
        }
        List<Scene> scenes = new ArrayList<>();
        Set<String> keys = new HashSet<>();
        for (long index = 0; scenes.size() < count; index++) {
            Scene scene = scene(index);
            if (keys.add(Caption.parse(scene.caption()).key())) {
                scenes.add(scene);
            }
        }
        return scenes;
    }

    private record Plan(String text, Caption caption) {}

    private static Plan plan(CounterRandom random) {
        int draw = random.nextInt(100);
        int count = draw < 25 ? 1 : draw < 70 ? 2 : 3;
        List<Caption.Item> items = new ArrayList<>();
        while (items.size() < count) {
            SceneColor color = random.pick(SceneColor.values());
            SceneShape shape = random.pick(SceneShape.values());
            Optional<SceneSize> size =
                    random.chance(35) ? Optional.empty() : Optional.of(random.pick(SceneSize.values()));
            boolean taken = items.stream()
                    .anyMatch(other -> other.shape() == shape && other.color().equals(Optional.of(color)));
            if (!taken) {
                items.add(new Caption.Item(size, Optional.of(color), shape));
            }
        }
        int articles = random.nextInt(100);
        List<String> names = items.stream()
                .map(item ->
                        articles < 90 ? item.withArticle() : articles < 96 ? "the " + item.phrase() : item.phrase())
                .toList();
        String text = sentence(names, random);
        return new Plan(text, Caption.parse(text));
    }

    private static String sentence(List<String> names, CounterRandom random) {
        int form = random.nextInt(100);
        String first = random.pick(SceneRelation.values()).phrase();
        String second = random.pick(SceneRelation.values()).phrase();
        return switch (names.size()) {
            case 1 -> names.get(0);
            case 2 -> names.get(0) + " " + (form < 15 ? "and" : first) + " " + names.get(1);
            default -> {
                if (form < 25) {
                    yield names.get(0) + ", " + names.get(1) + " and " + names.get(2);
                }
                if (form < 50) {
                    yield names.get(0) + " and " + names.get(1) + " " + first + " " + names.get(2);
                }
                yield names.get(0) + " " + first + " " + names.get(1) + " and " + second + " " + names.get(2);
            }
        };
    }

    private static Optional<List<Scene.Placed>> place(Caption caption, CounterRandom random) {
        int count = caption.objects().size();
        Scene.Placed[] placed = new Scene.Placed[count];
        int[] order = readingOrder(caption);
        for (int attempt = 0; attempt < PLACEMENT_TRIES; attempt++) {
            for (int i = 0; i < count; i++) {
                Caption.Item item = caption.objects().get(i);
                SceneSize size = item.size().orElseGet(() -> random.pick(SceneSize.values()));
                ShapeMask mask = ShapeMask.of(item.shape(), size);
                int x = coordinate(mask.left, mask.right, random);
                int y = coordinate(mask.top, mask.bottom, random);
                placed[i] = new Scene.Placed(item.shape(), item.color().orElseThrow(), size, x, y);
            }
            if (areMetInOrder(placed, order) && isClear(placed) && holdsClearly(caption, placed)) {
                return Optional.of(List.of(placed));
            }
        }
        return Optional.empty();
    }

    private static int coordinate(int before, int after, CounterRandom random) {
        int lowest = Math.ceilDiv(before + MARGIN, LATTICE);
        int highest = (SIDE - after - MARGIN) / LATTICE;
        return LATTICE * (lowest + random.nextInt(highest - lowest + 1));
    }

    private static boolean isClear(Scene.Placed[] placed) {
        for (int i = 0; i < placed.length; i++) {
            for (int j = 0; j < i; j++) {
                Scene.Placed a = placed[i];
                Scene.Placed b = placed[j];
                ShapeMask maskA = ShapeMask.of(a.shape(), a.size());
                ShapeMask maskB = ShapeMask.of(b.shape(), b.size());
                boolean apart = a.centerX() + maskA.right + GAP <= b.centerX() - maskB.left
                        || b.centerX() + maskB.right + GAP <= a.centerX() - maskA.left
                        || a.centerY() + maskA.bottom + GAP <= b.centerY() - maskB.top
                        || b.centerY() + maskB.bottom + GAP <= a.centerY() - maskA.top;
                if (!apart) {
                    return false;
                }
            }
        }
        return true;
    }

    private static boolean holdsClearly(Caption caption, Scene.Placed[] placed) {
        for (Caption.Link link : caption.links()) {
            Scene.Placed subject = placed[link.subject()];
            Scene.Placed object = placed[link.object()];
            int dx = subject.centerX() - object.centerX();
            int dy = subject.centerY() - object.centerY();
            int across = Math.min(Math.abs(dx), Math.abs(dy));
            int along = Math.max(Math.abs(dx), Math.abs(dy));
            if (!link.relation().holds(dx, dy) || across > CONE * along) {
                return false;
            }
        }
        return true;
    }

    /// The order in which objects begin when a picture is read row by row: that of the caption, but for what its
    /// relations turn round. A model writes row by row, and so it learns an order where it would otherwise have to
    /// learn, of all the orders that a caption allows, how each one depends on where the first object begins: an
    /// exclusive or of column, item and relation, of which it learned nothing from a quarter of a million pictures.
    ///
    /// @return indices of objects, the first to begin first
    private static int[] readingOrder(Caption caption) {
        int count = caption.objects().size();
        boolean[][] precedes = new boolean[count][count];
        for (Caption.Link link : caption.links()) {
            boolean subjectFirst = link.relation() == SceneRelation.ABOVE || link.relation() == SceneRelation.LEFT_OF;
            precedes[subjectFirst ? link.subject() : link.object()][subjectFirst ? link.object() : link.subject()] =
                    true;
        }
        int[] order = new int[count];
        boolean[] taken = new boolean[count];
        for (int at = 0; at < count; at++) {
            int next = 0;
            while (taken[next] || waits(next, precedes, taken)) {
                next++;
            }
            taken[next] = true;
            order[at] = next;
        }
        return order;
    }

    private static boolean waits(int object, boolean[][] precedes, boolean[] taken) {
        for (int other = 0; other < taken.length; other++) {
            if (precedes[other][object] && !taken[other]) {
                return true;
            }
        }
        return false;
    }

    private static boolean areMetInOrder(Scene.Placed[] placed, int[] order) {
        for (int at = 1; at < order.length; at++) {
            Scene.Placed before = placed[order[at - 1]];
            Scene.Placed after = placed[order[at]];
            int rows = topRow(after) - topRow(before);
            if (rows < 0 || (rows == 0 && after.centerX() < before.centerX())) {
                return false;
            }
        }
        return true;
    }

    private static int topRow(Scene.Placed object) {
        return (object.centerY() - ShapeMask.of(object.shape(), object.size()).top) / LATTICE;
    }

    private static RgbImage paint(List<Scene.Placed> objects, CounterRandom random) {
        float[] red = new float[SIDE * SIDE];
        float[] green = new float[SIDE * SIDE];
        float[] blue = new float[SIDE * SIDE];
        float[] light = paper(objects, random);
        int[] tint = random.pick(TINTS);
        for (int i = 0; i < SIDE * SIDE; i++) {
            red[i] = tint[0] + light[i];
            green[i] = tint[1] + light[i];
            blue[i] = tint[2] + light[i];
        }
        for (Scene.Placed object : objects) {
            ShapeMask mask = ShapeMask.of(object.shape(), object.size());
            blend(red, object, mask, jitter(object.color().red(), random));
            blend(green, object, mask, jitter(object.color().green(), random));
            blend(blue, object, mask, jitter(object.color().blue(), random));
        }
        byte[] rgb = new byte[3 * SIDE * SIDE];
        grain(rgb, red, green, blue, random);
        return new RgbImage(SIDE, SIDE, rgb);
    }

    /// Flecks, one at most in each cell that no object touches: behind an outline they would only make the same edge
    /// look different each time.
    private static float[] paper(List<Scene.Placed> objects, CounterRandom random) {
        float[] light = new float[SIDE * SIDE];
        for (int cellY = 0; cellY < SIDE; cellY += FLECK_SIDE) {
            for (int cellX = 0; cellX < SIDE; cellX += FLECK_SIDE) {
                int draw = random.nextInt(100);
                int strength = draw < DARK_FLECK_PERCENT
                        ? DARK_FLECK
                        : draw < DARK_FLECK_PERCENT + LIGHT_FLECK_PERCENT ? LIGHT_FLECK : 0;
                if (strength != 0 && !touchesAny(objects, cellX, cellY)) {
                    for (int i = 0; i < FLECK.length; i++) {
                        int at = (cellY + i / FLECK_SIDE) * SIDE + cellX + i % FLECK_SIDE;
                        light[at] = strength * FLECK[i];
                    }
                }
            }
        }
        return light;
    }

    private static boolean touchesAny(List<Scene.Placed> objects, int cellX, int cellY) {
        for (Scene.Placed object : objects) {
            ShapeMask mask = ShapeMask.of(object.shape(), object.size());
            int x = cellX - object.centerX();
            int y = cellY - object.centerY();
            boolean inBox =
                    x < mask.right && x + FLECK_SIDE > -mask.left && y < mask.bottom && y + FLECK_SIDE > -mask.top;
            if (inBox) {
                return true;
            }
        }
        return false;
    }

    private static int jitter(int channel, CounterRandom random) {
        return Math.clamp(channel + random.nextInt(2 * FILL_JITTER + 1) - FILL_JITTER, 0, 255);
    }

    private static void blend(float[] channel, Scene.Placed object, ShapeMask mask, int value) {
        for (int y = -mask.top; y < mask.bottom; y++) {
            for (int x = -mask.left; x < mask.right; x++) {
                float covered = mask.coverage[(y + ShapeMask.HALF) * ShapeMask.SIDE + x + ShapeMask.HALF];
                int at = (object.centerY() + y) * SIDE + object.centerX() + x;
                channel[at] += covered * (value - channel[at]);
            }
        }
    }

    private static void grain(byte[] rgb, float[] red, float[] green, float[] blue, CounterRandom random) {
        long bits = 0;
        for (int i = 0; i < SIDE * SIDE; i++) {
            if (i % 16 == 0) {
                bits = random.nextLong();
            }
            int grain = GRAIN[(int) (bits & 15)];
            bits >>>= 4;
            rgb[3 * i] = (byte) Math.clamp(Math.round(red[i] + grain), 0, 255);
            rgb[3 * i + 1] = (byte) Math.clamp(Math.round(green[i] + grain), 0, 255);
            rgb[3 * i + 2] = (byte) Math.clamp(Math.round(blue[i] + grain), 0, 255);
        }
    }
}
