package io.sjd2.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.kernel.ffm.NativeLibrary;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;

/// The contract on `libsjd2_cpu` with one instruction set; skipped where the machine or the build lacks it.
abstract class CpuKernelsContract extends KernelsContract {
    private final String isa;

    CpuKernelsContract(String isa) {
        this.isa = isa;
    }

    /// Switches the library over before a stream exists.
    private void select() {
        NativeLibrary library = CpuLibrary.get();
        if (!library.isa().equals(isa)) {
            assumeTrue(
                    library.availableIsas().contains(isa),
                    () -> "the instruction set " + isa + " is not among " + library.availableIsas());
            library.selectIsa(isa);
        }
    }

    @Override
    Backend open(int threads) {
        select();
        return Backends.open("cpu", threads);
    }

    @AfterAll
    static void goBackToTheBest() {
        CpuLibrary.get().selectIsa("");
    }

    @Test
    void theBackendIsNamedAfterTheInstructionSet() {
        try (Backend backend = open(2)) {
            assertThat(backend.name()).isEqualTo("cpu-" + isa);
            assertThat(backend.threads()).isEqualTo(2);
            assertThat(backend.hostMemory()).isTrue();
        }
    }
}
