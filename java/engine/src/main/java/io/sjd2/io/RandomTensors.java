package io.sjd2.io;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.stream.LongStream;

/// Makes up tensors in BF16 from a seed and their names. What a tensor holds depends on nothing else: not on the order
/// in which tensors are made, nor on the number of threads.
///
/// Numbers are uniform, with the variance that keeps what passes through a layer at the size it had. They carry no
/// meaning, so a generator of a few instructions per number will do (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014: the finaliser of SplitMix64 over a counter).
public final class RandomTensors {
    private static final long GOLDEN = 0x9e3779b97f4a7c15L;
    private static final long CHUNK = 1 << 20;
    private static final int LANES = 4;
    private static final double UNIFORM_TO_UNIT = Math.sqrt(3);
    private static final short ONE = 0x3f80;

    private final long seed;

    public RandomTensors(long seed) {
        this.seed = seed;
    }

    /// A matrix, or the kernel of a convolution: elements have a variance of one over the inputs of an output.
    ///
    /// @param arena  owns the bytes
    /// @param shape  `[out, in, ...]`
    public TensorEntry matrix(String name, Arena arena, long... shape) {
        long in = Arrays.stream(shape).skip(1).reduce(1, (a, b) -> a * b);
        return uniform(name, arena, UNIFORM_TO_UNIT / Math.sqrt(in), shape);
    }

    /// A table of embeddings: elements have a variance of 1.
    public TensorEntry table(String name, Arena arena, long... shape) {
        return uniform(name, arena, UNIFORM_TO_UNIT, shape);
    }

    /// What norms multiply by: ones.
    public TensorEntry ones(String name, Arena arena, long... shape) {
        MemorySegment data = allocate(arena, shape);
        for (long at = 0; at < data.byteSize(); at += Short.BYTES) {
            data.set(ValueLayout.JAVA_SHORT, at, ONE);
        }
        return new TensorEntry(name, "BF16", shape, data);
    }

    /// What is added: zeros.
    public TensorEntry zeros(String name, Arena arena, long... shape) {
        return new TensorEntry(name, "BF16", shape, allocate(arena, shape));
    }

    /// `count` numbers of a variance of 1.
    public float[] floats(String name, int count) {
        try (Arena arena = Arena.ofShared()) {
            return table(name, arena, count).toFloats();
        }
    }

    private static MemorySegment allocate(Arena arena, long... shape) {
        return arena.allocate(Short.BYTES * elements(shape), 64);
    }

    private static long elements(long... shape) {
        return Arrays.stream(shape).reduce(1, Math::multiplyExact);
    }

    private TensorEntry uniform(String name, Arena arena, double most, long... shape) {
        long count = elements(shape);
        MemorySegment data = allocate(arena, shape);
        long key = key(name);
        // From 16 random bits, read as a signed number, to [-most, most).
        float scale = (float) (most / 32768);
        LongStream.range(0, (count + CHUNK - 1) / CHUNK)
                .parallel()
                .forEach(chunk -> fill(data, key, scale, chunk * CHUNK, Math.min(count, (chunk + 1) * CHUNK)));
        return new TensorEntry(name, "BF16", shape, data);
    }

    private static void fill(MemorySegment data, long key, float scale, long from, long to) {
        long block = from / LANES;
        long i = from;
        for (; i + LANES <= to; i += LANES) {
            long bits = mix(key + ++block * GOLDEN);
            long packed = lane(bits, scale)
                    | lane(bits >> 16, scale) << 16
                    | lane(bits >> 32, scale) << 32
                    | lane(bits >> 48, scale) << 48;
            data.set(ValueLayout.JAVA_LONG_UNALIGNED, i * Short.BYTES, packed);
        }
        for (long bits = mix(key + ++block * GOLDEN); i < to; i++, bits >>= 16) {
            data.set(ValueLayout.JAVA_SHORT, i * Short.BYTES, (short) lane(bits, scale));
        }
    }

    /// Sixteen bits as a bfloat16, rounded to nearest even.
    private static long lane(long bits, float scale) {
        int f = Float.floatToRawIntBits((short) bits * scale);
        return (f + 0x7fff + (f >>> 16 & 1)) >>> 16 & 0xffff;
    }

    private long key(String name) {
        long key = mix(seed + GOLDEN);
        for (int i = 0; i < name.length(); i++) {
            key = mix(key + name.charAt(i) + GOLDEN);
        }
        return key;
    }

    private static long mix(long value) {
        long z = value;
        z = (z ^ z >>> 30) * 0xbf58476d1ce4e5b9L;
        z = (z ^ z >>> 27) * 0x94d049bb133111ebL;
        return z ^ z >>> 31;
    }
}
