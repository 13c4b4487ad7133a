package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.ForwardPassBenchmark;
import io.sjd2.benchmarks.LayerBenchmark;
import io.sjd2.benchmarks.LayerProductsBenchmark;
import io.sjd2.benchmarks.Peer;
import java.util.List;

/// PyTorch through DJL, with MKL.
public final class PytorchF32 implements Peer {
    static final List<Pair> BENCHMARKS = List.of(
            new Pair(LayerProductsBenchmark.class, PytorchLayerProductsBenchmark.class),
            new Pair(LayerBenchmark.class, PytorchLayerBenchmark.class),
            new Pair(ForwardPassBenchmark.class, PytorchForwardPassBenchmark.class));

    @Override
    public String name() {
        return Versions.of("pytorch.mkl");
    }

    @Override
    public List<String> dtypes() {
        return List.of("f32");
    }

    @Override
    public List<Pair> benchmarks() {
        return BENCHMARKS;
    }
}
