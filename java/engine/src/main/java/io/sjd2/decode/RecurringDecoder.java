package io.sjd2.decode;

import io.sjd2.model.ForwardPass;
import org.jspecify.annotations.Nullable;

/// The loop of {@link Decoder}, which keeps its memory and what the backend recorded of an iteration from one decode to
/// the next, as long as their {@link DecodeExtents} are equal.
///
/// A decode gives what it would give in new memory. Used by one thread at a time; owns its memory until {@link #close}.
public final class RecurringDecoder implements AutoCloseable {
    private final ForwardPass forward;
    private @Nullable DecodeSession session;

    /// @param forward  outlives the decoder
    public RecurringDecoder(ForwardPass forward) {
        this.forward = forward;
    }

    /// As {@link Decoder#decode}. What fails or is cancelled leaves nothing behind that the next decode would use.
    ///
    /// @throws CancellationException if the listener asks for it
    public DecodeResult decode(DecodeRequest request, DecodeOptions options, DecodeListener listener) {
        try {
            return Decoder.decode(ready(request, options), request, options, listener);
        } catch (RuntimeException | Error e) {
            try {
                close();
            } catch (RuntimeException | Error another) {
                e.addSuppressed(another);
            }
            throw e;
        }
    }

    private DecodeSession ready(DecodeRequest request, DecodeOptions options) {
        DecodeSession kept = session;
        if (kept != null && kept.extents().equals(DecodeExtents.of(request, options))) {
            kept.restart(request, options);
            return kept;
        }
        close();
        DecodeSession opened = new DecodeSession(forward, request, options);
        session = opened;
        return opened;
    }

    /// Waits for the backend and frees what is kept. Idempotent.
    @Override
    public void close() {
        DecodeSession last = session;
        session = null;
        if (last != null) {
            last.close();
        }
    }
}
