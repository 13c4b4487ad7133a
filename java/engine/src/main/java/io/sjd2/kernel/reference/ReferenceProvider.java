package io.sjd2.kernel.reference;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.BackendProvider;
import java.util.List;

/// Registers the reference backend.
public final class ReferenceProvider implements BackendProvider {
    @Override
    public String name() {
        return "reference";
    }

    @Override
    public int priority() {
        return 0;
    }

    @Override
    public Probe probe(int threads) {
        return new Probe(
                true, List.of("scalar Java, 1 thread"), "for checking results; many times slower than native code");
    }

    @Override
    public Backend open(int threads) {
        return new ReferenceBackend();
    }
}
