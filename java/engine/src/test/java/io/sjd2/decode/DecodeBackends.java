package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.cpu.CpuLibrary;
import java.util.stream.Stream;

/// The backends that the tests of this package run on.
final class DecodeBackends {
    private static final String CPU = "cpu";

    private DecodeBackends() {}

    /// The oracle, and the library with the best instruction set; for `@MethodSource`.
    static Stream<String> names() {
        return Stream.of("reference", CPU);
    }

    /// The oracle, and the library with every instruction set that this machine has; for `@MethodSource`.
    /// A class that uses it ends with {@link #backToTheBest}.
    static Stream<String> everyInstructionSet() {
        return Stream.concat(
                Stream.of("reference"),
                CpuLibrary.get().availableIsas().stream().map(isa -> CPU + "-" + isa));
    }

    /// Two threads, so that a race can show even in small tests.
    static Backend open(String name) {
        return open(name, 2);
    }

    static Backend open(String name, int threads) {
        if (name.startsWith(CPU)) {
            CpuLibrary.get().selectIsa(name.equals(CPU) ? "" : name.substring(CPU.length() + 1));
            return Backends.open(CPU, threads);
        }
        return Backends.open(name, threads);
    }

    static void backToTheBest() {
        CpuLibrary.get().selectIsa("");
    }
}
