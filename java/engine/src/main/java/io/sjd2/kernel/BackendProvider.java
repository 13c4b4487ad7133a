package io.sjd2.kernel;

import java.util.List;

/// What an implementation registers with {@link java.util.ServiceLoader} so that {@link Backends} finds it.
///
/// Implementations have a public constructor without parameters and load nothing before {@link #probe} or
/// {@link #open}.
public interface BackendProvider {
    /// The word that users ask for it by: `cuda`, `cpu`, `reference`.
    String name();

    /// Larger is better: `auto` tries providers in descending order.
    int priority();

    /// Whether `auto` may take it.
    default boolean automatic() {
        return true;
    }

    /// Whether its backends train.
    default boolean trains() {
        return false;
    }

    /// Whether it can be opened here, and what there is to tell about it. Never throws for a missing device or library.
    ///
    /// @param threads  as in {@link #open}
    Probe probe(int threads);

    /// Opens a backend.
    ///
    /// @param threads  worker threads; 0 takes every core that the process may run on
    /// @throws KernelException saying why it cannot be opened and what to do about it
    Backend open(int threads);

    /// What a provider found.
    ///
    /// @param available  whether {@link #open} would succeed
    /// @param detail     lines for `doctor`: what was found and chosen
    /// @param reason     why it is not available, or why it is not better than it is; may be empty
    record Probe(boolean available, List<String> detail, String reason) {
        public Probe {
            detail = List.copyOf(detail);
        }
    }
}
