package io.sjd2.kernel.ffm;

import io.sjd2.kernel.KernelException;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// Finds native libraries of this project: in a folder that is named, or inside the jar.
///
/// Out of the jar a library goes into a private temporary folder, is loaded and deleted again.
public final class LibraryFile {
    /// System property: the folder that holds the native libraries, instead of the jar.
    public static final String DIRECTORY_PROPERTY = "sjd2.native.dir";

    private LibraryFile() {}

    /// What is done with a file while it is there; a library that it loads stays.
    @FunctionalInterface
    public interface Use<T> {
        /// @param description  for messages: where the file came from
        T with(Path file, String description);
    }

    /// The folder that {@link #DIRECTORY_PROPERTY} names; null if the jar is to be searched.
    public static @Nullable Path directory() {
        String directory = System.getProperty(DIRECTORY_PROPERTY);
        return directory == null ? null : Path.of(directory);
    }

    /// Whether the jar holds the library for this platform.
    ///
    /// @param folder  below the platform's own, with a slash behind; or empty
    public static boolean inJar(String folder, String fileName) {
        return LibraryFile.class.getResource(resource(folder, fileName)) != null;
    }

    /// Uses a library's file.
    ///
    /// @param directory  where to look; null takes the library out of the jar
    /// @param folder     in the jar, below the platform's own, with a slash behind; or empty
    /// @param remedy     what to do if the jar has no such library
    /// @throws KernelException saying where it was looked for and what to do
    public static <T> T use(@Nullable Path directory, String folder, String fileName, String remedy, Use<T> use) {
        try {
            return directory == null
                    ? fromJar(resource(folder, fileName), fileName, remedy, use)
                    : fromFolder(directory, fileName, use);
        } catch (IOException e) {
            throw new KernelException(
                    fileName + " could not be unpacked into " + System.getProperty("java.io.tmpdir") + ": "
                            + e.getMessage() + "; make room there, or set -D" + DIRECTORY_PROPERTY
                            + " to the folder that holds it",
                    e);
        }
    }

    /// A short hash of a library's bytes; parameters and failures as those of {@link #use}.
    public static String fingerprint(@Nullable Path directory, String folder, String fileName, String remedy) {
        return use(directory, folder, fileName, remedy, (file, description) -> {
            try {
                byte[] hash = MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
                return HexFormat.of().formatHex(hash, 0, 8);
            } catch (IOException e) {
                throw new KernelException(description + " cannot be read: " + e.getMessage(), e);
            } catch (NoSuchAlgorithmException e) {
                throw new AssertionError("every Java platform has SHA-256", e);
            }
        });
    }

    private static <T> T fromFolder(Path directory, String fileName, Use<T> use) {
        Path file = directory.resolve(fileName).toAbsolutePath();
        if (!Files.isRegularFile(file)) {
            throw new KernelException(
                    file + " does not exist; -D" + DIRECTORY_PROPERTY + " must name the folder that holds " + fileName,
                    0);
        }
        return use.with(file, file.toString());
    }

    private static <T> T fromJar(String resource, String fileName, String remedy, Use<T> use) throws IOException {
        try (InputStream in = LibraryFile.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new KernelException(
                        "this jar has no " + resource.substring(1) + ": the library was not built for " + platform()
                                + "; " + remedy + ", or set -D" + DIRECTORY_PROPERTY + " to the folder that holds "
                                + fileName,
                        0);
            }
            // Created for the owner alone, so that nobody can put another library in its place before it is loaded.
            Path folder = Files.createTempDirectory("sjd2-native-");
            Path file = folder.resolve(fileName);
            try {
                Files.copy(in, file);
                return use.with(file, "jar:" + resource);
            } finally {
                // The mapping outlives the file.
                Files.deleteIfExists(file);
                Files.deleteIfExists(folder);
            }
        }
    }

    /// Opens a library of {@link NativeLibrary}'s ABI.
    public static NativeLibrary open(Path file, String description) {
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

    private static String resource(String folder, String fileName) {
        return "/META-INF/native/" + platform() + "/" + folder + fileName;
    }

    private static String platform() {
        String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
        String machine = System.getProperty("os.arch");
        return (system.startsWith("linux") ? "linux" : system.replace(' ', '-')) + "-"
                + (machine.equals("amd64") ? "x86_64" : machine);
    }
}
