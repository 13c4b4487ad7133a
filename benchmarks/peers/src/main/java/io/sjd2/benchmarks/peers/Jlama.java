package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.LayerProductsBenchmark;
import io.sjd2.benchmarks.Peer;
import java.util.List;

/// Jlama with its native kernels; its matrix products alone.
public final class Jlama implements Peer {
    @Override
    public String name() {
        return Versions.of("jlama");
    }

    @Override
    public List<String> dtypes() {
        return List.of("f32", "bf16");
    }

    @Override
    public List<Pair> benchmarks() {
        return List.of(new Pair(LayerProductsBenchmark.class, JlamaLayerProductsBenchmark.class));
    }
}
