package io.sjd2.cli;

import io.sjd2.Engine;
import io.sjd2.EngineOptions;
import io.sjd2.Inspection;
import io.sjd2.debug.DebugLogits;
import io.sjd2.debug.DebugPictures;
import io.sjd2.io.SyntheticName;
import io.sjd2.tensor.DType;
import io.sjd2.vq.VqListener;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// Which model, and what runs it.
final class ModelOptions {
    /// Where the program lies; the launcher tells.
    private static final Path HOME = Path.of(System.getProperty("sjd2.home", "."));

    private static final List<String> DTYPES = List.of("bf16", "f32");
    private static final long GIGA = 1_000_000_000;

    /// Words that `--dtype` takes.
    static final class DTypes implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return DTYPES.iterator();
        }
    }

    @Option(
            names = {"-m", "--model"},
            paramLabel = "DIR",
            description = {
                "Folder of a model in Hugging Face layout, or synthetic:PRESET for random weights at the shapes of a"
                        + " published model (lumina-mgpt-7b-768, emu3-8b, janus-pro-1b, janus-pro-7b, llamagen-xl);"
                        + " synthetic:PRESET?layers=2&seed=7 makes fewer layers, and other weights.",
                "Default: the bundled demo model."
            })
    private @Nullable Path model;

    @Option(
            names = "--backend",
            paramLabel = "NAME",
            defaultValue = "auto",
            description =
                    "auto, cuda, cpu or reference, and for tests cuda-emulated; a named one is never replaced by another."
                            + " Default: ${DEFAULT-VALUE}.")
    private String backend = "auto";

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            completionCandidates = DTypes.class,
            description =
                    "Hold and multiply weights as ${COMPLETION-CANDIDATES}. Default: f32 where the files hold F32, else"
                            + " bf16, which takes half the memory.")
    private @Nullable String dtype;

    @Option(
            names = {"-t", "--threads"},
            paramLabel = "N",
            defaultValue = "0",
            description = "Worker threads; 0 takes every core. Default: ${DEFAULT-VALUE}.")
    private int threads;

    @Option(
            names = "--no-mmap",
            description = "Read files of weights instead of mapping them: for files that others may shorten meanwhile.")
    private boolean unmapped;

    /// The folder of the model asked for.
    Path folder() {
        return model != null ? model : HOME.resolve("models").resolve("demo");
    }

    /// Its name, for humans and for files.
    String name() {
        Path name = folder().toAbsolutePath().normalize().getFileName();
        return name == null ? folder().toString() : name.toString();
    }

    int threads() {
        return threads;
    }

    private void requireFolder() throws IOException {
        if (SyntheticName.of(folder()) == null && !Files.exists(folder())) {
            throw new IOException(folder() + ": does not exist: "
                    + (model == null
                            ? "the bundled demo model is missing here, name a model with --model"
                            : "name the folder of a model in Hugging Face layout"));
        }
    }

    /// Runs the transformer on given inputs, in f32 unless another dtype is named.
    void logits(Console console, Path in, Path out, List<Integer> chunks) throws IOException {
        requireFolder();
        DType type = parse(dtype);
        DebugLogits.Settings settings =
                new DebugLogits.Settings(backend, threads, type == null ? DType.F32 : type, !unmapped, chunks);
        try (Loading loading = new Loading(console, name())) {
            DebugLogits.run(folder(), in, out, settings, loading::update);
        }
    }

    /// What is done with an image tokeniser.
    interface PictureTask {
        /// @return how many pictures there were
        int run(Path folder, DebugPictures.Settings settings, VqListener listener) throws IOException;
    }

    /// Runs the image tokeniser, in f32 unless another dtype is named, with a bar if it takes long.
    int pictures(Console console, String what, PictureTask task) throws IOException {
        requireFolder();
        DType type = parse(dtype);
        DebugPictures.Settings settings =
                new DebugPictures.Settings(backend, threads, type == null ? DType.F32 : type, !unmapped);
        try (Progress bar = console.progress(what, 0, "GFLOP")) {
            return task.run(folder(), settings, new VqListener() {
                @Override
                public void advanced(long done, long total) {
                    bar.update(done / GIGA, Math.max(1, total / GIGA), "");
                }

                @Override
                public boolean cancelled() {
                    return console.cancelled();
                }
            });
        }
    }

    /// Opens the model, with a bar while weights load.
    Engine open(Console console) throws IOException {
        return open(console, backend);
    }

    /// Opens the model on a backend of that name, whatever `--backend` says.
    Engine open(Console console, String backend) throws IOException {
        requireFolder();
        try (Loading loading = new Loading(console, name())) {
            EngineOptions options = EngineOptions.defaults()
                    .withBackend(backend)
                    .withThreads(threads)
                    .withDtype(parse(dtype))
                    .withMapping(!unmapped)
                    .withListener(loading::update);
            return Engine.open(folder(), options);
        }
    }

    /// What the model is and what a pass of it costs, without loading it.
    Inspection inspect(int window) throws IOException {
        requireFolder();
        EngineOptions options = EngineOptions.defaults()
                .withBackend(backend)
                .withThreads(threads)
                .withDtype(parse(dtype))
                .withMapping(!unmapped);
        return Engine.inspect(folder(), options, window);
    }

    /// A bar for models that take long enough to load.
    private static final class Loading implements AutoCloseable {
        private static final long LARGE = 256L << 20;

        private final Console console;
        private final String name;
        private @Nullable Progress bar;

        Loading(Console console, String name) {
            this.console = console;
            this.name = name;
        }

        void update(long done, long total) {
            if (bar == null && total >= LARGE) {
                bar = console.progress("loading " + name, total >> 20, "MB");
            }
            if (bar != null) {
                bar.update(done >> 20, total >> 20, "");
            }
        }

        @Override
        public void close() {
            if (bar != null) {
                bar.close();
            }
        }
    }

    private static @Nullable DType parse(@Nullable String name) {
        if (name == null) {
            return null;
        }
        return Arrays.stream(DType.values())
                .filter(type -> DTYPES.contains(name.toLowerCase(Locale.ROOT))
                        && type.name().equalsIgnoreCase(name))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException(
                        "--dtype: " + name + ": expected one of " + String.join(", ", DTYPES)));
    }
}
