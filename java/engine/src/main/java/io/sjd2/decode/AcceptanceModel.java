package io.sjd2.decode;

import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/// Expected positions per pass as a function of the window: what a wider window is worth.
///
/// A curve through measured points, linear in the logarithm of the window between them, 1 at window 1 and flat behind
/// the last point. Immutable.
public final class AcceptanceModel {
    /// Windows of the recorded curves below.
    private static final int[] RECORDED_WINDOWS = {8, 16, 32, 64};

    private final int[] windows;
    private final double[] tokens;

    private AcceptanceModel(int[] windows, double[] tokens) {
        this.windows = windows;
        this.tokens = tokens;
    }

    /// A curve through measured points.
    ///
    /// @param points  window to positions per pass, each between 1 and the window; at least one
    /// @throws IllegalArgumentException naming the first point that cannot be
    public static AcceptanceModel of(Map<Integer, Double> points) {
        SortedMap<Integer, Double> sorted = new TreeMap<>(points);
        if (sorted.isEmpty()) {
            throw new IllegalArgumentException("an acceptance curve needs at least one point");
        }
        sorted.forEach((window, value) -> {
            if (window < 1 || !(value >= 1) || value > window) {
                throw new IllegalArgumentException(
                        "acceptance at window " + window + " is " + value + ", expected between 1 and the window");
            }
        });
        sorted.put(1, 1.0);
        return new AcceptanceModel(
                sorted.keySet().stream().mapToInt(Integer::intValue).toArray(),
                sorted.values().stream().mapToDouble(Double::doubleValue).toArray());
    }

    /// The curve of slots that each survive a pass with the same probability, independently of each other:
    /// `1 + k + k^2 + ..` up to the window.
    ///
    /// @param keepRate  in [0, 1)
    /// @throws IllegalArgumentException if it is not
    public static AcceptanceModel ofKeepRate(double keepRate) {
        if (!(keepRate >= 0) || keepRate >= 1) {
            throw new IllegalArgumentException("keep rate is " + keepRate + ", expected at least 0 and below 1");
        }
        Map<Integer, Double> points = new TreeMap<>();
        for (int window = 1; window <= 256; window = window < 16 ? window + 1 : window + window / 8) {
            points.put(window, (1 - Math.pow(keepRate, window)) / (1 - keepRate));
        }
        return of(points);
    }

    /// What a decoder reached on a small trained model: the assumption while a model has no record of its own.
    /// Source: `docs/decoding.md`, "Measured on a small trained model"; `-gs` and `exact` scaled from `-mc` by their
    /// ratio on the synthetic grid of the same document.
    public static AcceptanceModel defaultFor(DecoderSpec decoder) {
        double[] coupled =
                decoder.noise() ? new double[] {2.58, 4.00, 5.48, 6.26} : new double[] {2.37, 3.19, 4.03, 4.59};
        return switch (decoder.kind()) {
            case SEQUENTIAL -> of(Map.of(1, 1.0));
            case GREEDY -> recorded(2.12, 2.39, 2.42, 2.43);
            case INDEPENDENT -> decoder.noise() ? recorded(2.30, 2.62, 2.70, 2.70) : recorded(2.12, 2.39, 2.42, 2.43);
            case MAXIMAL -> recorded(coupled);
            case GUMBEL -> recorded(scaled(coupled, 0.95, 0.93, 0.93, 0.92));
            case EXACT -> recorded(scaled(coupled, 0.86, 0.87, 0.90, 0.90));
        };
    }

    private static AcceptanceModel recorded(double... tokens) {
        Map<Integer, Double> points = new TreeMap<>();
        for (int i = 0; i < tokens.length; i++) {
            points.put(RECORDED_WINDOWS[i], tokens[i]);
        }
        return of(points);
    }

    private static double[] scaled(double[] values, double... factors) {
        double[] out = values.clone();
        for (int i = 0; i < out.length; i++) {
            out[i] *= factors[i];
        }
        return out;
    }

    /// Expected positions per pass.
    ///
    /// @param window  at least 1
    public double tokensPerPass(int window) {
        if (window < 1) {
            throw new IllegalArgumentException("window is " + window + ", expected at least 1");
        }
        int at = Arrays.binarySearch(windows, window);
        if (at >= 0) {
            return tokens[at];
        }
        int above = -at - 1;
        if (above == windows.length) {
            return tokens[above - 1];
        }
        double share =
                Math.log((double) window / windows[above - 1]) / Math.log((double) windows[above] / windows[above - 1]);
        return tokens[above - 1] + share * (tokens[above] - tokens[above - 1]);
    }

    @Override
    public String toString() {
        StringBuilder out = new StringBuilder("AcceptanceModel");
        for (int i = 0; i < windows.length; i++) {
            out.append(String.format(Locale.ROOT, " %d:%.2f", windows[i], tokens[i]));
        }
        return out.toString();
    }
}
