package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.decode.SamplingOptions.Sampler;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DecoderKind;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The loop around the operations: progress, statistics, cancellation, failures and refused options.
class DecoderTest {
    private static final String NAMES = "io.sjd2.decode.DecodeBackends#names";
    private static final int WIDTH = 8;
    private static final int LENGTH = WIDTH * WIDTH;
    private static final TableModel MODEL = TableModel.grid(16, WIDTH, 1.2, 4);
    private static final DecodeOptions OPTIONS = new DecodeOptions(DecoderSpec.SJD2_MC, SamplingOptions.PLAIN, 10, 2);

    private static DecodeRequest request(int images) {
        return new DecodeRequest(
                LENGTH,
                null,
                IntStream.range(0, images)
                        .mapToObj(i -> new DecodeRequest.Image(3, i, i, -1))
                        .toList());
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void progressAndStatisticsAddUp(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            TableForward forward = new TableForward(backend, arena, MODEL, 3, 3, LENGTH);
            int[] committed = new int[3];
            int[] passes = new int[3];
            DecodeResult result = new Decoder(forward).decode(request(3), OPTIONS, progress -> {
                assertThat(progress.images()).isEqualTo(3);
                assertThat(progress.length()).isEqualTo(LENGTH);
                assertThat(progress.iteration()).isEqualTo(forward.passes());
                for (int i = 0; i < 3; i++) {
                    committed[i] += progress.accepted(i);
                    passes[i] += progress.accepted(i) > 0 ? 1 : 0;
                    assertThat(progress.committed(i)).isEqualTo(committed[i]);
                }
                return true;
            });
            DecodeResult.Statistics statistics = result.statistics();
            assertThat(committed).containsOnly(LENGTH);
            assertThat(statistics.window()).isEqualTo(10);
            assertThat(statistics.levels()).isEqualTo(2);
            assertThat(statistics.iterations())
                    .isEqualTo(forward.passes())
                    .isEqualTo(Arrays.stream(passes).max().orElseThrow());
            long positions = 0;
            for (int n = 0; n < statistics.acceptedHistogram().length; n++) {
                positions += n * statistics.acceptedHistogram()[n];
            }
            assertThat(positions).isEqualTo(3 * LENGTH);
            for (int i = 0; i < 3; i++) {
                DecodeResult.ImageStatistics image = statistics.images().get(i);
                assertThat(image.passes()).isEqualTo(passes[i]);
                assertThat(image.kept()).isPositive().isLessThan(image.tested());
                assertThat(image.keepRate()).isBetween(0.1, 0.99);
                assertThat(image.frontLevel()).isBetween(0.0, 0.5);
            }
            double compression = IntStream.of(passes)
                    .mapToDouble(p -> (double) LENGTH / p)
                    .average()
                    .orElseThrow();
            assertThat(statistics.stepCompression()).isCloseTo(compression, within(1e-12));
            assertThat(statistics.millisPerPass()).isPositive();
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void nanLogitsStopWithPictureAndIteration(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            TableForward forward = new TableForward(backend, arena, MODEL, 2, 2, LENGTH).poison(4);
            assertThatThrownBy(() -> new Decoder(forward).decode(request(2), OPTIONS, DecodeListener.NONE))
                    .isInstanceOfSatisfying(UnusableLogitsException.class, e -> {
                        assertThat(e.image()).isZero();
                        assertThat(e.iteration()).isEqualTo(4);
                    })
                    .hasMessageContaining("image 0, iteration 4")
                    .hasMessageContaining("NaN");
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void aListenerCancels(String name) {
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            TableForward forward = new TableForward(backend, arena, MODEL, 1, 1, LENGTH);
            assertThatThrownBy(() -> new Decoder(forward).decode(request(1), OPTIONS, p -> p.iteration() < 3))
                    .isInstanceOf(CancellationException.class)
                    .hasMessageContaining("iteration 3");
            assertThat(forward.passes()).isEqualTo(3);
            // The forward pass is as good as new.
            assertThat(new Decoder(forward)
                            .decode(request(1), OPTIONS, DecodeListener.NONE)
                            .tokens())
                    .hasDimensions(1, LENGTH);
        }
    }

    @Test
    void whatCannotBeDecodedIsNamed() {
        try (Backend backend = DecodeBackends.open("reference");
                Arena arena = Arena.ofConfined()) {
            TableForward plain = new TableForward(backend, arena, MODEL, 1, 1, LENGTH, 2, false);
            Decoder decoder = new Decoder(plain);
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> decoder.decode(request(1), OPTIONS, DecodeListener.NONE))
                    .withMessageContaining("not fine-tuned");
            int[] forced = new int[LENGTH];
            Arrays.fill(forced, -1);
            forced[7] = 15;
            DecodeRequest mistaken = new DecodeRequest(LENGTH, forced, List.of(new DecodeRequest.Image(0, 0, 0, -1)));
            DecodeOptions sjd = new DecodeOptions(DecoderSpec.SJD, SamplingOptions.PLAIN, 4);
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> decoder.decode(mistaken, sjd, DecodeListener.NONE))
                    .withMessageContaining("forced[7] is 15");
        }
    }

