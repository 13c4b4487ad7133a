package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// A decode iteration allocates nothing on the Java heap, by the thread's own counter.
class DecodeAllocationTest {
    private static final com.sun.management.ThreadMXBean THREADS =
            (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();

    private static final int PICTURES = 3;

    /// Reads the counter after every pass.
    private static final class Meter implements GenerationListener {
        private final long[] bytes = new long[512];
        private final boolean wasteful;
        private int passes;
        private int[] waste = {};

        Meter(boolean wasteful) {
            this.wasteful = wasteful;
        }

        @Override
        public void progress(long committed, long total, long pass) {
            if (wasteful) {
                waste = new int[waste.length + 1];
            }
            bytes[passes++] = THREADS.getCurrentThreadAllocatedBytes();
        }

        /// What each pass but the first allocated.
        long[] perPass() {
            long[] between = new long[passes - 1];
            for (int i = 0; i < between.length; i++) {
                between[i] = bytes[i + 1] - bytes[i];
            }
            return between;
        }
    }

    private static long[] allocations(String decoder, boolean wasteful) throws IOException {
        try (Engine engine =
                Engine.open(demo(), EngineOptions.defaults().withBackend("cpu").withThreads(1))) {
            GenerationRequest request =
                    GenerationRequest.of("a green star").withDecoder(decoder).withWindow(16);
            // The first picture pays for linking. The same picture takes the same passes each time, so what the engine
            // allocates in a pass comes again; what the Java runtime allocates once, as it tunes a handle, does not.
            engine.generate(request, GenerationListener.NONE);
            long[] least = {};
            for (int time = 0; time < PICTURES; time++) {
                Meter meter = new Meter(wasteful);
                engine.generate(request, meter);
                long[] here = meter.perPass();
                long[] before = time == 0 ? here : least;
                least = IntStream.range(0, here.length)
                        .mapToLong(i -> Math.min(here[i], before[i]))
                        .toArray();
            }
            return least;
        }
    }

    private static Path demo() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(here.resolve("models/demo"))) {
            here = here.getParent();
        }
        return here.resolve("models/demo");
    }

    @ParameterizedTest
    @ValueSource(strings = {"ar", "exact", "sjd-mc", "sjd2-mc"})
    void passesAllocateNothing(String decoder) throws IOException {
        long[] allocations = allocations(decoder, false);
        assertThat(allocations.length).isGreaterThan(10);
        assertThat(allocations).as("bytes allocated by each pass").containsOnly(0);
    }

    @Test
    void anAllocationPerPassIsSeen() throws IOException {
        long[] allocations = allocations("sjd-mc", true);
        assertThat(Arrays.stream(allocations).min().orElse(0)).isPositive();
    }
}
