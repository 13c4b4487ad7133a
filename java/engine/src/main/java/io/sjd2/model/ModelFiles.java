package io.sjd2.model;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.tensor.DType;
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
    /// @throws ModelFormatException if there are none, or a file breaks its format
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

    /// The same weights of a model that more has become known of.
    public ModelFiles with(ModelDescription other) {
        return new ModelFiles(other, tensors, folder);
    }

    /// The files that PyTorch saved in a folder which has no safetensors; empty where it has.
    ///
    /// @throws ModelFormatException if several files could be meant
    public static List<Path> pytorchFiles(Path folder) throws IOException {
        boolean safetensors = Files.exists(folder.resolve(SafetensorsFolder.SINGLE_FILE))
                || Files.exists(folder.resolve(SafetensorsFolder.INDEX_FILE));
        return safetensors ? List.of() : PytorchSource.find(folder);
    }

    /// What the weights are held as where nobody asks for anything: f32 if they are stored so, else bf16, in which real
    /// checkpoints are published and which a machine for them has room for.
    ///
    /// @throws ModelFormatException never but for a damaged file
    public DType dtype() throws ModelFormatException {
        for (WeightNames names : description.names()) {
            String name = WeightNames.at(names.down(), 0);
            if (tensors.has(name)) {
                return tensors.info(name).dtype().equals("F32") ? DType.F32 : DType.BF16;
            }
        }
        return DType.BF16; // loading will say what is missing
    }

    @Override
    public void close() {
        tensors.close();
    }
}
