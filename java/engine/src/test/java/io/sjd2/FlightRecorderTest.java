package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.ParseException;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;
import jdk.jfr.Configuration;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Records generations with the settings that the repository offers, and reads the events back.
class FlightRecorderTest {
    private static final int WINDOW = 24;
    private static final int TOKENS = 256;
    private static final String PREFIX = "io.sjd2.";

    @TempDir
    static Path folder;

    private static GeneratedImage one;
    private static List<GeneratedImage> two;
    private static List<RecordedEvent> events;

    private static Path home() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(here.resolve("models/demo"))) {
            here = here.getParent();
        }
        return here;
    }

    @BeforeAll
    static void record() throws IOException, ParseException {
        Configuration settings = Configuration.create(home().resolve("benchmarks/profile/sjd2.jfc"));
        Path file = folder.resolve("generation.jfr");
        GenerationRequest request =
                GenerationRequest.of("a green star").withWindow(WINDOW).withSeed(5);
        try (Engine engine = Engine.open(home().resolve("models/demo"), EngineOptions.defaults());
                Recording recording = new Recording(settings)) {
            engine.generate(request.withSeed(1), GenerationListener.NONE);
            recording.start();
            one = engine.generate(request, GenerationListener.NONE).getFirst();
            two = engine.generate(request.withDecoder("sjd-mc").withImages(2), GenerationListener.NONE);
            recording.stop();
            recording.dump(file);
        }
        events = RecordingFile.readAllEvents(file);
    }

    private static List<RecordedEvent> of(String name) {
        return events.stream()
                .filter(event -> event.getEventType().getName().equals(PREFIX + name))
                .sorted(Comparator.comparing(RecordedEvent::getStartTime))
                .toList();
    }

    /// Those of the first generation, which ends before the second begins.
    private static List<RecordedEvent> ofFirst(String name) {
        RecordedEvent first = of("Generation").getFirst();
        return of(name).stream()
                .filter(event -> !event.getStartTime().isAfter(first.getEndTime()))
                .toList();
    }

    @Test
    void aGenerationSaysWhatItWas() {
        List<RecordedEvent> generations = of("Generation");
        assertThat(generations).hasSize(2);
        RecordedEvent first = generations.getFirst();
        assertThat(first.getString("decoder")).isEqualTo("sjd2-mc");
        assertThat(first.getInt("window")).isEqualTo(WINDOW);
        assertThat(first.getBoolean("autoWindow")).isFalse();
        assertThat(first.getLong("seed")).isEqualTo(5);
        assertThat(first.getLong("tokens")).isEqualTo(TOKENS);
        assertThat(first.getLong("passes")).isEqualTo(one.statistics().passes());
        assertThat(first.getBoolean("finished")).isTrue();
        assertThat(first.getDuration()).isPositive();
        assertThat(generations.getLast().getLong("tokens")).isEqualTo(2 * TOKENS);
        assertThat(generations.getLast().getInt("pictures")).isEqualTo(2);
    }

    @Test
    void iterationsAddUpToThePicture() {
        List<RecordedEvent> iterations = ofFirst("Iteration");
        assertThat(iterations).hasSize(one.statistics().passes());
        int committed = 0;
        for (int i = 0; i < iterations.size(); i++) {
            RecordedEvent iteration = iterations.get(i);
            int rows = Math.min(WINDOW, TOKENS - committed);
            assertThat(iteration.getInt("iteration")).isEqualTo(i + 1);
            assertThat(levels(iteration).stream().mapToInt(Integer::intValue).sum())
                    .as("slots of iteration %d by level", i + 1)
                    .isEqualTo(rows);
            committed += iteration.getInt("accepted");
            assertThat(iteration.getInt("committed")).isEqualTo(committed);
            assertThat(iteration.getInt("longestAccepted")).isEqualTo(iteration.getInt("accepted"));
            long phases = iteration.getLong("windowInput") + iteration.getLong("forward") + iteration.getLong("verify");
            assertThat(phases).isPositive().isLessThan(iteration.getDuration().toNanos() * 101 / 100 + 1000);
        }
        assertThat(committed).isEqualTo(TOKENS);
        // Every slot starts as noise, and no decoder without noise has any.
        assertThat(levels(iterations.getFirst()).getFirst()).isZero();
        assertThat(of("Iteration").getLast().getString("levels")).doesNotContain(",");
    }

    private static List<Integer> levels(RecordedEvent iteration) {
        return Arrays.stream(iteration.getString("levels").split(","))
                .map(Integer::parseInt)
                .toList();
    }

    @Test
    void phasesLieInsideTheirIteration() {
        List<RecordedEvent> iterations = of("Iteration");
        List<RecordedEvent> forwards = of("Forward");
        List<RecordedEvent> verifies = of("Verify");
        assertThat(forwards).hasSameSizeAs(iterations);
        assertThat(verifies).hasSameSizeAs(iterations);
        for (int i = 0; i < iterations.size(); i++) {
            assertThat(forwards.get(i).getInt("iteration"))
                    .isEqualTo(iterations.get(i).getInt("iteration"));
            assertThat(forwards.get(i).getStartTime())
                    .isAfterOrEqualTo(iterations.get(i).getStartTime());
            assertThat(verifies.get(i).getStartTime())
                    .isAfterOrEqualTo(forwards.get(i).getEndTime());
            assertThat(verifies.get(i).getEndTime())
                    .isBeforeOrEqualTo(iterations.get(i).getEndTime());
            assertThat(verifies.get(i).getInt("accepted"))
                    .isEqualTo(iterations.get(i).getInt("accepted"));
        }
    }

    @Test
    void promptsAndPixelsHaveTheirPhase() {
        assertThat(of("Prefill")).hasSize(2);
        // Condition and uncondition of one picture, then of two.
        assertThat(of("Prefill").stream().map(event -> event.getInt("sequences")))
                .containsExactly(2, 4);
        assertThat(of("Prefill")).allMatch(event -> event.getLong("tokens") > 0);
        assertThat(of("ImageDecode").stream()
                        .map(event ->
                                event.getInt("picture") + ": " + event.getInt("width") + " x " + event.getInt("height"))
                        .collect(Collectors.toList()))
                .containsExactly("0: 64 x 64", "0: 64 x 64", "1: 64 x 64");
        assertThat(two).hasSize(2);
    }
}
