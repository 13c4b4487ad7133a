package io.sjd2.decode;

import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.model.ForwardPass;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// The decode loop, one for all decoders: window input, forward pass, targets, verification, until every picture is
/// done.
///
/// Pictures of a batch advance independently: each commits what it accepted and drops out when it is finished.
/// An iteration allocates nothing and waits for the device once. Confined to the forward pass's thread.
/// Source: `docs/decoding.md`, "The loop".
public final class Decoder {
    private final ForwardPass forward;

    public Decoder(ForwardPass forward) {
        this.forward = forward;
    }

    /// Bytes of the backend's memory that decoding takes beside the forward pass.
    ///
    /// @param images  pictures side by side
    /// @param batch   sequences: one or two per picture
    /// @param length  positions of a picture
    /// @param noise   whether fresh positions start as noise
    public static long bytes(
            long images, long batch, int window, int length, int codes, int hiddenSize, boolean noise) {
        return DecodeSession.bytes(images, batch, window, length, codes, hiddenSize, noise);
    }

    /// Decodes all pictures of a request.
    ///
    /// @param request   the forward pass must hold its sequences' prompts
    /// @param listener  called after every iteration
    /// @throws IllegalArgumentException  if the options need what the model cannot do, or a forced token is a sampled
    /// code
    /// @throws UnusableLogitsException   if a pass yields NaN, naming picture and iteration
    /// @throws CancellationException     if the listener asks for it; nothing of the decode remains
    public DecodeResult decode(DecodeRequest request, DecodeOptions options, DecodeListener listener) {
        try (DecodeSession session = new DecodeSession(forward, request, options)) {
            return decode(session, request, options, listener);
        }
    }

    /// Decodes in a session that is set up for it.
    static DecodeResult decode(
            DecodeSession session, DecodeRequest request, DecodeOptions options, DecodeListener listener) {
        Run run = new Run(session, request.length());
        run.loop(listener);
        return new DecodeResult(session.tokens(), run.statistics(options));
    }

    /// The loop and its counters: everything that an iteration touches exists before the first one.
    private static final class Run implements DecodeListener.Progress {
        private final DecodeSession session;
        private final StateBlock state;
        private final int length;
        private final long[] acceptedHistogram;
        private final DecodeEvents.Iteration event = new DecodeEvents.Iteration();
        private @Nullable WindowView windows;
        private int iteration;
        private long windowInputNanos;
        private long forwardNanos;
        private long verifyNanos;

        Run(DecodeSession session, int length) {
            this.session = session;
            this.state = session.state();
            this.length = length;
            this.acceptedHistogram = new long[state.maxWindow() + 1];
        }

        void loop(DecodeListener listener) {
            if (listener.watchesWindows()) {
                windows = session.watchWindows();
            }
            boolean unfinished = true;
            while (unfinished) {
                if (event.isEnabled()) {
                    event.levels = session.slotsByLevel();
                }
                event.begin();
                session.iterate();
                event.end();
                windowInputNanos += session.windowInputNanos();
                forwardNanos += session.forwardNanos();
                verifyNanos += session.verifyNanos();
                iteration++;
                unfinished = readProgress();
                if (event.shouldCommit()) {
                    commitEvent();
                }
                if (!listener.onIteration(this)) {
                    throw new CancellationException("decoding was cancelled after iteration " + iteration);
                }
            }
        }

        private void commitEvent() {
            event.iteration = iteration;
            event.window = state.maxWindow();
            event.pictures = 0;
            event.accepted = 0;
            event.longestAccepted = 0;
            event.committed = 0;
            for (int image = 0; image < state.images(); image++) {
                int accepted = accepted(image);
                event.pictures += accepted > 0 ? 1 : 0;
                event.accepted += accepted;
                event.longestAccepted = Math.max(event.longestAccepted, accepted);
                event.committed += committed(image);
            }
            event.windowInput = session.windowInputNanos();
            event.forward = session.forwardNanos();
            event.verify = session.verifyNanos();
            event.commit();
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

        DecodeResult.Statistics statistics(DecodeOptions options) {
            return new DecodeResult.Statistics(
                    state.maxWindow(),
                    options.effectiveLevels(),
                    iteration,
                    windowInputNanos,
                    forwardNanos,
                    verifyNanos,
                    acceptedHistogram,
                    IntStream.range(0, state.images())
                            .mapToObj(this::imageStatistics)
                            .toList());
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
                    state.get(image, ImageField.RESTARTS),
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

        @Override
        public long windowInputNanos() {
            return session.windowInputNanos();
        }

        @Override
        public long forwardNanos() {
            return session.forwardNanos();
        }

        @Override
        public long verifyNanos() {
            return session.verifyNanos();
        }

        @Override
        public WindowView windows() {
            if (windows == null) {
                throw new IllegalStateException(
                        "the windows were not watched: let the listener's watchesWindows() answer true");
            }
            return windows;
        }
    }
}
