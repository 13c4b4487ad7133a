package io.sjd2.kernel;

import static org.junit.jupiter.api.Assumptions.abort;

import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;

/// The contract on a GPU; skipped, with the reason, where none can be used.
@Tag("gpu")
class CudaKernelsTest extends KernelsContract {
    /// Why no device can be used, looked for once: a device that is lost later is a failure, not a reason to skip.
    private static final class Missing {
        static final @Nullable String REASON = reason();

        private static @Nullable String reason() {
            try {
                Backends.open("cuda", 1).close();
                return null;
            } catch (KernelException e) {
                return "no CUDA device can be used: " + e.getMessage();
            }
        }
    }

    @Override
    Backend open(int threads) {
        if (Missing.REASON != null) {
            return abort(Missing.REASON);
        }
        return Backends.open("cuda", threads);
    }
}
