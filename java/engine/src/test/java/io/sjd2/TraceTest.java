package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.sjd2.io.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The trace of a real generation tells the same story as its picture.
class TraceTest {
    private static final int WINDOW = 16;
    private static final String PROMPT = "a green star </script><b>";

    @TempDir
    static Path folder;

    private static List<GeneratedImage> images;
    private static List<GeneratedImage> untraced;
    private static Trace trace;
    private static Json json;
    private static int progressCalls;

    @BeforeAll
    static void generate() throws IOException {
        Path home = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(home.resolve("models/demo"))) {
            home = home.getParent();
        }
        trace = new Trace("demo", new GenerationListener() {
            @Override
            public void progress(long committed, long total, long passes) {
                progressCalls++;
            }
        });
        GenerationRequest request =
                GenerationRequest.of(PROMPT).withWindow(WINDOW).withSeed(3).withImages(2);
        try (Engine engine = Engine.open(home.resolve("models/demo"), EngineOptions.defaults())) {
            images = engine.generate(request, trace);
            untraced = engine.generate(request, GenerationListener.NONE);
        }
        json = Json.parse(trace.json(), "trace");
    }

    @Test
    void tracingChangesNoToken() {
        for (int i = 0; i < images.size(); i++) {
            assertThat(images.get(i).tokens()).containsExactly(untraced.get(i).tokens());
        }
        assertThat(progressCalls)
                .as("the other listener is told, too")
                .isEqualTo(images.stream()
                        .mapToInt(image -> image.statistics().passes())
                        .max()
                        .orElseThrow());
    }

    @Test
    void everyTokenIsCommittedOnceByTheOutcomeThatSaysSo() throws IOException {
        List<String> outcomes = new ArrayList<>();
        for (Json name : json.get("outcomes").items()) {
            outcomes.add(name.string());
        }
        List<Json> pictures = json.get("pictures").items();
        assertThat(pictures).hasSize(2);
        for (int i = 0; i < pictures.size(); i++) {
            Json picture = pictures.get(i);
            GenerationStatistics statistics = images.get(i).statistics();
            assertThat(picture.get("prompt").string()).isEqualTo(PROMPT);
            assertThat(picture.get("trace").items()).hasSize(statistics.passes());
            int[] tokens = new int[statistics.tokens()];
            Arrays.fill(tokens, PassTrace.NO_TOKEN);
            int accepted = 0;
            int resampled = 0;
            for (Json pass : picture.get("trace").items()) {
                List<Json> slots = pass.get("slots").items();
                assertThat(slots).hasSizeLessThanOrEqualTo(WINDOW);
                for (int row = 0; row < slots.size(); row++) {
                    List<Json> slot = slots.get(row).items();
                    int position = slot.get(0).int32();
                    PassTrace.Outcome outcome =
                            PassTrace.Outcome.values()[slot.get(4).int32()];
                    assertThat(outcomes.get(outcome.ordinal())).isEqualToIgnoringCase(outcome.name());
                    assertThat(position).isEqualTo(pass.get("first").int32() + row);
                    assertThat(outcome.committed())
                            .isEqualTo(row < pass.get("accepted").int32());
                    if (outcome.committed()) {
                        assertThat(tokens[position]).isEqualTo(PassTrace.NO_TOKEN);
                        tokens[position] = slot.get(5).int32();
                    } else if (outcome != PassTrace.Outcome.RESTARTED) {
                        assertThat(slot.get(6).int32())
                                .as("noise only falls")
                                .isLessThanOrEqualTo(slot.get(3).int32());
                    }
                    accepted += outcome == PassTrace.Outcome.ACCEPTED ? 1 : 0;
                    resampled += outcome == PassTrace.Outcome.RESAMPLED ? 1 : 0;
                }
            }
            assertThat(tokens).containsExactly(images.get(i).tokens());
            assertThat((long) accepted).isEqualTo(statistics.kept());
            assertThat((long) accepted + resampled).isEqualTo(statistics.tested());
        }
    }

    @Test
    void thePageHoldsEverythingItNeeds() throws IOException {
        String page = trace.page();
        assertThat(page).doesNotContain("\"TRACE\"", "https:", "src=", "href=\"/", "@import", "<b>");
        // The svg namespace is a name, not an address that anybody visits.
        assertThat(page.replace("http://www.w3.org/2000/svg", "")).doesNotContain("http:");
        assertThat(page)
                .contains("default-src 'none'", "data:image/png;base64,", "\\u003c/script>", "\"step_compression\"")
                .containsOnlyOnce("</script>");
        List<Path> files = trace.write(folder.resolve("star.html"));
        assertThat(files).containsExactly(folder.resolve("star.json"), folder.resolve("star.html"));
        assertThat(files.getLast()).hasContent(page);
        assertThat(Json.read(files.getFirst()).get("format").string()).isEqualTo("sjd2-trace");
    }

    @Test
    void namesOfFilesDoNotDependOnTheEnding() {
        List<Path> both = List.of(Path.of("a/star.json"), Path.of("a/star.html"));
        for (String name : List.of("a/star", "a/star.json", "a/star.html")) {
            assertThat(Trace.files(Path.of(name))).isEqualTo(both);
        }
        assertThat(Trace.files(Path.of("v1.2"))).containsExactly(Path.of("v1.2.json"), Path.of("v1.2.html"));
        assertThatIllegalArgumentException().isThrownBy(() -> Trace.files(Path.of(".json")));
    }
}
