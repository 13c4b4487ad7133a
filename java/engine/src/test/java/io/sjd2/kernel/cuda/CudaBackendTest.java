package io.sjd2.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.ffm.NativeLibrary;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The host side of the CUDA backend on the fake driver: memory, copies, order, graphs, and what goes wrong.
class CudaBackendTest {
    private static final int ILLEGAL_ADDRESS = 700;
    private static final int UNKNOWN = 999;

    private Backend backend;
    private Arena arena;
    private long before;

    @BeforeEach
    void open() {
        backend = EmulatedDriver.open();
        EmulatedDriver.reset();
        arena = Arena.ofShared();
        before = EmulatedDriver.liveAllocations();
    }

    @AfterEach
    void closeAndCountWhatIsLeft() {
        if (backend == null) {
            return; // skipped
        }
        EmulatedDriver.reset();
        backend.close();
        if (arena.scope().isAlive()) {
            arena.close();
        }
        assertThat(EmulatedDriver.liveAllocations()).as("device allocations").isLessThanOrEqualTo(before);
    }

    private Tensor ofInts(int... values) {
        Tensor t = backend.allocate(arena, DType.I32, values.length);
        backend.upload(t, MemorySegment.ofArray(values));
        return t;
    }

    private int[] read(Tensor t) {
        int[] out = new int[(int) t.elements()];
        backend.download(MemorySegment.ofArray(out), t);
        return out;
    }

    @Test
    void memoryIsZeroedAndFreedWithItsArena() {
        try (Arena own = Arena.ofConfined()) {
            Tensor t = backend.allocate(own, DType.F32, 3, 5);
            assertThat(t.data().address() % 64).isZero();
            float[] out = new float[15];
            backend.download(MemorySegment.ofArray(out), t);
            assertThat(out).containsOnly(0f);
            assertThat(EmulatedDriver.liveAllocations()).isEqualTo(before + 1);
        }
        assertThat(EmulatedDriver.liveAllocations()).isEqualTo(before);
    }

    @Test
    void anEmptyTensorIsATensor() {
        Tensor t = backend.allocate(arena, DType.F32, 0, 7);
        backend.upload(t, MemorySegment.ofArray(new float[0]));
        backend.download(MemorySegment.ofArray(new float[0]), t);
        assertThat(t.bytes()).isZero();
    }

    /// Halves of the staging memory are reused while copies are pending, which the fake driver runs as late as it can.
    @ParameterizedTest
    @ValueSource(ints = {1, 1 << 20, (1 << 20) + 1, 5 << 20})
    void copiesOfAnySizeArriveWhole(int ints) {
        int[] values = new int[ints];
        Arrays.setAll(values, i -> i * 31 + 7);
        int[] overwritten = values.clone();
        Tensor t = backend.allocate(arena, DType.I32, ints);
        backend.upload(t, MemorySegment.ofArray(overwritten));
        Arrays.fill(overwritten, -1);
        Tensor second = ofInts(5, 6);
        assertThat(read(t)).isEqualTo(values);
        assertThat(read(second)).containsExactly(5, 6);
    }

