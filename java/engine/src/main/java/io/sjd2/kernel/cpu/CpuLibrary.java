package io.sjd2.kernel.cpu;

import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.ffm.NativeLibrary;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/// Finds and loads `libsjd2_cpu`, once per process.
///
/// The system property `sjd2.native.dir` names a folder that holds it; without it the library is taken out of the jar
/// into a private temporary folder, loaded and deleted again.
public final class CpuLibrary {
    /// Folder that holds the native libraries, instead of the jar.
    public static final String DIRECTORY_PROPERTY = "sjd2.native.dir";

    private static final String FILE_NAME = "libsjd2_cpu.so";

    private CpuLibrary() {}

    /// The library; a failure to load it is remembered and thrown again.
    ///
    /// @throws KernelException saying where it was looked for and what to do
    public static NativeLibrary get() {
        return Holder.OUTCOME.get();
    }

    /// Loading happens when this class is initialised: lazily, and once.
    private static final class Holder {
        static final Outcome OUTCOME = load();
    }

    private sealed interface Outcome {
        NativeLibrary get();

        record Loaded(NativeLibrary library) implements Outcome {
            @Override
            public NativeLibrary get() {
                return library;
            }
        }

        record Failed(String message, Throwable cause) implements Outcome {
            @Override
            public NativeLibrary get() {
                throw new KernelException(message, cause);
            }
        }
    }

    private static Outcome load() {
        try {
            String directory = System.getProperty(DIRECTORY_PROPERTY);
            return new Outcome.Loaded(directory == null ? loadFromJar() : loadFrom(Path.of(directory)));
        } catch (KernelException e) {
            return new Outcome.Failed(e.getMessage(), e);
        } catch (IOException e) {
            return new Outcome.Failed(
                    FILE_NAME + " could not be unpacked into " + System.getProperty("java.io.tmpdir") + ": "
                            + e.getMessage() + "; make room there, or set -D" + DIRECTORY_PROPERTY
                            + " to the folder that holds it",
                    e);
        }
    }

    private static NativeLibrary loadFrom(Path directory) {
        Path file = directory.resolve(FILE_NAME).toAbsolutePath();
        if (!Files.isRegularFile(file)) {
            throw new KernelException(
                    file + " does not exist; -D" + DIRECTORY_PROPERTY + " must name the folder that holds " + FILE_NAME,
                    0);
        }
        return open(file, file.toString());
    }

    private static NativeLibrary loadFromJar() throws IOException {
        String resource = "/META-INF/native/" + platform() + "/" + FILE_NAME;
        try (InputStream in = CpuLibrary.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new KernelException(
                        "this jar has no " + resource.substring(1) + ": the library was not built for " + platform()
                                + "; build it there with `mvn package`, or set -D" + DIRECTORY_PROPERTY
                                + " to the folder that holds " + FILE_NAME,
                        0);
            }
            // Created for the owner alone, so that nobody can put another library in its place before it is loaded.
            Path folder = Files.createTempDirectory("sjd2-native-");
            Path file = folder.resolve(FILE_NAME);
            try {
                Files.copy(in, file);
                return open(file, "jar:" + resource);
            } finally {
                // The mapping outlives the file.
                Files.deleteIfExists(file);
                Files.deleteIfExists(folder);
            }
        }
    }

    private static NativeLibrary open(Path file, String description) {
        SymbolLookup lookup;
        try {
            lookup = SymbolLookup.libraryLookup(file, Arena.global());
        } catch (IllegalArgumentException e) {
            throw new KernelException(
                    description + " cannot be loaded: " + e.getMessage()
                            + "; it may be built for another system, or its folder may be mounted without execute"
                            + " permission",
                    e);
        }
        return NativeLibrary.open(lookup, description);
    }

    private static String platform() {
        String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
        String machine = System.getProperty("os.arch");
        return (system.startsWith("linux") ? "linux" : system.replace(' ', '-')) + "-"
                + (machine.equals("amd64") ? "x86_64" : machine);
    }
}
