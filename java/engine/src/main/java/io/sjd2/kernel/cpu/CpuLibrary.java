package io.sjd2.kernel.cpu;

import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.ffm.LibraryFile;
import io.sjd2.kernel.ffm.NativeLibrary;

/// Finds and loads `libsjd2_cpu`, once per process.
///
/// The system property `sjd2.native.dir` names a folder that holds it; without it the library is taken out of the jar.
public final class CpuLibrary {
    /// Folder that holds the native libraries, instead of the jar.
    public static final String DIRECTORY_PROPERTY = LibraryFile.DIRECTORY_PROPERTY;

    private static final String FILE_NAME = "libsjd2_cpu.so";

    private CpuLibrary() {}

    /// The library; a failure to load it is remembered and thrown again.
    ///
    /// @throws KernelException saying where it was looked for and what to do
    public static NativeLibrary get() {
        return Holder.OUTCOME.get();
    }

    /// A hash of the library's file; changes with every change of a kernel.
    static String fingerprint() {
        return Fingerprint.VALUE;
    }

    /// Computed when it is first asked for: nobody waits for it who does not need it.
    private static final class Fingerprint {
        static final String VALUE =
                LibraryFile.fingerprint(LibraryFile.directory(), "", FILE_NAME, "build it there with `mvn package`");
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
            return new Outcome.Loaded(LibraryFile.use(
                    LibraryFile.directory(), "", FILE_NAME, "build it there with `mvn package`", LibraryFile::open));
        } catch (KernelException e) {
            return new Outcome.Failed(e.getMessage(), e);
        }
    }
}
