package io.sjd2.train;

/// Random numbers that are a function of (seed, step, index, purpose): nothing is carried from one use to the next.
final class CounterRandom {
    private static final long GOLDEN = 0x9E3779B97F4A7C15L;

    private final long key;
    private long counter;

    CounterRandom(long seed, long step, long index, int purpose) {
        this.key = mix(mix(mix(mix(seed) + step * GOLDEN) + index * GOLDEN) + purpose * GOLDEN);
    }

    /// A bijection that spreads every bit over all others.
    private static long mix(long z) {
        long x = z + GOLDEN;
        x = (x ^ (x >>> 30)) * 0xBF58476D1CE4E5B9L;
        x = (x ^ (x >>> 27)) * 0x94D049BB133111EBL;
        return x ^ (x >>> 31);
    }

    long next() {
        return mix(key + GOLDEN * counter++);
    }

    /// Uniform in [0, 1).
    double uniform() {
        return (next() >>> 11) * 0x1p-53;
    }

    /// Uniform in [low, high], both included.
    int between(int low, int high) {
        return low + (int) ((high - low + 1) * uniform());
    }

    double normal() {
        double radius = Math.sqrt(-2 * Math.log(1 - uniform()));
        return radius * Math.cos(2 * Math.PI * uniform());
    }
}