    @Test
    void theWindowOfAutoregressionIsOneAndOthersEndAtThePicture() {
        assertThat(new DecodeOptions(DecoderSpec.AR, SamplingOptions.PLAIN, 64).effectiveWindow(100))
                .isOne();
        assertThat(OPTIONS.effectiveWindow(100)).isEqualTo(10);
        assertThat(OPTIONS.effectiveWindow(4)).isEqualTo(4);
        assertThat(new DecodeOptions(DecoderSpec.SJD, SamplingOptions.PLAIN, 8, 5).effectiveLevels())
                .isZero();
    }

    @Test
    void decodersHaveTenNames() {
        assertThat(DecoderSpec.names())
                .containsExactly(
                        "ar", "jacobi", "sjd", "sjd-mc", "sjd-gs", "exact", "sjd2", "sjd2-mc", "sjd2-gs", "sjd2-exact");
        for (DecoderSpec decoder : DecoderSpec.all()) {
            assertThat(DecoderSpec.parse(decoder.toString())).isEqualTo(decoder);
        }
        assertThatIllegalArgumentException()
                .isThrownBy(() -> DecoderSpec.parse("sdj"))
                .withMessageContaining("'sdj'")
                .withMessageContaining("sjd2-exact");
        assertThatIllegalArgumentException().isThrownBy(() -> new DecoderSpec(DecoderKind.GREEDY, true));
        assertThat(DecoderSpec.defaultFor(true)).hasToString("sjd2-mc");
        assertThat(DecoderSpec.defaultFor(false)).hasToString("sjd-mc");
    }

    @Test
    void optionsAreCheckedWhereTheyAreGiven() {
        SamplingOptions plain = SamplingOptions.PLAIN;
        refuses("temperature is 0.0", () -> plain.withTemperature(0));
        refuses("temperature is NaN", () -> plain.withTemperature(Float.NaN));
        refuses("temperature is Infinity", () -> plain.withTemperature(Float.POSITIVE_INFINITY));
        refuses("top-k is -1", () -> plain.withTopK(-1));
        refuses("top-p is 0.0", () -> plain.withTopP(0));
        refuses("top-p is 1.5", () -> plain.withTopP(1.5f));
        refuses("guidance is NaN", () -> plain.withGuidance(Float.NaN));
        refuses("sampler 'dice'", () -> Sampler.parse("dice"));
        assertThat(Sampler.parse("inverse-cdf")).isEqualTo(Sampler.INVERSE_CDF);
        refuses("window is 0", () -> new DecodeOptions(DecoderSpec.SJD, plain, 0));
        refuses("levels is 0", () -> new DecodeOptions(DecoderSpec.SJD2, plain, 8, 0));
        refuses("inverse-cdf", () -> new DecodeOptions(DecoderSpec.EXACT, plain.withSampler(Sampler.INVERSE_CDF), 8));
        refuses("length is 0", () -> new DecodeRequest(0, null, List.of(new DecodeRequest.Image(0, 0, 0, -1))));
        refuses("no image", () -> new DecodeRequest(4, null, List.of()));
        refuses("forced is [3]", () -> new DecodeRequest(4, new int[3], List.of(new DecodeRequest.Image(0, 0, 0, -1))));
        refuses(
                "used twice",
                () -> new DecodeRequest(
                        4, null, List.of(new DecodeRequest.Image(0, 0, 0, -1), new DecodeRequest.Image(0, 1, 0, -1))));
        refuses("out of range", () -> new DecodeRequest(4, null, List.of(new DecodeRequest.Image(0, 0, 1, -1))));
        refuses("conditional sequence is -1", () -> new DecodeRequest.Image(0, 0, -1, 0));
    }

    private static void refuses(String message, Runnable mistake) {
        assertThatIllegalArgumentException().isThrownBy(mistake::run).withMessageContaining(message);
    }
}
