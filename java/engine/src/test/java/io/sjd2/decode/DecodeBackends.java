package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import java.util.stream.Stream;

/// The backends that every test of this package runs on.
final class DecodeBackends {
    private DecodeBackends() {}

    /// For `@MethodSource`.
    static Stream<String> names() {
        return Stream.of("reference", "cpu");
    }

    /// Two threads, so that a race can show even in small tests.
    static Backend open(String name) {
        return Backends.open(name, 2);
    }
}
