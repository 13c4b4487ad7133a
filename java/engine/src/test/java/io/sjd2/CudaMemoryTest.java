package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.cuda.EmulatedDriver;
import io.sjd2.model.LoadListener;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerForward;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CancellationException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// A device with little memory, and one that is lost: what the engine says, and what works afterwards.
class CudaMemoryTest {
    private static final int ILLEGAL_ADDRESS = 700;
    private static final GenerationRequest REQUEST = GenerationRequest.of("a large red circle")
            .withSeed(1)
            .withDecoder("exact")
            .withGuidance(3.0);
    private static final Pattern WINDOW = Pattern.compile("window (\\d+) would fit");

    /// Ends a generation behind its first pass, when everything has been allocated, and notes what is free then.
    private static final class OnePass implements GenerationListener {
        private final Backend backend;
        private long free = -1;

        OnePass(Backend backend) {
            this.backend = backend;
        }

        @Override
        public void progress(long tokens, long total, long passes) {
            free = backend.freeMemory().orElseThrow();
        }

        @Override
        public boolean cancelled() {
            return free >= 0;
        }
    }

    private Backend backend;

    @BeforeEach
    void open() {
        backend = EmulatedDriver.open();
        EmulatedDriver.reset();
    }

    @AfterEach
    void close() {
        if (backend != null) {
            EmulatedDriver.reset();
            backend.close();
        }
    }

    private static Path demo() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(here.resolve("models/demo"))) {
            here = here.getParent();
        }
        return here.resolve("models/demo");
    }

    private static Engine engine(DType dtype) throws IOException {
        return Engine.open(
                demo(), EngineOptions.defaults().withBackend("cuda-emulated").withDtype(dtype));
    }

    /// Leaves so many bytes free, whatever is in use.
    private void leave(long bytes) {
        long plenty = 1L << 40;
        EmulatedDriver.setMemory(plenty);
        EmulatedDriver.setMemory(plenty - backend.freeMemory().orElseThrow() + bytes);
        assertThat(backend.freeMemory()).hasValue(bytes);
    }

    /// Bytes that one pass of a request takes.
    private long taken(Engine engine, GenerationRequest request) {
        long before = backend.freeMemory().orElseThrow();
        OnePass listener = new OnePass(backend);
        assertThatThrownBy(() -> engine.generate(request, listener)).isInstanceOf(CancellationException.class);
        return before - listener.free;
    }

    @ParameterizedTest
    @CsvSource({"F32, 2, 16", "BF16, 4, 100", "F32, 1, 1"})
    void theForwardPassTakesWhatIsForetold(DType dtype, int batch, int window) throws IOException {
        ModelDescription description = ModelDescription.read(demo());
        try (Transformer model = Transformer.load(backend, demo(), description, dtype, LoadListener.NONE)) {
            long before = backend.freeMemory().orElseThrow();
            long foretold = TransformerForward.bytes(model, dtype, batch, window, 280, 280);
            try (TransformerForward forward = new TransformerForward(model, batch, window, 280)) {
                assertThat(forward.backend()).isSameAs(backend);
                long taken = before - backend.freeMemory().orElseThrow();
                // State blocks and ids are not counted.
                assertThat(taken).isBetween(foretold, foretold + (64 << 10));
            }
        }
    }

    @Test
    void theWindowThatIsSaidToFitDoesFit() throws IOException {
        try (Engine engine = engine(DType.F32)) {
            GenerationRequest wide = REQUEST.withWindow(256);
            long free = taken(engine, wide) * 3 / 4;
            leave(free);
            KernelException refused =
                    catchThrowableOfType(KernelException.class, () -> engine.generate(wide, GenerationListener.NONE));
            assertThat(refused.outOfMemory()).isTrue();
            assertThat(refused)
                    .hasMessageContaining("1 picture with window 256 in f32 take ")
                    .hasMessageContaining(" of cuda-emulated are free; ");
            Matcher window = WINDOW.matcher(refused.getMessage());
            assertThat(window.find()).as(refused.getMessage()).isTrue();
            int fits = Integer.parseInt(window.group(1));
            assertThat(fits).isBetween(2, 255);
            assertThat(taken(engine, REQUEST.withWindow(fits))).isLessThanOrEqualTo(free);
        }
    }

    @Test
    void whereNoWindowFitsNarrowerNumbersOrTheCpuAreNamed() throws IOException {
        try (Engine engine = engine(DType.F32)) {
            leave(64 << 10);
            assertThatThrownBy(() -> engine.generate(REQUEST.withWindow(16), GenerationListener.NONE))
                    .isInstanceOf(KernelException.class)
                    .message()
                    .containsAnyOf("bf16 would fit: --dtype bf16", "no window would fit");
        }
    }

    @Test
    void picturesRunSideBySideAsMemoryAllows() throws IOException {
        try (Engine engine = engine(DType.F32)) {
            GenerationRequest eight = REQUEST.withImages(8).withWindow(16);
            long all = taken(engine, eight);
            leave(all * 3 / 4);
            assertThat(taken(engine, eight)).isBetween(all / 8, all * 3 / 4);
        }
    }

    @Test
    void weightsThatDoNotFitSayWhatTheyTake() {
        leave(3L << 20);
        assertThatThrownBy(() -> engine(DType.F32).close())
                .isInstanceOf(KernelException.class)
                .hasMessageContaining("needs")
                .hasMessageContaining("the weights take 0.")
                .hasMessageContaining("GiB in f32")
                .hasMessageContaining("--backend cpu");
    }

    @Test
    void aDeviceThatIsLostWhileGeneratingLeavesTheProcessAndTheCpu() throws IOException {
        Engine engine = engine(DType.F32);
        GenerationListener unplug = new GenerationListener() {
            @Override
            public void progress(long tokens, long total, long passes) {
                EmulatedDriver.loseDevice(ILLEGAL_ADDRESS, "unplugged");
            }
        };
        assertThatThrownBy(() -> engine.generate(REQUEST.withWindow(8), unplug))
                .isInstanceOf(KernelException.class)
                .hasMessageContaining("unplugged");
        engine.close();
        try (Backend cpu = Backends.open("cpu", 1)) {
            assertThat(cpu.freeMemory()).isEmpty();
        }
    }
}
