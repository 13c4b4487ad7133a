package io.sjd2.decode;

import io.sjd2.model.ForwardPass;
import java.util.Arrays;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;

/// Measures what a whole iteration costs at several windows, on this model, machine and batch.
///
/// Passes run half-way through the picture, so that attention meets an average cache. They overwrite cache entries
/// behind the prompts, which a decode writes anew. The caller keeps the curve: it holds for the model, backend,
/// threads and batch.
public final class PassTimer {
    private static final int WARM_UP = 2;
    /// Java compiles what runs often: short passes are repeated until the first ones no longer count.
    private static final long WARM_UP_NANOS = 10_000_000;
    private static final int FEWEST = 2;
    private static final int MOST = 101;
    /// Enough repetitions of a short pass; a long one is not repeated for the sake of it.
    private static final long ENOUGH_NANOS = 20_000_000;

    private PassTimer() {}

    /// Median milliseconds of an iteration per window.
    ///
    /// @param request  the batch that will be decoded; the forward pass holds its prompts
    /// @param options  the decoder that will be used; its window is not read
    /// @param windows  the windows to measure; those wider than the picture are cut down to it
    public static PassCurve measure(ForwardPass forward, DecodeRequest request, DecodeOptions options, int... windows) {
        Map<Integer, Double> points = new TreeMap<>();
        for (int window : windows) {
            DecodeOptions atWindow = options.withWindow(window);
            int effective = atWindow.effectiveWindow(request.length());
            if (!points.containsKey(effective)) {
                points.put(effective, measureOne(forward, request, atWindow, effective));
            }
        }
        return PassCurve.of(points);
    }

    /// Lowers every point to the cheapest of the wider ones: a pass of fewer rows reads the same weights and computes
    /// less, so that what looks dearer was disturbed.
    ///
    /// @param points  window to milliseconds, changed in place
    public static void smooth(Map<Integer, Double> points) {
        NavigableMap<Integer, Double> sorted = new TreeMap<>(points);
        double cheapest = Double.POSITIVE_INFINITY;
        for (Map.Entry<Integer, Double> point : sorted.descendingMap().entrySet()) {
            cheapest = Math.min(cheapest, point.getValue());
            points.put(point.getKey(), cheapest);
        }
    }

    private static double measureOne(ForwardPass forward, DecodeRequest request, DecodeOptions options, int window) {
        int middle = (request.length() - window) / 2;
        try (DecodeSession session = new DecodeSession(forward, request, options)) {
            long warmUpEnd = System.nanoTime() + WARM_UP_NANOS;
            for (int pass = 0; pass < WARM_UP || System.nanoTime() - warmUpEnd < 0; pass++) {
                session.moveTo(middle);
                session.iterate();
            }
            long[] nanos = new long[MOST];
            int count = 0;
            long spent = 0;
            while (count < FEWEST || (count < MOST && spent < ENOUGH_NANOS)) {
                session.moveTo(middle);
                long start = System.nanoTime();
                session.iterate();
                long elapsed = System.nanoTime() - start;
                nanos[count++] = elapsed;
                spent += elapsed;
            }
            Arrays.sort(nanos, 0, count);
            return Math.max(1, nanos[count / 2]) / 1e6;
        }
    }
}
