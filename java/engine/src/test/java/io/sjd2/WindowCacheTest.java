package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.decode.PassCurve;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// A curve is found again under its own circumstances and no others, and a damaged file is only measured again.
class WindowCacheTest {
    private static final Map<String, Object> HERE = Map.of("engine", "abc", "machine", "this one", "threads", 2);
    private static final PassCurve CURVE = PassCurve.of(Map.of(1, 1.5, 8, 2.25, 32, 4.0));

    @TempDir
    Path folder;

    private String before;

    @BeforeEach
    void useAnEmptyCache() {
        before = System.getProperty(WindowCache.FOLDER_PROPERTY);
        System.setProperty(WindowCache.FOLDER_PROPERTY, folder.resolve("cache").toString());
    }

    @AfterEach
    void putTheCacheBack() {
        if (before == null) {
            System.clearProperty(WindowCache.FOLDER_PROPERTY);
        } else {
            System.setProperty(WindowCache.FOLDER_PROPERTY, before);
        }
    }

    @Test
    void whatIsKeptIsFoundAgain() {
        assertThat(WindowCache.of(HERE).read()).isNull();
        WindowCache.Entry kept = WindowCache.of(HERE).keep(CURVE);
        WindowCache.Entry found = WindowCache.of(HERE).read();
        assertThat(found).isNotNull();
        assertThat(found.measuredAt()).isEqualTo(kept.measuredAt());
        assertThat(found.curve().windows()).containsExactly(1, 8, 32);
        assertThat(found.curve().millis(8)).isEqualTo(2.25);
    }

    @Test
    void otherCircumstancesAreMeasuredAnew() {
        WindowCache.of(HERE).keep(CURVE);
        for (String key : HERE.keySet()) {
            Map<String, Object> elsewhere = new LinkedHashMap<>(HERE);
            elsewhere.put(key, "other");
            assertThat(WindowCache.of(elsewhere).read()).as("another %s", key).isNull();
        }
    }

    @Test
    void aFileOfOtherCircumstancesIsNotBelieved() throws IOException {
        WindowCache cache = WindowCache.of(HERE);
        cache.keep(CURVE);
        String text = Files.readString(cache.file());
        Files.writeString(cache.file(), text.replace("this one", "that one"));
        assertThat(cache.read()).isNull();
    }

    @Test
    void damagedFilesAreMeasuredAgainAndReplaced() throws IOException {
        WindowCache cache = WindowCache.of(HERE);
        cache.keep(CURVE);
        String good = Files.readString(cache.file());
        List<String> damaged = List.of(
                "",
                "{",
                "[]",
                "{}",
                good.substring(0, good.length() / 2),
                good.replace("1.5", "-1.5"),
                good.replace("2.25", "\"fast\""),
                good.replace("\"8\"", "\"eight\""),
                good.replace("\"1\":", "\"2\":"),
                good.replaceFirst("\"measured_at\": \"[^\"]*\"", "\"measured_at\": \"long ago\""),
                "\0\1\2");
        for (String text : damaged) {
            assertThat(text).isNotEqualTo(good);
            Files.writeString(cache.file(), text);
            assertThat(cache.read()).as("%s", text).isNull();
        }
        cache.keep(CURVE);
        assertThat(cache.read()).isNotNull();
    }

    @Test
    void aFolderThatCannotBeMadeOnlyCostsTheMemory() throws IOException {
        Files.writeString(folder.resolve("cache"), "a file where the folder should be");
        assertThat(WindowCache.of(HERE).keep(CURVE).curve().millis(1)).isEqualTo(1.5);
        assertThat(WindowCache.of(HERE).read()).isNull();
    }
}
