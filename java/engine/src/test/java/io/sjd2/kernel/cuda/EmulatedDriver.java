package io.sjd2.kernel.cuda;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;

/// What the fake driver offers beside the driver API (`cuda/emulation/driver/fake_driver.h`).
public final class EmulatedDriver {
    private static final Linker LINKER = Linker.nativeLinker();

    private EmulatedDriver() {}

    /// Opens the backend, or skips the test where its libraries were not built or the machine's own driver is in use.
    public static Backend open() {
        assumeTrue(
                CudaDriver.find(CudaDriver.Kind.EMULATED).isPresent(),
                "the emulated CUDA libraries are not here: build them and set -D" + CudaDriver.DIRECTORY_PROPERTY);
        try {
            return CudaProvider.open(CudaDriver.Kind.EMULATED);
        } catch (KernelException e) {
            assumeTrue(!e.getMessage().contains("the machine's driver already"), e.getMessage());
            throw e;
        }
    }

    /// The same, with that much of NVIDIA's library: `auto`, `own` or `cublas`.
    public static Backend openWithProducts(String products) {
        System.setProperty(CudaBackend.PRODUCTS_PROPERTY, products);
        try {
            return open();
        } finally {
            System.clearProperty(CudaBackend.PRODUCTS_PROPERTY);
        }
    }

    /// The same, for work that no graph may hold: each iteration runs kernel by kernel.
    public static Backend openWithoutGraphs() {
        System.setProperty(CudaBackend.GRAPHS_PROPERTY, "false");
        try {
            return open();
        } finally {
            System.clearProperty(CudaBackend.GRAPHS_PROPERTY);
        }
    }

    /// How often a driver function was called since the last {@link #reset}.
    public static long count(String function) {
        try (Arena arena = Arena.ofConfined()) {
            return (long) LINKER.downcallHandle(
                            symbol("sjd2_emu_count"), FunctionDescriptor.of(ValueLayout.JAVA_LONG, ValueLayout.ADDRESS))
                    .invokeExact(arena.allocateFrom(function));
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    /// The call of `function` after the next `skip` ones answers `result`.
    public static void fail(String function, int skip, int result) {
        try (Arena arena = Arena.ofConfined()) {
            LINKER.downcallHandle(
                            symbol("sjd2_emu_fail"),
                            FunctionDescriptor.ofVoid(ValueLayout.ADDRESS, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT))
                    .invokeExact(arena.allocateFrom(function), skip, result);
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    /// Every call fails from now on, with that result.
    public static void loseDevice(int result, String message) {
        try (Arena arena = Arena.ofConfined()) {
            LINKER.downcallHandle(
                            symbol("sjd2_emu_lose_device"),
                            FunctionDescriptor.ofVoid(ValueLayout.JAVA_INT, ValueLayout.ADDRESS))
                    .invokeExact(result, arena.allocateFrom(message));
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    /// The device has so much memory from now on, what is in use included.
    public static void setMemory(long bytes) {
        try {
            LINKER.downcallHandle(symbol("sjd2_emu_set_memory"), FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG))
                    .invokeExact(bytes);
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    public static long liveAllocations() {
        try {
            return (long) LINKER.downcallHandle(
                            symbol("sjd2_emu_live_allocations"), FunctionDescriptor.of(ValueLayout.JAVA_LONG))
                    .invokeExact();
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    /// Forgets counts, failures, limits and a loss.
    public static void reset() {
        try {
            LINKER.downcallHandle(symbol("sjd2_emu_reset"), FunctionDescriptor.ofVoid())
                    .invokeExact();
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    /// The driver is in the process already, wherever it was loaded from.
    private static MemorySegment symbol(String name) {
        return SymbolLookup.libraryLookup("libcuda.so.1", Arena.global()).findOrThrow(name);
    }
}
