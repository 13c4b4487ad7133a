package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.DraftKind;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.model.ForwardPass;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// Everything that a decode allocates, and the phases of an iteration over it. Another decode of the same extents may
/// {@link #restart} it, and with it what the backend recorded of an iteration.
///
/// Owns its memory; {@link #close} waits for the backend first. Confined to the backend's thread.
final class DecodeSession implements AutoCloseable {
    private final ForwardPass forward;
    private final Backend backend;
    private final Arena arena;
    private final DecodeExtents extents;
    private final DraftEmbeddings embeddings;
    private final StateBlock state;
    private final WindowState slots;
    private final Tensor input;
    private final Tensor logits;
    private final Backend.Recurring iteration;
    private final DecodeEvents.Forward forwardEvent = new DecodeEvents.Forward();
    private final DecodeEvents.Verify verifyEvent = new DecodeEvents.Verify();
    private DecodeRequest request;
    private @Nullable WindowRecorder recorder;
    private boolean watched;
    private @Nullable MemorySegment levelCopy;
    private int iterations;
    private long startedAt;
    private long preparedAt;
    private long forwardAt;
    private long predictedAt;
    private long finishedAt;

    /// Sets up a decode that has committed nothing.
    ///
    /// @throws IllegalArgumentException if the options need what the model cannot do, or a forced token is a sampled
    /// code
    DecodeSession(ForwardPass forward, DecodeRequest request, DecodeOptions options) {
        this.forward = forward;
        this.backend = forward.backend();
        this.request = request;
        this.extents = DecodeExtents.of(request, options);
        int window = extents.window();
        int images = extents.images();
        int codes = forward.codes();
        checkForced(request.forced(), codes);
        this.embeddings = forward.embeddings(extents.levels());
        // Whoever is given a session that was kept may be another thread.
        this.arena = Arena.ofShared();
        try {
            this.state = new StateBlock(backend, arena, extents.batch(), images, window);
            this.slots = WindowState.allocate(
                    backend,
                    arena,
                    images,
                    window,
                    extents.length(),
                    codes,
                    forward.hiddenSize(),
                    extents.levels() > 0,
                    extents.forced());
            this.input = backend.allocate(arena, DType.F32, images, window, forward.hiddenSize());
            this.logits = backend.allocate(arena, DType.F32, extents.batch(), window, codes);
            start(options);
            this.iteration = backend.recurring(this::enqueue);
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    /// Sets up another decode, which ends as one in a new session would.
    ///
    /// @throws IllegalArgumentException if a forced token is a sampled code
    void restart(DecodeRequest next, DecodeOptions options) {
        if (!DecodeExtents.of(next, options).equals(extents)) {
            throw new IllegalArgumentException("restart: " + DecodeExtents.of(next, options) + ", expected " + extents);
        }
        checkForced(next.forced(), forward.codes());
        request = next;
        iterations = 0;
        watched = false;
        state.clear();
        slots.clear(backend);
        start(options);
    }

    DecodeExtents extents() {
        return extents;
    }

    private void start(DecodeOptions options) {
        uploadForced(slots.forced(), request.forced());
        for (int image = 0; image < extents.images(); image++) {
            start(image, options);
        }
        state.push();
    }

    /// Bytes of the backend's memory that a session takes, but for a few that do not grow with the window.
    static long bytes(long images, long batch, long window, long length, long codes, long hidden, boolean noise) {
        long rows = images * window;
        long floats = rows * (2 * codes + (noise ? 2 : 1) * hidden) + batch * window * codes;
        return floats * Float.BYTES + images * length * Integer.BYTES;
    }

    private static void checkForced(int @Nullable [] forced, int codes) {
        for (int position = 0; forced != null && position < forced.length; position++) {
            if (forced[position] != -1 && forced[position] < codes) {
                throw new IllegalArgumentException("forced[" + position + "] is " + forced[position]
                        + ", expected -1 or a local id from " + codes + " on: lower ids are sampled codes");
            }
        }
    }

    private void uploadForced(@Nullable Tensor target, int @Nullable [] forced) {
        if (target != null && forced != null) {
            backend.upload(target, MemorySegment.ofArray(forced));
        }
    }

    private void start(int image, DecodeOptions options) {
        DecodeRequest.Image wanted = request.images().get(image);
        SamplingOptions sampling = options.sampling();
        state.set(image, ImageField.SEED_LOW, (int) wanted.seed());
        state.set(image, ImageField.SEED_HIGH, (int) (wanted.seed() >>> 32));
        state.set(image, ImageField.INDEX, wanted.index());
        state.set(image, ImageField.LENGTH, request.length());
        state.set(image, ImageField.WINDOW, extents.window());
        state.set(image, ImageField.LEVELS, extents.levels());
        state.set(image, ImageField.RESTART, options.effectiveRestart());
        state.set(image, ImageField.DECODER, options.decoder().kind().ordinal());
        state.set(image, ImageField.SAMPLER, sampling.sampler().ordinal());
        state.set(image, ImageField.TOP_K, sampling.topK());
        state.setFloat(image, ImageField.TOP_P, sampling.topP());
        state.setFloat(image, ImageField.TEMPERATURE, sampling.temperature());
        state.setFloat(image, ImageField.GUIDANCE, sampling.guidance());
        state.set(image, ImageField.COND, wanted.cond());
        state.set(image, ImageField.UNCOND, wanted.uncond());
        place(image, 0);
    }

    /// Sets how many positions of an image are final and where its sequences stand; needs a {@link StateBlock#push}.
    private void place(int image, int committed) {
        DecodeRequest.Image wanted = request.images().get(image);
        state.set(image, ImageField.COMMITTED, committed);
        int rows = Math.min(state.maxWindow(), request.length() - committed);
        placeSequence(wanted.cond(), image, committed, rows);
        if (wanted.uncond() >= 0) {
            placeSequence(wanted.uncond(), image, committed, rows);
        }
    }

    private void placeSequence(int sequence, int image, int committed, int rows) {
        int entries = forward.promptLength(sequence) + committed;
        state.set(sequence, SequenceField.KV_LEN, entries);
        state.set(sequence, SequenceField.POSITION, forward.promptPosition(sequence) + committed);
        state.set(sequence, SequenceField.ROWS, rows);
        state.set(sequence, SequenceField.IMAGE, image);
    }

    /// Moves every image to `committed` positions, whatever they hold, and forgets failures: for timing passes, where
    /// the values do not matter.
    void moveTo(int committed) {
        for (int image = 0; image < state.images(); image++) {
            state.set(image, ImageField.STATUS, 0);
            place(image, committed);
        }
        state.push();
    }

    /// Copies every window from now on, before verification and after.
    WindowView watchWindows() {
        if (recorder == null) {
            recorder = new WindowRecorder(backend, arena, state, slots);
        }
        watched = true;
        return recorder;
    }

    /// One iteration, and the wait for the device.
    void iterate() {
        iterations++;
        startedAt = System.nanoTime();
        preparedAt = startedAt;
        forwardAt = startedAt;
        predictedAt = 0;
        if (!watched) {
            iteration.run();
        } else {
            // A recording cannot copy to the host between two operations.
            enqueue();
        }
        state.pull();
        finishedAt = System.nanoTime();
        if (predictedAt == 0) {
            predictedAt = finishedAt;
        } else {
            noteVerified();
        }
        if (watched && recorder != null) {
            recorder.noteOutcome();
        }
    }

    private void noteVerified() {
        verifyEvent.end();
        if (verifyEvent.shouldCommit()) {
            verifyEvent.iteration = iterations;
            verifyEvent.accepted = 0;
            for (int image = 0; image < state.images(); image++) {
                verifyEvent.accepted += state.get(image, ImageField.ACCEPTED);
            }
            verifyEvent.commit();
        }
    }

    /// How many slots the next pass will read at each noise level, from 0 on, with commas between.
    String slotsByLevel() {
        if (levelCopy == null) {
            levelCopy = arena.allocate(slots.drafts().bytes(), Integer.BYTES);
        }
        backend.download(levelCopy, slots.drafts());
        int[] count = new int[1];
        for (int image = 0; image < state.images(); image++) {
            int first = state.get(image, ImageField.COMMITTED);
            int rows = Math.min(state.maxWindow(), request.length() - first);
            for (int row = 0; row < rows; row++) {
                int level = levelOfNextPass(levelCopy, image, first + row);
                count = level < count.length ? count : Arrays.copyOf(count, level + 1);
                count[level]++;
            }
        }
        return Arrays.stream(count).mapToObj(Integer::toString).collect(Collectors.joining(","));
    }

    /// A slot without a draft starts with all its noise, unless its token is structural.
    private int levelOfNextPass(MemorySegment drafts, int image, int position) {
        long slot = ((long) image * state.maxWindow() + position % state.maxWindow()) * WindowState.DRAFT_INTS;
        if (drafts.getAtIndex(ValueLayout.JAVA_INT, slot + 1) != DraftKind.NONE.ordinal()) {
            return drafts.getAtIndex(ValueLayout.JAVA_INT, slot + 2);
        }
        boolean structural = request.forced() != null && request.forced()[position] >= 0;
        return structural ? 0 : state.get(image, ImageField.LEVELS);
    }

    /// Drafts become inputs, the model predicts, targets are verified. Enqueues the same operations on the same memory
    /// every time; what differs is in the state block.
    private void enqueue() {
        backend.kernels().windowInput(input, slots, embeddings, state);
        preparedAt = System.nanoTime();
        if (watched && recorder != null) {
            recorder.noteDrafts();
        }
        forwardAt = System.nanoTime();
        forwardEvent.begin();
        forward.run(input, logits, slots, state);
        forwardEvent.end();
        predictedAt = System.nanoTime();
        noteForward();
        verifyEvent.begin();
        backend.kernels().targetProbs(slots, logits, state);
        backend.kernels().verify(slots, state);
    }

    private void noteForward() {
        if (forwardEvent.shouldCommit()) {
            forwardEvent.iteration = iterations;
            forwardEvent.window = state.maxWindow();
            forwardEvent.commit();
        }
    }

    /// Of the last iteration, spent on the window's input; 0 where the device replays the iteration as one.
    long windowInputNanos() {
        return preparedAt - startedAt;
    }

    /// Of the last iteration, spent on the model; all of it where the device replays the iteration as one.
    long forwardNanos() {
        return predictedAt - forwardAt;
    }

    /// Of the last iteration, spent on targets, verification and the wait for the device.
    long verifyNanos() {
        return finishedAt - predictedAt;
    }

    StateBlock state() {
        return state;
    }

    /// Committed tokens, `[images][length]`.
    int[][] tokens() {
        int images = state.images();
        int length = request.length();
        int[] all = new int[images * length];
        backend.download(MemorySegment.ofArray(all), slots.tokens());
        int[][] tokens = new int[images][];
        for (int image = 0; image < images; image++) {
            tokens[image] = Arrays.copyOfRange(all, image * length, (image + 1) * length);
        }
        return tokens;
    }

    @Override
    public void close() {
        try {
            // Memory must not go while a kernel is still running.
            backend.synchronize();
            iteration.close();
        } finally {
            arena.close();
        }
    }
}
