package io.sjd2;

import io.sjd2.decode.PassCurve;
import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// One measured curve in the user's cache: a JSON file that says under what circumstances it was measured.
///
/// The file's name is a hash of the circumstances, so that other ones never meet it; what it holds is compared all the
/// same. A file that cannot be read, or says anything else, is measured again and replaced.
///
/// @param file           where the curve lies, or would
/// @param circumstances  whatever the curve depends on
record WindowCache(Path file, Map<String, Object> circumstances) {
    /// System property: the folder of the cache, instead of `sjd2` in `XDG_CACHE_HOME` or `~/.cache`.
    static final String FOLDER_PROPERTY = "sjd2.cache";

    /// Of the layout, and of how passes are measured: raise it when either changes.
    private static final int FORMAT = 2;

    private static final Logger LOG = System.getLogger(WindowCache.class.getName());

    /// @param measuredAt to the second
    record Entry(PassCurve curve, Instant measuredAt) {}

    static WindowCache of(Map<String, Object> circumstances) {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("format", FORMAT);
        all.putAll(circumstances);
        String text = all.values().stream().map(String::valueOf).collect(Collectors.joining("|"));
        return new WindowCache(folder().resolve("window-" + hash(text) + ".json"), all);
    }

    private static String hash(String text) {
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(hash, 0, 12);
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java platform has SHA-256", e);
        }
    }

    private static Path folder() {
        String configured = System.getProperty(FOLDER_PROPERTY);
        if (configured != null) {
            return Path.of(configured);
        }
        String xdg = System.getenv("XDG_CACHE_HOME");
        Path base = xdg != null && !xdg.isBlank() ? Path.of(xdg) : Path.of(System.getProperty("user.home"), ".cache");
        return base.resolve("sjd2");
    }

    /// The processor's name and how many of its threads there are.
    static String machine() {
        String name = System.getProperty("os.arch");
        try {
            Path cpuInfo = Path.of("/proc/cpuinfo");
            if (Files.exists(cpuInfo)) {
                name = Files.readAllLines(cpuInfo).stream()
                        .filter(line -> line.startsWith("model name"))
                        .map(line -> line.substring(line.indexOf(':') + 1).strip())
                        .findFirst()
                        .orElse(name);
            }
        } catch (IOException e) {
            LOG.log(Level.DEBUG, "the processor's name cannot be read: {0}", e.getMessage());
        }
        return name + ", " + Runtime.getRuntime().availableProcessors() + " threads";
    }

    /// The curve kept; null where there is none that can be used.
    @Nullable
    Entry read() {
        if (!Files.exists(file)) {
            return null;
        }
        try {
            Json json = Json.read(file);
            for (Map.Entry<String, Object> expected : circumstances.entrySet()) {
                String found = json.get(expected.getKey()).string();
                if (!found.equals(String.valueOf(expected.getValue()))) {
                    throw new IllegalArgumentException(
                            expected.getKey() + " is " + found + ", here it is " + expected.getValue());
                }
            }
            Json millis = json.get("ms_per_pass");
            Map<Integer, Double> points = new TreeMap<>();
            for (String window : millis.keys()) {
                points.put(Integer.parseInt(window), millis.get(window).number());
            }
            PassCurve curve = PassCurve.of(points);
            if (curve.windows()[0] != 1) {
                throw new IllegalArgumentException("there is no pass of 1 row");
            }
            return new Entry(curve, Instant.parse(json.get("measured_at").string()));
        } catch (ModelFormatException | IllegalArgumentException | DateTimeException e) {
            LOG.log(Level.WARNING, "measuring again, {0} cannot be used: {1}", file, e.getMessage());
        } catch (IOException e) {
            LOG.log(Level.WARNING, "measuring again, {0} cannot be read: {1}", file, e.getMessage());
        }
        return null;
    }

    /// Keeps a curve measured now; where that fails, says so and goes on without.
    Entry keep(PassCurve curve) {
        Entry entry = new Entry(curve, Instant.now().truncatedTo(ChronoUnit.SECONDS));
        Map<String, Object> json = new LinkedHashMap<>();
        circumstances.forEach((key, value) -> json.put(key, String.valueOf(value)));
        json.put("measured_at", entry.measuredAt().toString());
        Map<String, Object> points = new LinkedHashMap<>();
        for (int window : curve.windows()) {
            points.put(Integer.toString(window), curve.millis(window));
        }
        json.put("ms_per_pass", points);
        try {
            Files.createDirectories(file.getParent());
            AtomicFiles.write(file, Json.prettyText(json) + "\n");
        } catch (IOException e) {
            LOG.log(
                    Level.WARNING,
                    "the measured window curve cannot be kept ({0}); another run may choose another window",
                    e.getMessage());
        }
        return entry;
    }
}
