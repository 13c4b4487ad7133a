package io.sjd2.benchmarks;

import io.sjd2.kernel.cpu.CpuPeak;
import io.sjd2.tensor.DType;

/// What one call of a benchmark must move and compute, however it is done.
///
/// @param bytes   that have to be read or written at least once
/// @param flop    floating-point operations; a multiply-add is two
/// @param dtype   whose products they are: f32 or bf16
/// @param cached  whether a cache holds the bytes from call to call, so that memory is no limit
/// @param rows    rows per sequence of the pass
record Cost(double bytes, double flop, DType dtype, boolean cached, int rows) {
    /// Bytes that a cache surely does not keep from call to call; smaller working sets are taken to stay in it.
    private static final double CACHED_BELOW = 24e6;

    /// Of a call whose working set is its bytes.
    static Cost of(double bytes, double flop, DType dtype, int rows) {
        return new Cost(bytes, flop, dtype, fitsCache(bytes), rows);
    }

    /// Whether so many bytes are taken to stay in a cache from call to call.
    static boolean fitsCache(double bytes) {
        return bytes < CACHED_BELOW;
    }

    /// Of a call that finds its weights in memory, not in a cache.
    static Cost streaming(double bytes, double flop, DType dtype, int rows) {
        return new Cost(bytes, flop, dtype, false, rows);
    }

    /// The least time that it can take where a peak is all that bounds it.
    ///
    /// @param peak  bytes, or operations, per second
    double seconds(CpuPeak kind, double peak) {
        return (kind == CpuPeak.READ || kind == CpuPeak.COPY ? bytes : flop) / peak;
    }
}
