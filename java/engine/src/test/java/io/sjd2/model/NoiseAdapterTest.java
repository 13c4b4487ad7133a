package io.sjd2.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class NoiseAdapterTest {
    private static final int HIDDEN = 6;

    @TempDir
    private Path folder;

    private NoiseAdapter withTable(String table) throws IOException {
        AdapterFiles.write(folder);
        Path settings = folder.resolve(NoiseAdapter.SETTINGS_FILE);
        String json = Files.readString(settings);
        AtomicFiles.write(settings, json.replace("\"levels\": 2", "\"levels\": 2" + table));
        return NoiseAdapter.find(folder, HIDDEN).orElseThrow();
    }

    @Test
    void levelsFollowTheWidestWindowThatIsNotWider() throws IOException {
        NoiseAdapter adapter = withTable(", \"levels_from_window\": {\"48\": 8, \"16\": 3}");
        assertThat(adapter.defaultLevels()).isEqualTo(2);
        assertThat(adapter.defaultLevels(15)).isEqualTo(2);
        assertThat(adapter.defaultLevels(16)).isEqualTo(3);
        assertThat(adapter.defaultLevels(47)).isEqualTo(3);
        assertThat(adapter.defaultLevels(48)).isEqualTo(8);
        assertThat(adapter.defaultLevels(4096)).isEqualTo(8);
        assertThat(withTable("").defaultLevels(4096)).isEqualTo(2);
        assertThat(withTable("").restart()).isEmpty();
        assertThat(withTable(", \"restart\": 3").restart()).hasValue(3);
        assertThatExceptionOfType(ModelFormatException.class)
                .isThrownBy(() -> withTable(", \"restart\": -1"))
                .withMessageContaining("never");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"0\": 2}",
                "{\"x\": 2}",
                "{\"9999999999\": 2}",
                "{\"8\": 0}",
                "{\"8\": 1025}",
                "{\"8\": 1.5}",
                "3"
            })
    void refusesATableThatCannotBe(String table) {
        assertThatExceptionOfType(ModelFormatException.class)
                .isThrownBy(() -> withTable(", \"levels_from_window\": " + table))
                .withMessageContaining(NoiseAdapter.SETTINGS_FILE);
    }
}
