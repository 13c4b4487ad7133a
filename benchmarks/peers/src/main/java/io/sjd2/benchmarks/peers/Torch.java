package io.sjd2.benchmarks.peers;

import io.sjd2.tensor.DType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;

/// PyTorch, as much of it as the benchmarks need: a TorchScript program with its arguments, run again and again.
///
/// Confined to one thread; owns what PyTorch allocated, not the memory of its arguments.
interface Torch extends AutoCloseable {
    /// The PyTorch whose products are the faster ones in a dtype. One per process: they are versions of one library.
    static Torch open(DType dtype, int threads) {
        return dtype == DType.F32 ? new DjlTorch(threads) : new BytedecoTorch(threads);
    }

    /// Name and version.
    String name();

    /// Adds an argument.
    ///
    /// @param values  row-major, used as it is: it must outlive this
    /// @param dtype   f32 or bf16
    void argument(MemorySegment values, DType dtype, long... shape);

    /// Forgets all arguments, not the program.
    void clearArguments();

    /// Loads a program as {@link TorchScript} writes it.
    void load(Path program) throws IOException;

    /// Runs the program and drops what it returns.
    void run();

    /// Runs the program and reads what it returns.
    ///
    /// @return one array for each tensor
    float[][] results();

    @Override
    void close();
}
