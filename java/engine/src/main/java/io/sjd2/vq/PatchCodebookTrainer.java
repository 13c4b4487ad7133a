package io.sjd2.vq;

import io.sjd2.tensor.RgbImage;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.function.LongFunction;

/// Makes the table of a [PatchTokenizer] by k-means, the same table for the same pictures and settings on any machine.
///
/// Most patches of a drawing are plain background, and k-means left to itself would spend its codes on the shades of
/// it. So patches are sorted into *quiet* ones, with little contrast, and *busy* ones; each kind is thinned to its own
/// number of samples and clustered with its own number of codes. Quiet codes come first in the table. Among busy
/// patches a squared error is divided by the standard deviation within the patch, or the edge of a white shape on
/// light paper would get no codes beside that of a black one.
///
/// Source of the start: k-means++, each new centre drawn with a chance proportional to the squared distance from the
/// nearest one so far. Sums run in one fixed order in f64, on one thread.
public final class PatchCodebookTrainer {
    /// What to train.
    ///
    /// @param codes         entries of the table
    /// @param quietCodes    how many of them are for quiet patches; 0 clusters everything together
    /// @param patch         pixels along a side of a patch
    /// @param images        how many pictures to look at
    /// @param quietSamples  at most this many quiet patches are kept
    /// @param busySamples   at most this many busy patches are kept
    /// @param quietContrast a patch is quiet if no channel varies by more than this within it, in 8-bit steps
    /// @param rounds        at most this many k-means rounds
    /// @param quietStarts   how often the quiet clusters are started afresh; the best result is kept
    /// @param seed          seeds the choice of samples and of centres
    public record Settings(
            int codes,
            int quietCodes,
            int patch,
            int images,
            int quietSamples,
            int busySamples,
            int quietContrast,
            int rounds,
            int quietStarts,
            long seed) {
        /// What the bundled demo tokeniser was trained with.
        public static final Settings DEMO = new Settings(512, 20, 4, 6000, 12_000, 240_000, 40, 40, 250, 3);

        public Settings {
            if (codes < 1 || quietCodes < 0 || quietCodes > codes) {
                throw new IllegalArgumentException("PatchCodebookTrainer: " + quietCodes + " quiet of " + codes
                        + " codes; expected at least one code and no more quiet codes than codes");
            }
            if (patch < 1 || images < 1 || quietSamples < 0 || busySamples < 0 || rounds < 1 || quietStarts < 1) {
                throw new IllegalArgumentException(
                        "PatchCodebookTrainer: patch, images, rounds and quietStarts must be at least 1, samples at"
                                + " least 0");
            }
        }

        /// The same settings with another number of codes.
        public Settings withCodes(int newCodes) {
            return new Settings(
                    newCodes,
                    quietCodes,
                    patch,
                    images,
                    quietSamples,
                    busySamples,
                    quietContrast,
                    rounds,
                    quietStarts,
                    seed);
        }
    }

    /// Keeps a nearly flat patch from outweighing everything else; about (7 / 255)^2 in units of the table.
    private static final float LEAST_VARIANCE = 0.003f;

    private final Settings settings;
    private final int dimensions;

    private PatchCodebookTrainer(Settings settings) {
        this.settings = settings;
        this.dimensions = 3 * settings.patch() * settings.patch();
    }

    /// Trains a table.
    /// @param images gives picture 0 to `settings.images() - 1`, in order; sides are multiples of the patch
    /// @return `[codes, patch, patch, 3]` in [-1, 1]
    /// @throws IllegalArgumentException if a picture has the wrong size or patches do not suffice for the codes
    public static float[] train(LongFunction<RgbImage> images, Settings settings) {
        return new PatchCodebookTrainer(settings).train(images);
    }

