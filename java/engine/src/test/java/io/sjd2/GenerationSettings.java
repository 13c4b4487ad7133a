package io.sjd2;

import io.sjd2.model.ModelDescription;
import java.io.IOException;
import java.nio.file.Path;

/// The reader of generation settings, for tests in other packages.
public final class GenerationSettings {
    private GenerationSettings() {}

    /// The settings of a folder that needs to hold nothing else, over a family that neither guides nor filters.
    public static ModelInfo.Defaults read(Path folder) throws IOException {
        return GenerationConfig.defaults(GenerationConfig.read(folder), new ModelDescription.Sampling(1.0, 0), null);
    }
}
