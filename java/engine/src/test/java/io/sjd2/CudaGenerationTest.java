package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.BackendComparison.Parting;
import io.sjd2.kernel.cuda.EmulatedDriver;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Whole pictures of the demo model by the CUDA kernels on the emulated device, beside those of the CPU.
class CudaGenerationTest {
    private static final GenerationRequest REQUEST = GenerationRequest.of(
                    "a large red circle above a small blue square")
            .withSeed(5)
            .withImages(1)
            .withGuidance(1.0);

    /// By how much two backends' logits may differ, in nats: a few hundred terms added up in another order, six layers
    /// deep. In bf16 every layer rounds to 8 bits beside.
    private static final double F32_ROUNDING = 1e-3;

    private static final double BF16_ROUNDING = 0.5;

    private static Engine cuda;
    private static Engine cpu;

    private static Path demo() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(here.resolve("models/demo"))) {
            here = here.getParent();
        }
        return here.resolve("models/demo");
    }

    private static Engine open(String backend, DType dtype) throws IOException {
        return Engine.open(demo(), EngineOptions.defaults().withBackend(backend).withDtype(dtype));
    }

    @BeforeAll
    static void open() throws IOException {
        EmulatedDriver.open().close(); // skips the tests where it cannot be had
        EmulatedDriver.reset();
        cuda = open("cuda-emulated", DType.F32);
        cpu = open("cpu", DType.F32);
    }

    @AfterAll
    static void close() {
        if (cuda != null) {
            cuda.close();
            cpu.close();
        }
    }

    /// Two pictures side by side with guidance: four sequences.
    @Test
    void exactIsTheCpusPicture() {
        GenerationRequest request =
                REQUEST.withDecoder("exact").withWindow(4).withImages(2).withGuidance(3.0);
        assertPartsOnlyByRounding(BackendComparison.run(cpu, cuda, request, GenerationListener.NONE), F32_ROUNDING);
    }

    @Test
    void inBf16PicturesPartOnlyByRounding() throws IOException {
        try (Engine cudaHalf = open("cuda-emulated", DType.BF16);
                Engine cpuHalf = open("cpu", DType.BF16)) {
            GenerationRequest request = REQUEST.withDecoder("exact").withWindow(16);
            assertPartsOnlyByRounding(
                    BackendComparison.run(cpuHalf, cudaHalf, request, GenerationListener.NONE), BF16_ROUNDING);
        }
    }

    private static void assertPartsOnlyByRounding(BackendComparison comparison, double rounding) {
        for (Parting parting : comparison.partings()) {
            System.out.println("cpu and cuda-emulated part: " + parting + ", logit gap " + parting.logitGap());
        }
        assertThat(comparison.partings()).allSatisfy(parting -> {
            assertThat(parting.explainedByLogits()).isTrue();
            assertThat(parting.logitGap()).isLessThan(rounding);
        });
    }

    /// Nothing but a tie within rounding could part them, and this seed has none.
    @ParameterizedTest
    @CsvSource({"ar, 1", "sjd-gs, 16", "sjd2-mc, 16", "sjd2-exact, 16"})
    void picturesAreThoseOfTheCpu(String decoder, int window) {
        GenerationRequest request = REQUEST.withDecoder(decoder);
        if (window > 1) {
            request = request.withWindow(window);
        }
        int[] want = cpu.generate(request, GenerationListener.NONE).getFirst().tokens();
        int[] got = cuda.generate(request, GenerationListener.NONE).getFirst().tokens();
        assertThat(Arrays.mismatch(want, got))
                .as("first position at which the picture parts from the CPU's")
                .isEqualTo(-1);
    }

    /// They take turns, on other threads than the one that opened the engine, and on one recording.
    @Test
    void twoAtATimeGetTheirOwnPictures() {
        EmulatedDriver.reset();
        GenerationRequest request = REQUEST.withDecoder("exact").withWindow(32);
        List<CompletableFuture<int[]>> pictures = Stream.of(5, 6)
                .map(seed -> CompletableFuture.supplyAsync(
                        () -> cuda.generate(request.withSeed(seed), GenerationListener.NONE)
                                .getFirst()
                                .tokens()))
                .toList();
        for (int i = 0; i < pictures.size(); i++) {
            int[] want = cpu.generate(request.withSeed(5 + i), GenerationListener.NONE)
                    .getFirst()
                    .tokens();
            assertThat(pictures.get(i).join()).as("picture %d", i).containsExactly(want);
        }
        assertThat(EmulatedDriver.count("cuGraphInstantiateWithFlags")).isEqualTo(1);
    }

    @Test
    void aPassIsOneGraphAndOneWait() {
        long[] few = countsOf(16);
        long[] many = countsOf(4);
        long morePasses = many[0] - few[0];
        assertThat(morePasses).isGreaterThan(10);
        assertThat(many[1] - few[1]).as("launches of a graph").isEqualTo(morePasses);
        assertThat(many[2] - few[2]).as("waits").isEqualTo(morePasses);
        assertThat(many[3] - few[3]).as("pieces of work handed over otherwise").isLessThanOrEqualTo(3 * morePasses);
        long[] again = countsOf(16);
        assertThat(again[0]).as("passes of the same picture").isEqualTo(few[0]);
        assertThat(again[1]).as("launches: what was recorded for it is kept").isEqualTo(few[0]);
        assertThat(again[4]).as("recordings").isZero();
    }

    /// Passes, launches of a graph, waits, everything that the stream was given, and recordings.
    private static long[] countsOf(int window) {
        EmulatedDriver.reset();
        GenerationRequest request = REQUEST.withDecoder("exact").withWindow(window);
        List<GeneratedImage> images = cuda.generate(request, GenerationListener.NONE);
        return new long[] {
            images.getFirst().statistics().passes(),
            EmulatedDriver.count("cuGraphLaunch"),
            EmulatedDriver.count("cuStreamSynchronize"),
            EmulatedDriver.count("launches"),
            EmulatedDriver.count("cuGraphInstantiateWithFlags")
        };
    }
}
