package io.sjd2.benchmarks;

import io.sjd2.tensor.BFloat16;
import io.sjd2.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Numbers that depend on a tensor's number and an element's index alone, so that whoever asks for the same tensor
/// gets the same numbers: our backends, the reference and other engines.
public final class Numbers {
    private Numbers() {}

    /// Element `index` of tensor number `tensor`, evenly spread over `[-1, 1)`.
    public static double at(int tensor, long index) {
        return (mix(tensor * 0x9E3779B97F4A7C15L + index) >> 11) * 0x1p-52;
    }

    /// Element `index` of tensor number `tensor`, evenly spread over `[0, bound)`.
    static int below(int bound, int tensor, long index) {
        return (int) Long.remainderUnsigned(mix(tensor * 0x9E3779B97F4A7C15L + index), bound);
    }

    /// Fills memory with the first numbers of a tensor.
    ///
    /// @param bytes     as many elements of `type` as there are to be; at least
    /// @param type      f32 or bf16
    /// @param tensor    its number, from 1
    /// @param scale     numbers are evenly spread over `[-scale, scale)`
    /// @param elements  how many
    public static void fill(MemorySegment bytes, DType type, int tensor, double scale, long elements) {
        for (long i = 0; i < elements; i++) {
            float value = (float) (scale * at(tensor, i));
            if (type == DType.F32) {
                bytes.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
            } else {
                bytes.setAtIndex(ValueLayout.JAVA_SHORT, i, BFloat16.fromFloat(value));
            }
        }
    }

    private static long mix(long z) {
        long a = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        long b = (a ^ (a >>> 27)) * 0x94D049BB133111EBL;
        return b ^ (b >>> 31);
    }
}
