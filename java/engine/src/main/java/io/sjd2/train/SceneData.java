package io.sjd2.train;

import io.sjd2.scenes.Scene;
import io.sjd2.scenes.SceneGenerator;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.vq.ImageTokenizer;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.LockSupport;

/// The built-in scenes, made when first asked for and kept as tokens.
///
/// Threads started by {@link #makeAhead} fill the store in the background; what they have not reached yet is made by
/// whoever asks, so the data do not depend on them.
public final class SceneData implements TrainingData, AutoCloseable {
    /// Scenes that the background threads keep ready beyond the furthest one asked for; more would only take cores
    /// away.
    private static final int AHEAD = 2048;

    private static final long NAP_NANOS = 20_000_000;

    private final SceneGenerator generator;
    private final ImageTokenizer images;
    private final Tokenizer text;
    private final AtomicReferenceArray<short[]> store;
    private final AtomicLong wanted = new AtomicLong();
    private volatile boolean closed;

    /// @param seed  of the scenes
    /// @param count different scenes; codes and token ids must be below 65,536
    public SceneData(long seed, SceneGenerator.Split split, int count, ImageTokenizer images, Tokenizer text) {
        this(new SceneGenerator(seed, split), count, images, text);
    }

    /// @param count different scenes; codes and token ids must be below 65,536
    public SceneData(SceneGenerator generator, int count, ImageTokenizer images, Tokenizer text) {
        this.generator = generator;
        this.images = images;
        this.text = text;
        this.store = new AtomicReferenceArray<>(count);
    }

    @Override
    public long size() {
        return store.length();
    }

    @Override
    public Example example(long index) {
        wanted.accumulateAndGet(index, Math::max);
        short[] packed = packed(Math.toIntExact(index));
        int codes = images.gridHeight() * images.gridWidth();
        int[] caption = new int[packed.length - codes];
        int[] picture = new int[codes];
        for (int i = 0; i < caption.length; i++) {
            caption[i] = packed[i] & 0xffff;
        }
        for (int i = 0; i < codes; i++) {
            picture[i] = packed[caption.length + i] & 0xffff;
        }
        return new Example(caption, picture);
    }

    private short[] packed(int index) {
        short[] known = store.get(index);
        if (known != null) {
            return known;
        }
        Scene scene = generator.scene(index);
        int[] caption = text.encode(scene.caption(), false);
        int[] codes = images.encode(scene.image());
        short[] made = new short[caption.length + codes.length];
        for (int i = 0; i < caption.length; i++) {
            made[i] = (short) caption[i];
        }
        for (int i = 0; i < codes.length; i++) {
            made[caption.length + i] = (short) codes[i];
        }
        store.set(index, made);
        return made;
    }

    /// Starts threads of low priority that make scenes in order, a little ahead of those asked for.
    public void makeAhead(int threads) {
        for (int t = 0; t < threads; t++) {
            int first = t;
            Thread.ofPlatform()
                    .name("scenes-" + t)
                    .daemon()
                    .priority(Thread.MIN_PRIORITY)
                    .start(() -> {
                        for (int i = first; i < store.length() && !closed; i += threads) {
                            while (i > wanted.get() + AHEAD && !closed) {
                                LockSupport.parkNanos(NAP_NANOS);
                            }
                            packed(i);
                        }
                    });
        }
    }

    /// Stops the background threads.
    @Override
    public void close() {
        closed = true;
    }
}
