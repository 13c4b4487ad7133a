package io.sjd2;

import java.nio.file.Path;
import java.time.Instant;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Which window `auto` takes, and why: the pass times measured on this machine and the tokens per pass expected of the
/// decoder.
///
/// @param decoder     name of the decoder
/// @param guided      whether each picture has two sequences
/// @param images      pictures decoded side by side
/// @param tokens      positions of a picture
/// @param window      the choice, one of the points'
/// @param points      what was measured, by rising window; the first is a pass of one row
/// @param recorded    whether the tokens per pass were measured on this model (`tokens_per_pass` of its
///                    `generation_config.json`); false: they are those of a small model in `docs/decoding.md`
/// @param origin      where the pass times come from
/// @param measuredAt  when they were measured
/// @param file        the cache's file that holds them, or would
public record WindowPlan(
        String decoder,
        boolean guided,
        int images,
        int tokens,
        int window,
        List<Point> points,
        boolean recorded,
        Origin origin,
        Instant measuredAt,
        Path file) {
    public WindowPlan {
        points = List.copyOf(points);
    }

    /// Where pass times come from.
    public enum Origin {
        /// Measured by this process.
        MEASURED,
        /// Read from the cache.
        CACHED
    }

    /// A window that was measured.
    ///
    /// @param window         rows per picture and pass
    /// @param msPerPass      median time of a pass half-way through a picture, in milliseconds
    /// @param tokensPerPass  positions of a picture that a pass is expected to make final
    public record Point(int window, double msPerPass, double tokensPerPass) {
        double tokensPerMilli() {
            return tokensPerPass / msPerPass;
        }
    }

    /// The chosen point.
    public Point choice() {
        return at(window);
    }

    /// One row per pass, as `ar` has.
    public Point oneRow() {
        return points.getFirst();
    }

    private Point at(int size) {
        return points.stream()
                .filter(point -> point.window() == size)
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException("window " + size + " was not measured"));
    }

    /// Expected time of the decode loop at the chosen window, in seconds, for {@link #images} pictures together; the
    /// prompt's pass and the way from tokens to pixels come on top.
    public double predictedSeconds() {
        return predictedSeconds(choice());
    }

    /// As {@link #predictedSeconds()}, at another point.
    public double predictedSeconds(Point point) {
        return tokens / point.tokensPerPass() * point.msPerPass() / 1000;
    }

    /// How many times faster than one row per pass the chosen window is expected to be.
    public double predictedSpeedup() {
        return predictedSpeedup(choice());
    }

    /// As {@link #predictedSpeedup()}, at another point.
    public double predictedSpeedup(Point point) {
        return point.tokensPerMilli() / oneRow().tokensPerMilli();
    }

    /// Why this window, in one sentence.
    public String reason() {
        if (window > 1) {
            return String.format(
                    Locale.ROOT,
                    "a pass of %d rows takes %.2f times as long as one of 1 row and is expected to make %.1f tokens final",
                    window,
                    choice().msPerPass() / oneRow().msPerPass(),
                    choice().tokensPerPass());
        }
        @Nullable
        Point other = points.stream()
                .filter(point -> point.window() > 1)
                .max(Comparator.comparingDouble(Point::tokensPerMilli))
                .orElse(null);
        if (other == null) {
            return "one row per pass is all that " + decoder + " takes";
        }
        return String.format(
                Locale.ROOT,
                "plain autoregression, because rows are not cheap here: a pass of %d rows takes %.2f times as long as one"
                        + " of 1 row and is expected to make %.1f tokens final, which would be %.2f times as fast",
                other.window(),
                other.msPerPass() / oneRow().msPerPass(),
                other.tokensPerPass(),
                predictedSpeedup(other));
    }

    /// In the words of JSON output.
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("decoder", decoder);
        json.put("guided", guided);
        json.put("images", images);
        json.put("tokens", tokens);
        json.put("window", window);
        json.put("predicted_seconds", rounded(predictedSeconds()));
        json.put("predicted_speedup", rounded(predictedSpeedup()));
        json.put("reason", reason());
        json.put("source", origin.name().toLowerCase(Locale.ROOT));
        json.put("measured_at", measuredAt.toString());
        json.put("cache", file.toString());
        json.put("tokens_per_pass_recorded", recorded);
        json.put(
                "points",
                points.stream()
                        .map(point -> {
                            Map<String, Object> entry = new LinkedHashMap<>();
                            entry.put("window", point.window());
                            entry.put("ms_per_pass", rounded(point.msPerPass()));
                            entry.put("tokens_per_pass", rounded(point.tokensPerPass()));
                            entry.put("predicted_seconds", rounded(predictedSeconds(point)));
                            entry.put("predicted_speedup", rounded(predictedSpeedup(point)));
                            return entry;
                        })
                        .toList());
        return json;
    }

    private static double rounded(double value) {
        return Math.round(value * 1e6) / 1e6;
    }
}
