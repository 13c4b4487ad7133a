package io.sjd2.benchmarks;

import org.jspecify.annotations.Nullable;

/// A benchmark that can tell what a call costs from its parameters alone, without being set up.
interface Costed {
    /// What one call costs, or null where bytes and operations say nothing, as of a whole generation.
    @Nullable
    Cost cost();
}