    @Test
    void aCopyOfAnotherSizeIsRefused() {
        Tensor t = ofInts(1, 2);
        assertThatThrownBy(() -> backend.upload(t, MemorySegment.ofArray(new int[3])))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("upload: src has 12 bytes, expected the 8 of i32[2]");
        assertThatThrownBy(() -> backend.download(MemorySegment.ofArray(new int[1]), t))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void aSmallReadWaitsOnce() {
        Tensor t = ofInts(1, 2, 3);
        backend.synchronize();
        EmulatedDriver.reset();
        read(t);
        assertThat(EmulatedDriver.count("cuStreamSynchronize")).isEqualTo(1);
    }

    @Test
    void anyThreadMayUseItInTurn() {
        Tensor t = ofInts(4);
        assertThat(CompletableFuture.supplyAsync(() -> read(t)[0]).join()).isEqualTo(4);
        CompletableFuture.runAsync(arena::close).join();
        assertThat(EmulatedDriver.liveAllocations()).isEqualTo(before);
    }

    @Test
    void memoryOutlivesItsBackend() {
        ofInts(1);
        backend.close();
        backend.close();
        arena.close();
        assertThat(EmulatedDriver.liveAllocations()).isLessThanOrEqualTo(before);
        assertThatThrownBy(() -> backend.allocate(arena, DType.F32, 1))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("is closed");
        backend = EmulatedDriver.open();
    }

    @Test
    void outOfMemorySaysWhatWasNeededAndWhatIsFree() {
        EmulatedDriver.setMemory(1L << 30);
        KernelException e =
                catchThrowableOfType(KernelException.class, () -> backend.allocate(arena, DType.F32, 4, 1 << 27));
        assertThat(e.status()).isEqualTo(NativeLibrary.OUT_OF_MEMORY);
        assertThat(e)
                .hasMessageContaining("f32[4, 134217728] needs 2048.0 MiB")
                .hasMessageContaining("of 1024.0 MiB are free");
        assertThat(read(ofInts(3))).as("it can be used on").containsExactly(3);
    }

    @Test
    void aLostDeviceFailsEveryCallAndLeavesTheProcessAlive() {
        Tensor t = ofInts(1);
        Tensor from = backend.allocate(arena, DType.F32, 3);
        Tensor to = backend.allocate(arena, DType.BF16, 3);
        EmulatedDriver.loseDevice(ILLEGAL_ADDRESS, "a kernel wrote where it must not");
        for (Runnable use : new Runnable[] {
            () -> read(t),
            backend::synchronize,
            () -> backend.upload(t, MemorySegment.ofArray(new int[1])),
            () -> backend.allocate(arena, DType.F32, 1),
            () -> backend.kernels().convert(to, from)
        }) {
            assertThat(catchThrowableOfType(KernelException.class, use::run))
                    .extracting(KernelException::status)
                    .isEqualTo(NativeLibrary.DEVICE_LOST);
        }
        assertThatThrownBy(backend::synchronize).hasMessageContaining("a kernel wrote where it must not");
        backend.close();
        arena.close();
    }

    @Test
    void aRefusedCallNamesItselfAndTheDevice() {
        EmulatedDriver.fail("cuMemcpyHtoDAsync_v2", 0, UNKNOWN);
        Tensor t = backend.allocate(arena, DType.I32, 2);
        assertThatThrownBy(() -> backend.upload(t, MemorySegment.ofArray(new int[2])))
                .isInstanceOf(KernelException.class)
                .hasMessageContaining("upload on emulated device 0 failed: CUDA_ERROR_UNKNOWN")
                .hasMessageContaining("8 bytes");
    }

    @Test
    void recurringWorkIsRecordedAtItsSecondRunAndReplayed() {
        float[] values = {1.5f, -2.25f, 3};
        Tensor from = backend.allocate(arena, DType.F32, 3);
        Tensor to = backend.allocate(arena, DType.F32, 3);
        int[] enqueued = new int[1];
        try (Backend.Recurring copy = backend.recurring(() -> {
            enqueued[0]++;
            backend.kernels().convert(to, from);
        })) {
            for (int run = 0; run < 5; run++) {
                values[0] = run;
                backend.upload(from, MemorySegment.ofArray(values));
                copy.run();
                float[] out = new float[3];
                backend.download(MemorySegment.ofArray(out), to);
                assertThat(out).as("run " + run).containsExactly(values);
            }
        }
        assertThat(enqueued[0]).isEqualTo(2);
        assertThat(EmulatedDriver.count("cuGraphLaunch")).isEqualTo(4);
        assertThat(EmulatedDriver.count("cuGraphExecDestroy")).isEqualTo(1);
    }

    @Test
    void workThatMayNotBeRecordedIsRefusedAndTheStreamGoesOn() {
        Tensor t = ofInts(8);
        try (Backend.Recurring waits = backend.recurring(backend::synchronize)) {
            waits.run();
            assertThatThrownBy(waits::run).isInstanceOf(KernelException.class).hasMessageContaining("captured");
        }
        assertThat(read(t)).containsExactly(8);
    }

    @Test
    void theOtherDriverCannotComeIntoTheSameProcess() {
        assertThatThrownBy(() -> CudaProvider.open(CudaDriver.Kind.DEVICE))
                .isInstanceOf(KernelException.class)
                .hasMessageContaining("there is one driver in a process");
    }

    @Test
    void doctorTellsDriverDeviceLibraryAndProducts() {
        assertThat(CudaProvider.probe(CudaDriver.Kind.EMULATED).detail())
                .anyMatch(line -> line.startsWith("driver for CUDA 12.8, 1 device"))
                .anyMatch(line -> line.startsWith("emulated device 0, sm90, 4 multiprocessors, "))
                .anyMatch(line -> line.startsWith("library "))
                .anyMatch(line -> line.startsWith("products of prompts of more than 128 rows by CUDA 12's cuBLAS")
                        && line.contains("; it is cuBLAS 12.6 through JCublas; cuBLAS here: libcublas.so.12"));
        assertThat(new EmulatedCudaProvider().probe(1).available()).isTrue();
    }

    @Test
    void itSaysWhatTrains() {
        assertThatThrownBy(backend::training)
                .isInstanceOf(UnsupportedOperationException.class)
                .hasMessageContaining("--backend cpu");
    }
}
