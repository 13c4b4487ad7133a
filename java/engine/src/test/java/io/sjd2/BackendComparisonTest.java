package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/// Where two engines part, shown by two that must: the same model in f32 and in bf16.
class BackendComparisonTest {
    private static final GenerationRequest REQUEST = GenerationRequest.of(
                    "a large red circle above a small blue square")
            .withSeed(5)
            .withWindow(32);

    private static Engine single;
    private static Engine half;

    private static Path demo() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(here.resolve("models/demo"))) {
            here = here.getParent();
        }
        return here.resolve("models/demo");
    }

    @BeforeAll
    static void open() throws IOException {
        EngineOptions options = EngineOptions.defaults().withBackend("cpu");
        single = Engine.open(demo(), options.withDtype(DType.F32));
        half = Engine.open(demo(), options.withDtype(DType.BF16));
    }

    @AfterAll
    static void close() {
        single.close();
        half.close();
    }

    @Test
    void anEngineDrawsWhatItDrew() {
        BackendComparison comparison =
                BackendComparison.run(single, single, REQUEST.withImages(2), GenerationListener.NONE);
        assertThat(comparison.same()).isTrue();
        assertThat(comparison.pictures()).isEqualTo(2);
    }

    /// Flat distributions without a filter: among some thousands of draws, several have two codes so close that
    /// rounding decides.
    @Test
    void eachPrefersItsOwnCodeWhereTheyPart() {
        BackendComparison comparison = BackendComparison.run(
                single, half, REQUEST.withSampling(3.0, 0, 1.0).withImages(16), GenerationListener.NONE);
        assertThat(comparison.partings()).isNotEmpty().allSatisfy(parting -> {
            assertThat(parting.first()).isNotEqualTo(parting.second());
            assertThat(parting.position()).isEqualTo(parting.row() * 16 + parting.column());
            assertThat(parting.explainedByLogits()).isTrue();
            assertThat(parting.logitGap()).isPositive();
        });
    }

    @Test
    void decodersWhoseTokensDependOnDraftsAreRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(
                        () -> BackendComparison.run(single, half, REQUEST.withDecoder("sjd"), GenerationListener.NONE))
                .withMessageContaining("expected exact, sjd2-exact, or ar");
    }
}
