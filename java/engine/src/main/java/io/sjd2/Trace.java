package io.sjd2;

import io.sjd2.PassTrace.Origin;
import io.sjd2.PassTrace.Outcome;
import io.sjd2.PassTrace.Slot;
import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.PngWriter;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/// Collects what every pass drafted, accepted, resampled and denoised, and writes it as JSON and as a page for
/// browsers.
///
/// Give it to {@link Engine#generate} as the listener, once or for several requests; it hands everything on to another
/// listener. Confined to the generating thread. `docs/profiling.md` describes both files.
public final class Trace implements GenerationListener {
    /// Of the layout; a reader that knows it can read the file.
    public static final int VERSION = 1;

    private static final String JSON_SUFFIX = ".json";
    private static final String PAGE_SUFFIX = ".html";
    private static final String PLACE_OF_DATA = "\"TRACE\"";

    private final String model;
    private final GenerationListener next;
    private final Map<Integer, List<PassTrace>> unfinished = new TreeMap<>();
    private final List<Picture> pictures = new ArrayList<>();

    private record Picture(GeneratedImage image, List<PassTrace> passes) {}

    /// @param model  name of the model, for the reader
    /// @param next   told everything, too
    public Trace(String model, GenerationListener next) {
        this.model = model;
        this.next = next;
    }

    @Override
    public boolean watchesPasses() {
        return true;
    }

    @Override
    public void pass(PassTrace pass) {
        unfinished.computeIfAbsent(pass.picture(), picture -> new ArrayList<>()).add(pass);
        if (next.watchesPasses()) {
            next.pass(pass);
        }
    }

    @Override
    public void progress(long committed, long total, long passes) {
        next.progress(committed, total, passes);
    }

    @Override
    public void decoding(int index, long done, long total) {
        next.decoding(index, done, total);
    }

    @Override
    public void finished(GeneratedImage image) {
        List<PassTrace> passes = unfinished.remove(image.index());
        pictures.add(new Picture(image, passes == null ? List.of() : List.copyOf(passes)));
        next.finished(image);
    }

    @Override
    public boolean cancelled() {
        return next.cancelled();
    }

    /// The two files that {@link #write} makes of a name: `name.json` and `name.html`, whichever of the two endings the
    /// name has, or neither.
    public static List<Path> files(Path name) {
        String file = name.getFileName() == null ? "" : name.getFileName().toString();
        String lower = file.toLowerCase(Locale.ROOT);
        String stem = lower.endsWith(JSON_SUFFIX) || lower.endsWith(PAGE_SUFFIX)
                ? file.substring(0, file.length() - JSON_SUFFIX.length())
                : file;
        if (stem.isEmpty()) {
            throw new IllegalArgumentException("trace: \"" + name + "\" names no file: give a name such as trace.html");
        }
        return List.of(name.resolveSibling(stem + JSON_SUFFIX), name.resolveSibling(stem + PAGE_SUFFIX));
    }

    /// Writes both files. Older ones are replaced; each appears whole or not at all.
    ///
    /// @return the files written
    /// @throws IOException naming the file that cannot be written
    public List<Path> write(Path name) throws IOException {
        List<Path> files = files(name);
        AtomicFiles.write(files.get(0), json() + "\n");
        AtomicFiles.write(files.get(1), page());
        return files;
    }

    /// The trace for programs.
    public String json() {
        return Json.text(content(false));
    }

    /// The trace for people: one HTML page that needs nothing else, neither files nor a network.
    public String page() {
        // No "<" inside, so that no text of a prompt can end the script.
        String data = Json.text(content(true)).replace("<", "\\u003c");
        return template().replace(PLACE_OF_DATA, data);
    }

    private static String template() {
        try (InputStream in = Trace.class.getResourceAsStream("trace.html")) {
            if (in == null) {
                throw new IllegalStateException(
                        "trace.html is missing from the jar; build it again with `mvn package`");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new IllegalStateException("trace.html cannot be read from the jar", e);
        }
    }

    private Map<String, Object> content(boolean pixels) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("format", "sjd2-trace");
        json.put("version", VERSION);
        json.put("model", model);
        json.put("slot_columns", List.of("position", "origin", "draft", "level", "outcome", "token", "level_after"));
        json.put("origins", names(Origin.values()));
        json.put("outcomes", names(Outcome.values()));
        json.put("pictures", pictures.stream().map(p -> picture(p, pixels)).toList());
        return json;
    }

    private static List<String> names(Enum<?>[] constants) {
        return Arrays.stream(constants)
                .map(constant -> constant.name().toLowerCase(Locale.ROOT))
                .toList();
    }

    private static Map<String, Object> picture(Picture picture, boolean pixels) {
        GeneratedImage image = picture.image();
        GenerationStatistics statistics = image.statistics();
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("prompt", image.prompt());
        json.put("seed", image.seed());
        json.put("index", image.index());
        json.put("decoder", statistics.decoder());
        json.put("window", statistics.window());
        json.put("levels", statistics.levels());
        json.put("passes", statistics.passes());
        json.put("step_compression", millionths(statistics.stepCompression()));
        json.put("grid_height", image.codes().length);
        json.put("grid_width", image.codes()[0].length);
        json.put("tokens", Arrays.stream(image.tokens()).boxed().toList());
        json.put("cells", cells(picture));
        json.put("trace", picture.passes().stream().map(Trace::step).toList());
        if (pixels) {
            json.put(
                    "png",
                    "data:image/png;base64,"
                            + Base64.getEncoder().encodeToString(PngWriter.encode(image.image(), Map.of())));
        }
        return json;
    }

    /// The cell of the grid that each token fills, row by row; -1 for structural tokens.
    private static List<Integer> cells(Picture picture) {
        boolean[] structural = new boolean[picture.image().tokens().length];
        for (PassTrace pass : picture.passes()) {
            for (Slot slot : pass.slots()) {
                structural[slot.position()] |= slot.origin() == Origin.STRUCTURE;
            }
        }
        List<Integer> cells = new ArrayList<>(structural.length);
        int next = 0;
        for (boolean none : structural) {
            cells.add(none ? -1 : next++);
        }
        return cells;
    }

    private static Map<String, Object> step(PassTrace pass) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("pass", pass.pass());
        json.put("first", pass.first());
        json.put("accepted", pass.accepted());
        json.put("input_ms", millionths(pass.inputMillis()));
        json.put("forward_ms", millionths(pass.forwardMillis()));
        json.put("verify_ms", millionths(pass.verifyMillis()));
        json.put(
                "slots",
                pass.slots().stream()
                        .map(slot -> List.of(
                                slot.position(),
                                slot.origin().ordinal(),
                                slot.draft(),
                                slot.level(),
                                slot.outcome().ordinal(),
                                slot.token(),
                                slot.levelAfter()))
                        .toList());
        return json;
    }

    private static double millionths(double value) {
        return Math.round(value * 1e6) / 1e6;
    }
}
