package io.sjd2.model;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.util.Arrays;

/// Where weights come from: files of a folder, in whatever format, or a generator.
///
/// Names, dtypes and shapes are known without touching a tensor's bytes, so that everything is checked before
/// anything is loaded. Confined to one thread; {@link #close} ends the life of what {@link #read} handed out.
public interface TensorSource extends AutoCloseable {
    /// The folder or generator, for messages.
    String source();

    /// Whether there is a tensor of this name.
    boolean has(String name);

    /// What a tensor is.
    ///
    /// @throws ModelFormatException if there is none of this name
    Info info(String name) throws ModelFormatException;

    /// A tensor with its bytes, in memory that the host can read.
    ///
    /// @param arena  owns the bytes where they have to be copied; close it once they are used
    /// @throws ModelFormatException if there is none of this name
    /// @throws IOException if reading fails
    TensorEntry read(String name, Arena arena) throws IOException;

    /// Tells that the bytes of `entry` are not needed any more, so that its pages may go.
    void release(TensorEntry entry);

    @Override
    void close();

    /// @param name   the key in the file
    /// @param dtype  `F32`, `BF16`, ...
    /// @param shape  extents, row-major; not copied: do not write to it
    /// @param bytes  size in the file
    record Info(String name, String dtype, long[] shape, long bytes) {
        static Info of(TensorEntry entry) {
            return new Info(
                    entry.name(), entry.dtype(), entry.shape(), entry.data().byteSize());
        }

        @Override
        public String toString() {
            return name + " " + dtype + " " + Arrays.toString(shape);
        }
    }
}
