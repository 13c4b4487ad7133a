package io.sjd2.kernel.cpu;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.BackendProvider;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.ffm.NativeLibrary;
import java.util.List;

/// Registers the CPU backend.
public final class CpuProvider implements BackendProvider {
    private static final int PRIORITY = 100;

    @Override
    public String name() {
        return "cpu";
    }

    @Override
    public int priority() {
        return PRIORITY;
    }

    @Override
    public boolean trains() {
        return true;
    }

    @Override
    public Probe probe(int threads) {
        try (CpuBackend backend = new CpuBackend(threads)) {
            NativeLibrary library = CpuLibrary.get();
            List<String> isas = library.availableIsas();
            String best = isas.isEmpty() ? library.isa() : isas.getLast();
            return new Probe(
                    true,
                    List.of(
                            "instruction set " + library.isa() + " (this machine runs " + String.join(", ", isas) + ")",
                            backend.threads() + " threads",
                            "library " + library.description()),
                    library.isa().equals(best)
                            ? ""
                            : "SJD2_CPU_ISA asks for " + library.isa() + "; " + best + " would be faster");
        } catch (KernelException | IllegalArgumentException e) {
            return new Probe(false, List.of(), e.getMessage());
        }
    }

    @Override
    public Backend open(int threads) {
        return new CpuBackend(threads);
    }
}
