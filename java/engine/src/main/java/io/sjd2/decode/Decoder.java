package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.Kernels;
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
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// The decode loop, one for all decoders: window input, forward pass, targets, verification, until every picture is done.
///
/// Pictures of a batch advance independently: each commits what it accepted and drops out when it is finished.
/// An iteration allocates nothing and waits for the device once. Confined to the forward pass's thread.
/// Source: `docs/decoding.md`, "The loop".
public final class Decoder {
    private final ForwardPass forward;
    private final Backend backend;

    public Decoder(ForwardPass forward) {
        this.forward = forward;
        this.backend = forward.backend();
    }

    /// Decodes all pictures of a request.
    ///
    /// @param request   the forward pass must hold its sequences' prompts
    /// @param listener  called after every iteration
    /// @throws IllegalArgumentException  if the options need what the model cannot do, or a forced token is a sampled code
    /// @throws UnusableLogitsException   if a pass yields NaN, naming picture and iteration
    /// @throws CancellationException     if the listener asks for it; nothing of the decode remains
    public DecodeResult decode(DecodeRequest request, DecodeOptions options, DecodeListener listener) {
        checkForced(request);
        int window = options.effectiveWindow(request.length());
        int levels = options.effectiveLevels();
        DraftEmbeddings embeddings = forward.embeddings(levels);
        int images = request.images().size();
        int codes = forward.codes();
        int hidden = forward.hiddenSize();
        try (Arena arena = Arena.ofConfined()) {
            StateBlock state = new StateBlock(backend, arena, request.batch(), images, window);
            WindowState slots = WindowState.allocate(
                    backend, arena, images, window, request.length(), codes, hidden, levels > 0, request.forced() != null);
            Tensor input = backend.allocate(arena, DType.F32, images, window, hidden);
            Tensor logits = backend.allocate(arena, DType.F32, request.batch(), window, codes);
            uploadForced(arena, slots.forced(), request.forced());
            start(state, request, options, window, levels);
            try {
                Run run = new Run(state, request.length());
                run.loop(slots, embeddings, input, logits, listener);
                return run.result(slots, arena, window, levels);
            } finally {
                // The arena must not close under a kernel that is still running.
                backend.synchronize();
            }
        }
    }

    private void checkForced(DecodeRequest request) {
        int @Nullable [] forced = request.forced();
        for (int position = 0; forced != null && position < forced.length; position++) {
            if (forced[position] != -1 && forced[position] < forward.codes()) {
                throw new IllegalArgumentException("forced[" + position + "] is " + forced[position]
                        + ", expected -1 or a local id from " + forward.codes() + " on: lower ids are sampled codes");
            }
        }
    }

    private void uploadForced(Arena arena, @Nullable Tensor target, int @Nullable [] forced) {
        if (target != null && forced != null) {
            backend.upload(target, arena.allocateFrom(ValueLayout.JAVA_INT, forced));
        }
    }

    private void start(StateBlock state, DecodeRequest request, DecodeOptions options, int window, int levels) {
        SamplingOptions sampling = options.sampling();
        for (int i = 0; i < request.images().size(); i++) {
            DecodeRequest.Image image = request.images().get(i);
            state.set(i, ImageField.SEED_LOW, (int) image.seed());
            state.set(i, ImageField.SEED_HIGH, (int) (image.seed() >>> 32));
            state.set(i, ImageField.INDEX, image.index());
            state.set(i, ImageField.LENGTH, request.length());
            state.set(i, ImageField.WINDOW, window);
            state.set(i, ImageField.LEVELS, levels);
            state.set(i, ImageField.DECODER, options.decoder().kind().ordinal());
            state.set(i, ImageField.SAMPLER, sampling.sampler().ordinal());
            state.set(i, ImageField.TOP_K, sampling.topK());
            state.setFloat(i, ImageField.TOP_P, sampling.topP());
            state.setFloat(i, ImageField.TEMPERATURE, sampling.temperature());
            state.setFloat(i, ImageField.GUIDANCE, sampling.guidance());
            state.set(i, ImageField.COND, image.cond());
            state.set(i, ImageField.UNCOND, image.uncond());
            startSequence(state, image.cond(), i, window);
            if (image.uncond() >= 0) {
                startSequence(state, image.uncond(), i, window);
            }
        }
        state.push();
    }

