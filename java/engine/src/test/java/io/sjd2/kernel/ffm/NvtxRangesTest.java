package io.sjd2.kernel.ffm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/// Ranges open and close around operations, with a tools extension that is this test.
class NvtxRangesTest {
    private static final List<String> SEEN = new ArrayList<>();

    private Arena arena;
    private NvtxRanges ranges;

    /// Takes the place of `nvtxRangePushA`.
    static int push(MemorySegment name) {
        SEEN.add("+" + name.reinterpret(256).getString(0));
        return 0;
    }

    /// Takes the place of `nvtxRangePop`.
    static int pop() {
        SEEN.add("-");
        return 0;
    }

    @BeforeEach
    void standIn() throws ReflectiveOperationException {
        SEEN.clear();
        arena = Arena.ofConfined();
        MethodHandles.Lookup lookup = MethodHandles.lookup();
        Linker linker = Linker.nativeLinker();
        MemorySegment push = linker.upcallStub(
                lookup.findStatic(NvtxRangesTest.class, "push", MethodType.methodType(int.class, MemorySegment.class)),
                FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS),
                arena);
        MemorySegment pop = linker.upcallStub(
                lookup.findStatic(NvtxRangesTest.class, "pop", MethodType.methodType(int.class)),
                FunctionDescriptor.of(ValueLayout.JAVA_INT),
                arena);
        ranges = new NvtxRanges(push, pop);
    }

    @AfterEach
    void close() {
        arena.close();
    }

    @Test
    void everyOperationHasItsRangeInsideItsStep() {
        try (Backend backend = Backends.open("reference", 1)) {
            Kernels kernels = ranges.of(backend.kernels());
            Tensor words = backend.allocate(arena, DType.I32, 8);
            Tensor plain = backend.allocate(arena, DType.I32, 8);
            ranges.of(NvtxRanges.DECODE_STEP, () -> kernels.philoxWords(words, 7, 1, 2, 3))
                    .run();
            assertThat(SEEN).containsExactly("+decode_step", "+philox_words", "-", "-");
            backend.kernels().philoxWords(plain, 7, 1, 2, 3);
            assertThat(words.data().mismatch(plain.data())).isEqualTo(-1);
        }
    }

    @Test
    void aRefusedOperationClosesItsRange() {
        try (Backend backend = Backends.open("reference", 1)) {
            Kernels kernels = ranges.of(backend.kernels());
            Tensor wrong = backend.allocate(arena, DType.F32, 8);
            assertThatIllegalArgumentException().isThrownBy(() -> kernels.philoxWords(wrong, 7, 1, 2, 3));
            assertThat(SEEN).containsExactly("+philox_words", "-");
        }
    }

    @Test
    void namesAreThoseOfTheOperations() {
        assertThat(NvtxRanges.stem("attention")).isEqualTo("attention");
        assertThat(NvtxRanges.stem("rmsNormAdd")).isEqualTo("rms_norm_add");
    }

    @Test
    void nothingStandsBetweenUnlessAskedFor() {
        try (Backend backend = Backends.open("reference", 1)) {
            assertThat(NvtxRanges.around(backend.kernels())).isSameAs(backend.kernels());
        }
    }
}
