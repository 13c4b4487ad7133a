package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.Peer;
import java.util.List;

/// PyTorch through JavaCPP, with oneDNN.
public final class PytorchBf16 implements Peer {
    @Override
    public String name() {
        return Versions.of("pytorch.onednn");
    }

    @Override
    public List<String> dtypes() {
        return List.of("bf16");
    }

    @Override
    public List<Pair> benchmarks() {
        return PytorchF32.BENCHMARKS;
    }
}
