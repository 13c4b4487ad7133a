package io.sjd2;

import io.sjd2.decode.DecodeExtents;
import io.sjd2.decode.RecurringDecoder;
import io.sjd2.kernel.Backend;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerForward;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import org.jspecify.annotations.Nullable;

/// Forward passes and their decoders, kept from batch to batch where the backend records iterations: a recording is
/// bound to the memory that it was made over, so the two live and go together.
///
/// What is lent is used by one batch alone; a second batch of the same extents gets memory of its own. Idle ones are
/// few, no more than what is free beside them but for the one used last, and the first thing to go where memory runs
/// out. Backends that record nothing keep nothing. Used by one thread at a time.
final class ForwardPool implements AutoCloseable {
    /// Idle ones: a few settings that somebody goes back and forth between.
    static final int MOST_IDLE = 4;
    /// Shorter caches and prompts are not told apart.
    private static final int FEWEST = 16;

    private final Transformer model;
    private final Backend backend;
    /// The one that was idle longest comes first.
    private final Deque<Kept> idle = new ArrayDeque<>();

    ForwardPool(Transformer model) {
        this.model = model;
        this.backend = model.backend();
        backend.reserve(this::dropOldest);
    }

    private record Key(int capacity, int promptRows, DecodeExtents extents) {}

    /// @param bytes  about what it takes of the device
    private record Kept(Key key, TransformerForward forward, RecurringDecoder decoder, long bytes) {
        void close() {
            try (forward) {
                decoder.close();
            }
        }
    }

    /// A forward pass and its decoder, lent: closing gives them back, or frees them unless {@link #keep} was called.
    final class Lease implements AutoCloseable {
        private @Nullable Kept lent;
        private final TransformerForward forward;
        private final RecurringDecoder decoder;
        private boolean keep;

        private Lease(Kept lent) {
            this.lent = lent;
            this.forward = lent.forward;
            this.decoder = lent.decoder;
        }

        TransformerForward forward() {
            return forward;
        }

        RecurringDecoder decoder() {
            return decoder;
        }

        /// Nothing failed: others may use it next.
        void keep() {
            keep = backend.records();
        }

        @Override
        public void close() {
            Kept back = lent;
            lent = null;
            if (back != null && keep) {
                giveBack(back);
            } else if (back != null) {
                back.close();
            }
        }
    }

    /// Entries of the cache to ask for where a sequence takes `entries`: at most a sixteenth more, so that prompts of
    /// about the same length share one recording, and no more than the model has positions.
    int capacity(int entries) {
        int step = Math.max(FEWEST, Integer.highestOneBit(entries / FEWEST + 1));
        int rounded = Math.ceilDiv(entries, step) * step;
        return backend.records()
                ? Math.max(entries, Math.min(rounded, model.config().maxPositions()))
                : entries;
    }

    /// Entries of the longest prompt to ask for where it has `entries`: a power of two and the last one, which is not
    /// fed.
    int longest(int entries) {
        int fed = Math.max(FEWEST, entries - 1);
        return backend.records() ? 1 + Integer.highestOneBit(2 * fed - 1) : entries;
    }

    /// A forward pass whose decoder may have a recording of such extents already.
    ///
    /// @param capacity  most cached positions of a sequence, of {@link #capacity}
    /// @param longest   entries of the longest prompt, of {@link #longest}
    /// @param bytes     about what a new one takes
    /// @throws io.sjd2.kernel.KernelException if there is not enough memory though nothing is kept any more
    Lease lend(int capacity, int longest, DecodeExtents extents, long bytes) {
        Key key = new Key(capacity, TransformerForward.promptRows(capacity, longest), extents);
        Kept found = takeIdle(key);
        if (found != null) {
            return new Lease(found);
        }
        TransformerForward forward =
                new TransformerForward(model, extents.batch(), extents.window(), capacity, longest);
        return new Lease(new Kept(key, forward, new RecurringDecoder(forward), bytes));
    }

    private @Nullable Kept takeIdle(Key key) {
        for (Iterator<Kept> each = idle.descendingIterator(); each.hasNext(); ) {
            Kept kept = each.next();
            if (kept.key.equals(key)) {
                each.remove();
                return kept;
            }
        }
        return null;
    }

    private void giveBack(Kept kept) {
        idle.addLast(kept);
        while (idle.size() > MOST_IDLE || (idle.size() > 1 && idleBytes() > free())) {
            idle.removeFirst().close();
        }
    }

    private long free() {
        return backend.freeMemory().orElse(Long.MAX_VALUE);
    }

    /// About what idle ones take of the device, and would give back.
    long idleBytes() {
        return idle.stream().mapToLong(Kept::bytes).sum();
    }

    int idleCount() {
        return idle.size();
    }

    /// Frees the one that was idle longest; false if there is none.
    private boolean dropOldest() {
        Kept oldest = idle.pollFirst();
        if (oldest != null) {
            oldest.close();
        }
        return oldest != null;
    }

    /// Frees what is idle, one after the other whatever becomes of those before. What is lent is freed by its borrower.
    @Override
    public void close() {
        backend.reserve(() -> false);
        RuntimeException failure = null;
        for (Kept kept = idle.pollFirst(); kept != null; kept = idle.pollFirst()) {
            try {
                kept.close();
            } catch (RuntimeException e) {
                failure = failure == null ? e : failure;
            }
        }
        if (failure != null) {
            throw failure;
        }
    }
}