    private float[] train(LongFunction<RgbImage> images) {
        int patch = settings.patch();
        Reservoir quiet = new Reservoir(settings.quietCodes() == 0 ? 0 : settings.quietSamples(), settings.seed());
        Reservoir busy = new Reservoir(settings.busySamples(), settings.seed() + 1);
        float[] values = new float[dimensions];
        for (int i = 0; i < settings.images(); i++) {
            RgbImage image = images.apply(i);
            if (image.width() % patch != 0 || image.height() % patch != 0) {
                throw new IllegalArgumentException("PatchCodebookTrainer: picture " + i + " is " + image.width() + " x "
                        + image.height() + ", expected multiples of the patch, " + patch);
            }
            for (int row = 0; row < image.height() / patch; row++) {
                for (int column = 0; column < image.width() / patch; column++) {
                    PatchTokenizer.readPatch(image, row, column, patch, values, 0);
                    boolean isQuiet = settings.quietCodes() > 0 && contrast(values) <= settings.quietContrast();
                    if (isQuiet) {
                        quiet.offer(values, 1);
                    } else {
                        busy.offer(values, (float) (1 / Math.sqrt(variance(values) + LEAST_VARIANCE)));
                    }
                }
            }
        }
        int quietCodes = settings.quietCodes();
        float[] codebook = new float[settings.codes() * dimensions];
        if (quietCodes > 0) {
            Clusters best = cluster(quiet, quietCodes, settings.seed() + 2);
            for (int start = 1; start < settings.quietStarts(); start++) {
                Clusters next = cluster(quiet, quietCodes, settings.seed() + 2 + 1000L * start);
                best = next.distortion < best.distortion ? next : best;
            }
            System.arraycopy(best.centers, 0, codebook, 0, best.centers.length);
        }
        if (quietCodes < settings.codes()) {
            Clusters clusters = cluster(busy, settings.codes() - quietCodes, settings.seed() + 3);
            System.arraycopy(clusters.centers, 0, codebook, quietCodes * dimensions, clusters.centers.length);
        }
        return codebook;
    }

    /// The largest range of any channel, in 8-bit steps.
    private static int contrast(float[] values) {
        float widest = 0;
        for (int channel = 0; channel < 3; channel++) {
            float low = values[channel];
            float high = low;
            for (int i = channel; i < values.length; i += 3) {
                low = Math.min(low, values[i]);
                high = Math.max(high, values[i]);
            }
            widest = Math.max(widest, high - low);
        }
        return Math.round(widest * 127.5f);
    }

    /// Mean squared deviation from the patch's mean colour, all channels together.
    private static float variance(float[] values) {
        float total = 0;
        for (int channel = 0; channel < 3; channel++) {
            float sum = 0;
            float squares = 0;
            for (int i = channel; i < values.length; i += 3) {
                sum += values[i];
                squares += values[i] * values[i];
            }
            total += squares - sum * sum * 3 / values.length;
        }
        return Math.max(0, total) / values.length;
    }

    private record Clusters(float[] centers, double distortion) {}

    private Clusters cluster(Reservoir samples, int count, long seed) {
        if (samples.size < count) {
            throw new IllegalArgumentException("PatchCodebookTrainer: " + samples.size + " sample patches for " + count
                    + " codes; give more pictures or fewer codes");
        }
        SplittableRandom random = new SplittableRandom(seed);
        float[] centers = spread(samples, count, random);
        int[] assigned = new int[samples.size];
        Arrays.fill(assigned, -1);
        double distortion = 0;
        for (int round = 0; round < settings.rounds(); round++) {
            float[] distances = new float[samples.size];
            boolean moved = assign(samples, centers, assigned, distances);
            distortion = 0;
            for (int i = 0; i < samples.size; i++) {
                distances[i] *= samples.weights[i];
                distortion += distances[i];
            }
            if (!moved) {
                break;
            }
            update(samples, centers, assigned, distances);
        }
        for (int i = 0; i < centers.length; i++) {
            centers[i] = Math.clamp(centers[i], -1, 1);
        }
        return new Clusters(centers, distortion);
    }

