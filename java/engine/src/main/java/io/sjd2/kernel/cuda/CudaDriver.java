package io.sjd2.kernel.cuda;

import static jcuda.driver.JCudaDriver.cuDeviceGetCount;
import static jcuda.driver.JCudaDriver.cuDriverGetVersion;
import static jcuda.driver.JCudaDriver.cuInit;

import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.ffm.LibraryFile;
import io.sjd2.kernel.ffm.NativeLibrary;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;
import jcuda.LogLevel;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/// The CUDA driver of this process and the kernels for it: a real one, or the emulated one, loaded once.
///
/// Nothing of JCuda is touched before the driver is known to be there, as a class that failed to load stays broken.
final class CudaDriver {
    /// What a process can run on.
    enum Kind {
        /// An NVIDIA driver and `libsjd2_cuda`.
        DEVICE("libsjd2_cuda.so", ""),
        /// A driver, a cuBLAS and kernels on the CPU.
        EMULATED("libsjd2_cuda_emu.so", "emulated/");

        private final String kernels;
        private final String folder;

        Kind(String kernels, String folder) {
            this.kernels = kernels;
            this.folder = folder;
        }

        /// The kind's own libraries in the order in which each finds the ones that it needs.
        private List<String> preloaded() {
            return this == EMULATED ? List.of(DRIVER, "libcublas.so.12", "libcublas.so.13") : List.of();
        }
    }

    /// System property: the folder that holds `libsjd2_cuda.so`, or the emulated libraries, instead of the jar.
    static final String DIRECTORY_PROPERTY = "sjd2.cuda.dir";

    private static final String DRIVER = "libcuda.so.1";
    private static final String REMEDY =
            "build it where nvcc is, by `mvn verify` or `SJD2_CUDA=1 ./sjd2 doctor`, or use --backend cpu";
    static final String EMULATED_REMEDY = "it is made by `mvn verify` and not shipped";

    private static @Nullable CudaDriver loaded;

    private final Kind kind;
    private final NativeLibrary kernels;
    private final int version;
    private final int devices;

    private CudaDriver(Kind kind, NativeLibrary kernels, int version, int devices) {
        this.kind = kind;
        this.kernels = kernels;
        this.version = version;
        this.devices = devices;
    }

    /// The driver of this process, loaded if need be.
    ///
    /// @throws KernelException saying what is missing and what to do about it; a later call tries again
    static synchronized CudaDriver load(Kind kind) {
        if (loaded != null) {
            if (loaded.kind != kind) {
                throw new KernelException(
                        "this process runs "
                                + (loaded.kind == Kind.EMULATED ? "the emulated driver" : "the machine's driver")
                                + " already, and there is one driver in a process; start another",
                        0);
            }
            return loaded;
        }
        String remedy = kind == Kind.EMULATED ? EMULATED_REMEDY : REMEDY;
        Path directory = directory();
        if (find(kind).isEmpty()) {
            // Said by the lookup itself, before a driver is loaded for nothing.
            LibraryFile.use(directory, kind.folder, kind.kernels, remedy, (file, description) -> file);
        }
        for (String library : kind.preloaded()) {
            LibraryFile.use(directory, kind.folder, library, remedy, (file, description) -> {
                // By path, so that whatever needs a library of this name from now on is given this one.
                System.load(file.toString());
                return file;
            });
        }
        requireDriver();
        loadBinding();
        requireSuccess(cuInit(0), "cuInit");
        int[] version = new int[1];
        requireSuccess(cuDriverGetVersion(version), "cuDriverGetVersion");
        int[] devices = new int[1];
        requireSuccess(cuDeviceGetCount(devices), "cuDeviceGetCount");
        NativeLibrary kernels = LibraryFile.use(directory, kind.folder, kind.kernels, remedy, LibraryFile::open);
        loaded = new CudaDriver(kind, kernels, version[0], devices[0]);
        return loaded;
    }

    /// Where the kernels' library lies, if it does; loads nothing.
    static Optional<String> find(Kind kind) {
        Path directory = directory();
        if (directory == null) {
            return LibraryFile.inJar(kind.folder, kind.kernels) ? Optional.of("the jar") : Optional.empty();
        }
        return Files.isRegularFile(directory.resolve(kind.kernels))
                ? Optional.of(directory.toString())
                : Optional.empty();
    }

    private static @Nullable Path directory() {
        String own = System.getProperty(DIRECTORY_PROPERTY);
        return own == null ? LibraryFile.directory() : Path.of(own);
    }

    private static void requireDriver() {
        try {
            SymbolLookup.libraryLookup(DRIVER, Arena.global());
        } catch (IllegalArgumentException e) {
            throw new KernelException(
                    "there is no NVIDIA driver: " + DRIVER + " cannot be loaded; install the driver, or run with"
                            + " --backend cpu",
                    e);
        }
    }

    private static void loadBinding() {
        withPrivateFolder(() -> {
            JCudaDriver.setLogLevel(LogLevel.LOG_QUIET);
            // Results are looked at call by call, where the operation and the shapes are known.
            JCudaDriver.setExceptionsEnabled(false);
        });
    }

    /// JCuda unpacks its library to a fixed name in the temporary folder and takes what lies there unchecked. It reads
    /// the folder's name when its class is initialised, so for that moment it is given a private one.
    static synchronized void withPrivateFolder(Runnable load) {
        String shared = Objects.requireNonNull(System.getProperty("java.io.tmpdir"), "java.io.tmpdir");
        Path folder = null;
        try {
            folder = Files.createTempDirectory("sjd2-jcuda-");
            System.setProperty("java.io.tmpdir", folder.toString());
            load.run();
        } catch (IOException e) {
            throw new KernelException(
                    "JCuda cannot be unpacked into " + shared + ": " + e
                            + "; make room there, or name another folder with -Djava.io.tmpdir",
                    e);
        } catch (LinkageError e) {
            throw new KernelException(
                    "JCuda cannot be loaded: " + firstLine(e) + "; put jcuda and its natives for this platform on the"
                            + " class path",
                    e);
        } finally {
            System.setProperty("java.io.tmpdir", shared);
            deleteFolder(folder);
        }
    }

    private static void deleteFolder(@Nullable Path folder) {
        if (folder == null) {
            return;
        }
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new KernelException(folder + " cannot be removed: " + e.getMessage(), e);
        }
    }

    private static String firstLine(Throwable t) {
        return String.valueOf(t.getMessage()).lines().findFirst().orElse(t.toString());
    }

    private static void requireSuccess(int result, String operation) {
        if (result != 0) {
            throw CudaErrors.failure(result, operation, "the CUDA driver", "");
        }
    }

    Kind kind() {
        return kind;
    }

    /// The kernels for this driver.
    NativeLibrary kernels() {
        return kernels;
    }

    /// The newest CUDA that the driver serves: `13.0`.
    String version() {
        return version / 1000 + "." + version % 1000 / 10;
    }

    int devices() {
        return devices;
    }
}
