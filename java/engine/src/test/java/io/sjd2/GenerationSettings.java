package io.sjd2;

import io.sjd2.model.ModelDescription;
import java.io.IOException;
import java.nio.file.Path;

/// The reader of generation settings, for tests in other packages.
public final class GenerationSettings {
    private GenerationSettings() {}

    public static ModelInfo.Defaults read(Path folder) throws IOException {
        return GenerationConfig.defaults(
                GenerationConfig.read(folder), ModelDescription.read(folder).sampling(), null);
    }
}
