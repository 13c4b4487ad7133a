package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.kernel.cuda.EmulatedDriver;
import java.util.stream.Stream;

/// The backends that the tests of this package run on.
final class DecodeBackends {
    private static final String CPU = "cpu";
    private static final String CUDA = "cuda-emulated";

    private DecodeBackends() {}

    /// The oracle, the library with the best instruction set, and the CUDA kernels; for `@MethodSource`.
    static Stream<String> names() {
        return Stream.of("reference", CPU, CUDA);
    }

    /// Those that are fast enough for hundreds of thousands of pictures. What they make of a seed is what the CUDA
    /// kernels make of it: `DecoderEqualityTest`.
    static Stream<String> fast() {
        return Stream.of("reference", CPU);
    }

    static boolean isFast(String name) {
        return !name.equals(CUDA);
    }

    /// The oracle, and the library with every instruction set that this machine has; for `@MethodSource`.
    /// A class that uses it ends with {@link #backToTheBest}.
    static Stream<String> everyInstructionSet() {
        return Stream.concat(
                Stream.of("reference"),
                CpuLibrary.get().availableIsas().stream().map(isa -> CPU + "-" + isa));
    }

    /// Those, and the CUDA kernels.
    static Stream<String> everyKernel() {
        return Stream.concat(everyInstructionSet(), Stream.of(CUDA));
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
        // The model of these tests is the host's own code, which a graph would not run again.
        return name.equals(CUDA) ? EmulatedDriver.openWithoutGraphs() : Backends.open(name, threads);
    }

    static void backToTheBest() {
        CpuLibrary.get().selectIsa("");
    }
}
