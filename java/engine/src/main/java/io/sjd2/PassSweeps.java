package io.sjd2;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/// Times of passes at several windows, measured again and again until they can be told: how often, and what counts.
///
/// A young virtual machine compiles beside the first passes, so that short ones are measured until they no longer
/// become shorter, and only what is measured from then on counts. The median of that is what a decode takes on a
/// machine as busy as this one; the shortest time would promise more than it holds for the length of a picture.
final class PassSweeps {
    private static final int FEWEST = 2;
    /// Sweeps that count, where they are cheap.
    private static final int ENOUGH = 5;
    /// No window was measured shorter than this share of its shortest time so far.
    private static final double SETTLED = 0.97;
    /// Of all sweeps but the first two, which a large model takes longer for.
    private static final long MOST_NANOS = 3_000_000_000L;

    private final List<Map<Integer, Double>> sweeps = new ArrayList<>();
    private final Map<Integer, Double> shortest = new TreeMap<>();
    /// The first sweep that counts; -1 as long as times fall.
    private int first = -1;

    /// Sweeps so far.
    int count() {
        return sweeps.size();
    }

    /// @param spentNanos  for all sweeps so far
    boolean wantsMore(long spentNanos) {
        return sweeps.size() < FEWEST || (spentNanos < MOST_NANOS && (first < 0 || sweeps.size() - first < ENOUGH));
    }

    /// @param sweep  window to milliseconds, of the same windows every time
    void add(Map<Integer, Double> sweep) {
        boolean settled = !sweeps.isEmpty();
        for (Map.Entry<Integer, Double> point : sweep.entrySet()) {
            settled &= point.getValue() > SETTLED * shortest.getOrDefault(point.getKey(), Double.POSITIVE_INFINITY);
            shortest.merge(point.getKey(), point.getValue(), Math::min);
        }
        if (settled && first < 0) {
            // The one before was no longer slower than this one.
            first = sweeps.size() - 1;
        }
        sweeps.add(Map.copyOf(sweep));
    }

    /// Window to milliseconds: the median of the sweeps that count, the lower one of two; while times still fall, the
    /// shortest.
    Map<Integer, Double> points() {
        if (first < 0) {
            return new TreeMap<>(shortest);
        }
        Map<Integer, Double> points = new TreeMap<>();
        for (int window : shortest.keySet()) {
            double[] millis = sweeps.subList(first, sweeps.size()).stream()
                    .mapToDouble(sweep -> sweep.get(window))
                    .sorted()
                    .toArray();
            points.put(window, millis[(millis.length - 1) / 2]);
        }
        return points;
    }
}
