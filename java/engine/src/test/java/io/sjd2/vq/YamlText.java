package io.sjd2.vq;

import io.sjd2.io.Json;
import java.io.IOException;
import java.nio.file.Path;

/// The reader of YAML configurations, for tests in other packages.
public final class YamlText {
    private YamlText() {}

    public static Json read(Path file) throws IOException {
        return Yaml.read(file);
    }
}
