package io.sjd2.decode;

import io.sjd2.model.ForwardPass;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;

/// Measures what a whole iteration costs at several windows, on this model, machine and batch.
///
/// Passes run half-way through the picture, so that attention meets an average cache. They overwrite cache entries
/// behind
/// the prompts, which a decode writes anew. The caller keeps the curve: it holds for the model, backend, threads and
/// batch.
public final class PassTimer {
    private static final int WARM_UP = 2;
    private static final int FEWEST = 3;
    private static final int MOST = 15;
    /// Enough repetitions of a short pass; a long one is not repeated for the sake of it.
    private static final long ENOUGH_NANOS = 40_000_000;

    private PassTimer() {}

    /// Median milliseconds of an iteration per window.
    ///
    /// @param request  the batch that will be decoded; the forward pass holds its prompts
    /// @param options  the decoder that will be used; its window is not read
    /// @param windows  the windows to measure; those wider than the picture are cut down to it
    public static PassCurve measure(ForwardPass forward, DecodeRequest request, DecodeOptions options, int... windows) {
        Map<Integer, Double> points = new TreeMap<>();
        for (int window : windows) {
            DecodeOptions atWindow = new DecodeOptions(options.decoder(), options.sampling(), window, options.levels());
            int effective = atWindow.effectiveWindow(request.length());
            if (!points.containsKey(effective)) {
                points.put(effective, measureOne(forward, request, atWindow, effective));
            }
        }
        return PassCurve.of(points);
    }

    private static double measureOne(ForwardPass forward, DecodeRequest request, DecodeOptions options, int window) {
        int middle = (request.length() - window) / 2;
        try (DecodeSession session = new DecodeSession(forward, request, options)) {
            long[] nanos = new long[MOST];
            int count = 0;
            long spent = 0;
            for (int pass = -WARM_UP; count < FEWEST || (count < MOST && spent < ENOUGH_NANOS); pass++) {
                session.moveTo(middle);
                long start = System.nanoTime();
                session.iterate();
                long elapsed = System.nanoTime() - start;
                if (pass >= 0) {
                    nanos[count++] = elapsed;
                    spent += elapsed;
                }
            }
            Arrays.sort(nanos, 0, count);
            return Math.max(1, nanos[count / 2]) / 1e6;
        }
    }
}