    private float[] spread(Reservoir samples, int count, SplittableRandom random) {
        float[] centers = new float[count * dimensions];
        double[] nearest = new double[samples.size];
        Arrays.fill(nearest, Double.POSITIVE_INFINITY);
        int chosen = random.nextInt(samples.size);
        for (int center = 0; center < count; center++) {
            System.arraycopy(samples.values, chosen * dimensions, centers, center * dimensions, dimensions);
            double total = 0;
            for (int i = 0; i < samples.size; i++) {
                double distance = samples.weights[i] * squaredDistance(samples.values, i, centers, center);
                nearest[i] = Math.min(nearest[i], distance);
                total += nearest[i];
            }
            if (total == 0 && center + 1 < count) {
                throw new IllegalArgumentException("PatchCodebookTrainer: only " + (center + 1)
                        + " different patches for " + count + " codes; give more pictures or fewer codes");
            }
            double left = random.nextDouble() * total;
            chosen = 0;
            while (chosen + 1 < samples.size && left >= nearest[chosen]) {
                left -= nearest[chosen];
                chosen++;
            }
        }
        return centers;
    }

    private double squaredDistance(float[] values, int sample, float[] centers, int center) {
        float sum = 0;
        for (int d = 0; d < dimensions; d++) {
            float difference = values[sample * dimensions + d] - centers[center * dimensions + d];
            sum += difference * difference;
        }
        return sum;
    }

    private boolean assign(Reservoir samples, float[] centers, int[] assigned, float[] distances) {
        NearestCenter search = new NearestCenter(centers, centers.length / dimensions, dimensions);
        boolean moved = false;
        for (int i = 0; i < samples.size; i++) {
            int best = search.find(samples.values, i * dimensions);
            moved |= best != assigned[i];
            assigned[i] = best;
            distances[i] = (float) squaredDistance(samples.values, i, centers, best);
        }
        return moved;
    }

    /// Moves each centre to the mean of its samples; one that lost all of them goes to the sample worst served.
    private void update(Reservoir samples, float[] centers, int[] assigned, float[] distances) {
        int count = centers.length / dimensions;
        double[] sums = new double[centers.length];
        double[] mass = new double[count];
        for (int i = 0; i < samples.size; i++) {
            double weight = samples.weights[i];
            mass[assigned[i]] += weight;
            for (int d = 0; d < dimensions; d++) {
                sums[assigned[i] * dimensions + d] += weight * samples.values[i * dimensions + d];
            }
        }
        for (int center = 0; center < count; center++) {
            if (mass[center] > 0) {
                for (int d = 0; d < dimensions; d++) {
                    centers[center * dimensions + d] = (float) (sums[center * dimensions + d] / mass[center]);
                }
            } else {
                int worst = 0;
                for (int i = 1; i < samples.size; i++) {
                    worst = distances[i] > distances[worst] ? i : worst;
                }
                distances[worst] = 0;
                System.arraycopy(samples.values, worst * dimensions, centers, center * dimensions, dimensions);
            }
        }
    }

    /// Keeps a uniform sample of all patches offered.
    private final class Reservoir {
        private final int capacity;
        private final SplittableRandom random;
        private float[] values = new float[0];
        private float[] weights = new float[0];
        private int size;
        private long offered;

        Reservoir(int capacity, long seed) {
            this.capacity = capacity;
            this.random = new SplittableRandom(seed);
        }

        void offer(float[] patch, float weight) {
            offered++;
            int slot = size;
            if (size < capacity) {
                size++;
                if (size * dimensions > values.length) {
                    int room = Math.min(capacity, 2 * size);
                    values = Arrays.copyOf(values, Math.multiplyExact(room, dimensions));
                    weights = Arrays.copyOf(weights, room);
                }
            } else {
                long at = random.nextLong(offered);
                if (at >= capacity) {
                    return;
                }
                slot = (int) at;
            }
            weights[slot] = weight;
            System.arraycopy(patch, 0, values, slot * dimensions, dimensions);
        }
    }
}
