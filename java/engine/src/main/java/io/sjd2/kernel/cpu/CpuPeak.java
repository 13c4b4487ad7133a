package io.sjd2.kernel.cpu;

/// What {@link CpuBackend#measurePeak} can measure; `sjd2_peak` of `include/sjd2/cpu.h`, in order.
public enum CpuPeak {
    /// Bytes read per second, from memory that no cache holds.
    READ,
    /// Bytes read and written per second by a copy.
    COPY,
    /// Floating-point operations per second of f32 multiply-adds.
    F32,
    /// Floating-point operations per second of bf16 products with f32 sums.
    BF16
}
