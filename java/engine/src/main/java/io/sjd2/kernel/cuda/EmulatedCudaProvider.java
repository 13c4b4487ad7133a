package io.sjd2.kernel.cuda;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.BackendProvider;
import java.util.List;

/// Registers the CUDA backend over a driver and kernels that run on the CPU: for tests, hundreds of times slower than
/// the CPU backend, and never chosen unless it is asked for.
public final class EmulatedCudaProvider implements BackendProvider {
    @Override
    public String name() {
        return "cuda-emulated";
    }

    @Override
    public int priority() {
        return Integer.MIN_VALUE;
    }

    @Override
    public boolean automatic() {
        return false;
    }

    @Override
    public Probe probe(int threads) {
        // Looked for and not loaded: a process that has loaded it can no longer use the machine's own driver.
        return CudaDriver.find(CudaDriver.Kind.EMULATED)
                .map(place -> new Probe(true, List.of("libraries in " + place), "for tests; opened only by its name"))
                .orElseGet(() -> new Probe(
                        false, List.of(), "for tests: its libraries are not here; " + CudaDriver.EMULATED_REMEDY));
    }

    @Override
    public Backend open(int threads) {
        return CudaProvider.open(CudaDriver.Kind.EMULATED);
    }
}
