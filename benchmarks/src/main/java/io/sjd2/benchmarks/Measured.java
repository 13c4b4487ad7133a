package io.sjd2.benchmarks;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.kernel.cpu.CpuPeak;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// One benchmark at one set of parameters, held against the machine's roofs and, where there is one, a peer.
///
/// @param benchmark      what was measured, without the ending `Benchmark`
/// @param parameters     all of them but dtype and rows
/// @param dtype          of the products
/// @param rows           rows per sequence of a pass; 0 where that has no meaning
/// @param medianMicros   median time of a call
/// @param samples        calls that were timed
/// @param allocated      bytes that a call allocates on the Java heap, by JMH's allocation profiler
/// @param gbPerSecond    bytes that had to be moved over the median, in 10^9; null where it says nothing, as the
///     next three
/// @param gflopPerSecond operations over the median, in 10^9
/// @param rooflineShare  least possible time on this machine over the median
/// @param roof           `memory` or `arithmetic`: what bounds the least possible time
/// @param peakPerSecond  that bound, in bytes or operations, as it was measured right before and after
/// @param peer           whom it is compared with, or null
/// @param peerMicros     the peer's median time, or null
record Measured(
        String benchmark,
        Map<String, String> parameters,
        String dtype,
        int rows,
        double medianMicros,
        long samples,
        double allocated,
        @Nullable Double gbPerSecond,
        @Nullable Double gflopPerSecond,
        @Nullable Double rooflineShare,
        @Nullable String roof,
        @Nullable Double peakPerSecond,
        @Nullable String peer,
        @Nullable Double peerMicros) {

    /// A peak, and what it was beside the benchmark.
    ///
    /// @param perSecond  bytes or operations
    record Bound(CpuPeak kind, double perSecond) {
        /// The one of several under which a cost takes longest.
        static Bound tightest(Cost cost, Map<CpuPeak, Double> roofs) {
            return roofs.entrySet().stream()
                    .max(Comparator.comparingDouble(roof -> cost.seconds(roof.getKey(), roof.getValue())))
                    .map(roof -> new Bound(roof.getKey(), roof.getValue()))
                    .orElseThrow();
        }
    }

    /// @param bound  what bounds the cost, null where that says nothing
    static Measured of(
            String benchmark,
            Map<String, String> parameters,
            double medianMicros,
            long samples,
            double allocated,
            @Nullable Cost cost,
            @Nullable Bound bound) {
        Map<String, String> others = new TreeMap<>(parameters);
        String dtype = others.remove("dtype");
        String rows = others.remove("rows");
        double seconds = medianMicros * 1e-6;
        return new Measured(
                benchmark,
                others,
                dtype == null ? "f32" : dtype,
                rows == null ? 0 : Integer.parseInt(rows),
                medianMicros,
                samples,
                allocated,
                cost == null ? null : cost.bytes() / seconds * 1e-9,
                cost == null ? null : cost.flop() / seconds * 1e-9,
                cost == null || bound == null ? null : cost.seconds(bound.kind(), bound.perSecond()) / seconds,
                bound == null ? null : bound.kind() == CpuPeak.READ ? "memory" : "arithmetic",
                bound == null ? null : bound.perSecond(),
                null,
                null);
    }

    Measured against(String name, double micros) {
        return new Measured(
                benchmark,
                parameters,
                dtype,
                rows,
                medianMicros,
                samples,
                allocated,
                gbPerSecond,
                gflopPerSecond,
                rooflineShare,
                roof,
                peakPerSecond,
                name,
                micros);
    }

    /// The peer's time over ours: above 1, ours is faster. Null without a peer.
    @Nullable
    Double ratio() {
        return peerMicros == null ? null : peerMicros / medianMicros;
    }

    Map<String, @Nullable Object> toJson() {
        Map<String, @Nullable Object> json = new LinkedHashMap<>();
        json.put("benchmark", benchmark);
        json.put("parameters", parameters);
        json.put("dtype", dtype);
        json.put("rows", rows);
        json.put("median_us", medianMicros);
        json.put("samples", samples);
        json.put("allocated_bytes", allocated);
        json.put("gb_per_s", gbPerSecond);
        json.put("gflop_per_s", gflopPerSecond);
        json.put("roofline_share", rooflineShare);
        json.put("roof", roof);
        json.put("peak_per_s", peakPerSecond);
        json.put("peer", peer);
        json.put("peer_median_us", peerMicros);
        json.put("ratio", ratio());
        return json;
    }

    static Measured fromJson(Json json) throws ModelFormatException {
        Map<String, String> parameters = new TreeMap<>();
        for (String key : json.get("parameters").keys()) {
            parameters.put(key, json.get("parameters").get(key).string());
        }
        return new Measured(
                json.get("benchmark").string(),
                parameters,
                json.get("dtype").string(),
                json.get("rows").int32(),
                json.get("median_us").number(),
                json.get("samples").int64(),
                json.get("allocated_bytes").number(),
                number(json, "gb_per_s"),
                number(json, "gflop_per_s"),
                number(json, "roofline_share"),
                json.has("roof") ? json.get("roof").string() : null,
                number(json, "peak_per_s"),
                json.has("peer") ? json.get("peer").string() : null,
                number(json, "peer_median_us"));
    }

    private static @Nullable Double number(Json json, String key) throws ModelFormatException {
        return json.has(key) ? json.get(key).number() : null;
    }
}
