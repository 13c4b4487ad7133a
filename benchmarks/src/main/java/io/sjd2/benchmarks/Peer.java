package io.sjd2.benchmarks;

import java.util.List;

/// Another engine that runs some of our benchmarks. Found by `ServiceLoader`: the modules that hold peers are no
/// dependency of this one.
public interface Peer {
    /// What tables call it, with its version.
    String name();

    /// `f32` or `bf16`: what it is a fair peer in.
    List<String> dtypes();

    /// Our benchmarks that it runs too, with its classes for them, whose parameters bear the same names.
    List<Pair> benchmarks();

    /// @param ours    one of our benchmarks
    /// @param theirs  the peer's
    record Pair(Class<?> ours, Class<?> theirs) {}
}
