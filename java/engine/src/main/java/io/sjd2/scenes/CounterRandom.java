package io.sjd2.scenes;

/// Draws that depend on nothing but a key and their own number, so that scene 7 is the same whether or not scenes 0 to
/// 6 were made. Not thread-safe; make one per scene.
final class CounterRandom {
    /// The golden ratio in 64 bits: odd, so that multiples of it run through every value.
    private static final long STEP = 0x9E3779B97F4A7C15L;

    private final long key;
    private long drawn;

    CounterRandom(long seed, long index, long attempt) {
        key = mix(mix(mix(seed + STEP) ^ index * 0xD1342543DE82EF95L) + attempt * 0xA24BAED4963EE407L);
    }

    /// A bijection of 64 bits in which every input bit reaches every output bit.
    static long mix(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    long nextLong() {
        drawn++;
        return mix(key + drawn * STEP);
    }

    /// Uniform in [0, bound); the bias, below bound / 2^32, does not matter for pictures.
    int nextInt(int bound) {
        return (int) (((nextLong() >>> 32) * bound) >>> 32);
    }

    boolean chance(int percent) {
        return nextInt(100) < percent;
    }

    <T> T pick(T[] values) {
        return values[nextInt(values.length)];
    }
}
