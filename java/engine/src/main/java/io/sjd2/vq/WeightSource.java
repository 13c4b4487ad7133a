package io.sjd2.vq;

import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.Arena;

/// Where an image tokeniser's weights come from: files of its own, or those of the model that it is a part of.
///
/// Confined to one thread while it is read.
public interface WeightSource {
    /// The folder or file, for messages.
    String source();

    /// Whether there is a tensor of this name.
    boolean has(String name);

    /// A tensor with its bytes, in memory that the host can read.
    ///
    /// @param arena  owns the bytes where they have to be copied
    /// @throws ModelFormatException if there is none of this name
    /// @throws IOException if reading fails
    TensorEntry read(String name, Arena arena) throws IOException;

    /// As the other, for a caller that knows what it will take. Files hold what they hold, and it is the caller who
    /// compares; a generator makes up just that.
    ///
    /// @param shape what the configuration says
    default TensorEntry read(String name, Arena arena, long... shape) throws IOException {
        return read(name, arena);
    }
}