    private void startSequence(StateBlock state, int sequence, int image, int rows) {
        state.set(sequence, SequenceField.KV_LEN, forward.promptLength(sequence));
        state.set(sequence, SequenceField.POSITION, forward.promptLength(sequence));
        state.set(sequence, SequenceField.ROWS, rows);
        state.set(sequence, SequenceField.IMAGE, image);
    }

    /// The loop and its counters: everything that an iteration touches exists before the first one.
    private final class Run implements DecodeListener.Progress {
        private final StateBlock state;
        private final int length;
        private final long[] acceptedHistogram;
        private int iteration;
        private long windowInputNanos;
        private long forwardNanos;
        private long verifyNanos;

        Run(StateBlock state, int length) {
            this.state = state;
            this.length = length;
            this.acceptedHistogram = new long[state.maxWindow() + 1];
        }

        void loop(
                WindowState slots,
                DraftEmbeddings embeddings,
                Tensor input,
                Tensor logits,
                DecodeListener listener) {
            Kernels kernels = backend.kernels();
            boolean unfinished = true;
            while (unfinished) {
                long start = System.nanoTime();
                kernels.windowInput(input, slots, embeddings, state);
                long prepared = System.nanoTime();
                forward.run(input, logits, slots, state);
                long predicted = System.nanoTime();
                kernels.targetProbs(slots, logits, state);
                kernels.verify(slots, state);
                state.pull();
                windowInputNanos += prepared - start;
                forwardNanos += predicted - prepared;
                verifyNanos += System.nanoTime() - predicted;
                iteration++;
                unfinished = readProgress();
                if (!listener.onIteration(this)) {
                    throw new CancellationException("decoding was cancelled after iteration " + iteration);
                }
            }
        }

        /// Counts what the iteration committed; true while a picture has positions left.
        private boolean readProgress() {
            boolean unfinished = false;
            for (int image = 0; image < state.images(); image++) {
                int committed = state.get(image, ImageField.COMMITTED);
                if (state.get(image, ImageField.STATUS) != 0) {
                    throw new UnusableLogitsException(image, iteration - 1, committed);
                }
                int accepted = state.get(image, ImageField.ACCEPTED);
                if (accepted > 0) {
                    acceptedHistogram[accepted]++;
                } else if (committed < length) {
                    throw new IllegalStateException("image " + image + ", iteration " + (iteration - 1)
                            + ": verification committed nothing, though every pass commits at least one position");
                }
                unfinished |= committed < length;
            }
            return unfinished;
        }

        DecodeResult result(WindowState slots, Arena arena, int window, int levels) {
            int images = state.images();
            MemorySegment host = arena.allocate(slots.tokens().bytes(), ValueLayout.JAVA_INT.byteAlignment());
            backend.download(host, slots.tokens());
            int[][] tokens = new int[images][length];
            for (int image = 0; image < images; image++) {
                MemorySegment.copy(
                        host, ValueLayout.JAVA_INT, (long) image * length * Integer.BYTES, tokens[image], 0, length);
            }
            List<DecodeResult.ImageStatistics> perImage =
                    IntStream.range(0, images).mapToObj(this::imageStatistics).toList();
            return new DecodeResult(
                    tokens,
                    new DecodeResult.Statistics(
                            window,
                            levels,
                            iteration,
                            windowInputNanos,
                            forwardNanos,
                            verifyNanos,
                            acceptedHistogram,
                            perImage));
        }

        private DecodeResult.ImageStatistics imageStatistics(int image) {
            int passes = state.get(image, ImageField.ITERATION);
            return new DecodeResult.ImageStatistics(
                    length,
                    passes,
                    state.get(image, ImageField.TESTED),
                    state.get(image, ImageField.KEPT),
                    state.get(image, ImageField.TAIL),
                    state.get(image, ImageField.TAIL_KEPT),
                    (double) state.get(image, ImageField.FRONT_LEVEL) / passes);
        }

        @Override
        public int iteration() {
            return iteration;
        }

        @Override
        public int images() {
            return state.images();
        }

        @Override
        public int length() {
            return length;
        }

        @Override
        public int committed(int image) {
            return state.get(image, ImageField.COMMITTED);
        }

        @Override
        public int accepted(int image) {
            return state.get(image, ImageField.ACCEPTED);
        }
    }
}
