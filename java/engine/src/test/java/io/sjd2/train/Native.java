package io.sjd2.train;

import io.sjd2.kernel.TrainingKernels;
import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.kernel.ffm.NativeStream;
import io.sjd2.kernel.ffm.NativeTrainingKernels;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// The native operations of training on one instruction set, with memory; puts the library's own choice back when
/// closed.
final class Native implements AutoCloseable {
    final TrainingKernels kernels;
    final Arena arena = Arena.ofShared();
    private final NativeStream stream;

    /// @param isa empty for the library's choice
    Native(String isa, int threads) {
        CpuLibrary.get().selectIsa(isa);
        stream = CpuLibrary.get().openStream(threads, MemorySegment.NULL);
        kernels = new NativeTrainingKernels(stream, "cpu-" + isa);
    }

    static List<String> isas() {
        return CpuLibrary.get().availableIsas();
    }

    @Override
    public void close() {
        stream.close();
        arena.close();
        CpuLibrary.get().selectIsa("");
    }
}
