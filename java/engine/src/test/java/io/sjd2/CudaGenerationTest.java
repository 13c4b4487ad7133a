package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.cuda.EmulatedDriver;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Whole pictures of the demo model on `cuda-emulated`, beside those of the CPU.
class CudaGenerationTest {
    private static final GenerationRequest REQUEST = GenerationRequest.of(
                    "a large red circle above a small blue square")
            .withSeed(5)
            .withImages(2);

    private static Engine cuda;
    private static Engine cpu;

    private static Path demo() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(here.resolve("models/demo"))) {
            here = here.getParent();
        }
        return here.resolve("models/demo");
    }

    @BeforeAll
    static void open() throws IOException {
        EmulatedDriver.open().close(); // skips the tests where it cannot be had
        EmulatedDriver.reset();
        EngineOptions options = EngineOptions.defaults().withDtype(DType.F32);
        cuda = Engine.open(demo(), options.withBackend("cuda-emulated"));
        cpu = Engine.open(demo(), options.withBackend("cpu"));
    }

    @AfterAll
    static void close() {
        if (cuda != null) {
            cuda.close();
            cpu.close();
        }
    }

    @ParameterizedTest
    @CsvSource({"ar, 1", "exact, 8", "sjd-gs, 16", "sjd2-mc, 16", "sjd2-exact, 32"})
    void picturesAreThoseOfTheCpu(String decoder, int window) {
        GenerationRequest request = REQUEST.withDecoder(decoder);
        if (window > 1) {
            request = request.withWindow(window);
        }
        List<GeneratedImage> expected = cpu.generate(request, GenerationListener.NONE);
        List<GeneratedImage> actual = cuda.generate(request, GenerationListener.NONE);
        for (int image = 0; image < expected.size(); image++) {
            int[] want = expected.get(image).tokens();
            int[] got = actual.get(image).tokens();
            assertThat(Arrays.mismatch(want, got))
                    .as("first position at which picture %d parts from the CPU's", image)
                    .isEqualTo(-1);
        }
    }

    @Test
    void aPassIsOneGraphAndOneWait() {
        long[] few = countsOf(32);
        long[] many = countsOf(4);
        long morePasses = many[0] - few[0];
        assertThat(morePasses).isGreaterThan(10);
        assertThat(many[1] - few[1]).as("launches of a graph").isEqualTo(morePasses);
        assertThat(many[2] - few[2]).as("waits").isEqualTo(morePasses);
        assertThat(many[3] - few[3]).as("pieces of work handed over otherwise").isLessThanOrEqualTo(3 * morePasses);
    }

    /// Passes, launches of a graph, waits, and everything that the stream was given.
    private static long[] countsOf(int window) {
        EmulatedDriver.reset();
        GenerationRequest request = REQUEST.withImages(1).withDecoder("exact").withWindow(window);
        List<GeneratedImage> images = cuda.generate(request, GenerationListener.NONE);
        return new long[] {
            images.getFirst().statistics().passes(),
            EmulatedDriver.count("cuGraphLaunch"),
            EmulatedDriver.count("cuStreamSynchronize"),
            EmulatedDriver.count("launches")
        };
    }
}
