package io.sjd2.decode;

import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/// What a pass costs as a function of the window: measured points with straight lines between them.
///
/// Immutable. Beyond the last point the last line goes on; before the first the first value holds.
public final class PassCurve {
    private final int[] windows;
    private final double[] millis;

    private PassCurve(int[] windows, double[] millis) {
        this.windows = windows;
        this.millis = millis;
    }

    /// @param points  window to milliseconds per pass, both > 0; at least one
    /// @throws IllegalArgumentException naming the first point that cannot be
    public static PassCurve of(Map<Integer, Double> points) {
        SortedMap<Integer, Double> sorted = new TreeMap<>(points);
        if (sorted.isEmpty()) {
            throw new IllegalArgumentException("a pass curve needs at least one point");
        }
        sorted.forEach((window, value) -> {
            if (window < 1 || !(value > 0) || Double.isInfinite(value)) {
                throw new IllegalArgumentException(
                        "a pass of window " + window + " is said to take " + value + " ms, expected a time > 0");
            }
        });
        return new PassCurve(
                sorted.keySet().stream().mapToInt(Integer::intValue).toArray(),
                sorted.values().stream().mapToDouble(Double::doubleValue).toArray());
    }

    /// The measured windows, ascending.
    public int[] windows() {
        return windows.clone();
    }

    /// Milliseconds of a pass.
    public double millis(int window) {
        int at = Arrays.binarySearch(windows, window);
        if (at >= 0) {
            return millis[at];
        }
        if (windows.length == 1 || window < windows[0]) {
            return millis[0];
        }
        int above = Math.min(-at - 1, windows.length - 1);
        double slope = (millis[above] - millis[above - 1]) / (windows[above] - windows[above - 1]);
        // A noisy measurement may fall; a pass beyond what was measured is never cheaper than the last one.
        double limit = window > windows[above] ? Math.max(0, slope) * (window - windows[above]) + millis[above] : 0;
        return limit > 0 ? limit : millis[above - 1] + slope * (window - windows[above - 1]);
    }

    @Override
    public String toString() {
        StringBuilder out = new StringBuilder("PassCurve");
        for (int i = 0; i < windows.length; i++) {
            out.append(String.format(Locale.ROOT, " %d:%.3fms", windows[i], millis[i]));
        }
        return out.toString();
    }
}
