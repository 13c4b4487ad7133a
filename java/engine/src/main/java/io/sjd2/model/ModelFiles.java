package io.sjd2.model;

import io.sjd2.io.SafetensorsFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A model before it is loaded: what it is, and where its tensors come from. Owns the open files until {@link #close}.
///
/// @param description  what it is
/// @param tensors      its weights
/// @param folder       where it lies; null if it is made up
public record ModelFiles(
        ModelDescription description,
        TensorSource tensors,
        @Nullable Path folder) implements AutoCloseable {

    /// Opens the weights of a folder: safetensors, else what PyTorch saved.
    ///
    /// @param folder  or the name of a made-up model ({@link io.sjd2.io.SyntheticName})
    /// @param map     false to read files piece by piece instead of mapping them, for files that others may truncate
    /// @throws io.sjd2.io.ModelFormatException if there are none, or a file breaks its format
    public static ModelFiles of(ModelDescription description, Path folder, boolean map) throws IOException {
        SyntheticModel synthetic = SyntheticModel.of(folder);
        if (synthetic != null) {
            return synthetic.files();
        }
        List<Path> others = pytorchFiles(folder);
        TensorSource tensors =
                others.isEmpty() ? SafetensorsSource.open(folder, map) : PytorchSource.open(folder, others, map);
        return new ModelFiles(description, tensors, folder);
    }

    /// The files that PyTorch saved in a folder which has no safetensors; empty where it has.
    ///
    /// @throws io.sjd2.io.ModelFormatException if several files could be meant
    public static List<Path> pytorchFiles(Path folder) throws IOException {
        boolean safetensors = Files.exists(folder.resolve(SafetensorsFolder.SINGLE_FILE))
                || Files.exists(folder.resolve(SafetensorsFolder.INDEX_FILE));
        return safetensors ? List.of() : PytorchSource.find(folder);
    }

    @Override
    public void close() {
        tensors.close();
    }
}
