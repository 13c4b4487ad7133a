package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.kernel.Backend;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class WindowPlannerTest {
    private static final PassCurve FREE_ROWS =
            PassCurve.of(Map.of(1, 10.0, 8, 10.1, 16, 10.2, 32, 10.4, 64, 10.9, 96, 11.4));
    private static final PassCurve DEAR_ROWS =
            PassCurve.of(Map.of(1, 1.0, 8, 8.0, 16, 16.0, 32, 32.0, 64, 64.0, 96, 96.0));

    @Test
    void whereRowsAreFreeTheWindowIsWide() {
        AcceptanceModel coupled = AcceptanceModel.defaultFor(DecoderSpec.SJD2_MC);
        assertThat(WindowPlanner.plan(FREE_ROWS, coupled, 1000).window()).isEqualTo(64);
        assertThat(WindowPlanner.plan(FREE_ROWS, coupled, 40).window()).isEqualTo(32);
    }

    @Test
    void whereRowsCostTheirShareTheWindowIsOne() {
        for (DecoderSpec decoder : DecoderSpec.all()) {
            AcceptanceModel acceptance = AcceptanceModel.defaultFor(decoder);
            assertThat(WindowPlanner.plan(DEAR_ROWS, acceptance, 1000).window())
                    .as("%s", decoder)
                    .isOne();
        }
    }

    @Test
    void aPassIsNeverDearerThanAWiderOne() {
        Map<Integer, Double> points = new TreeMap<>(Map.of(1, 3.0, 4, 25.0, 8, 38.0, 16, 9.0, 32, 10.0, 64, 12.0));
        PassTimer.smooth(points);
        assertThat(points).isEqualTo(Map.of(1, 3.0, 4, 9.0, 8, 9.0, 16, 9.0, 32, 10.0, 64, 12.0));
    }

    @Test
    void aDecoderThatSaturatesStaysNarrower() {
        int plain = WindowPlanner.plan(FREE_ROWS, AcceptanceModel.defaultFor(DecoderSpec.SJD), 1000)
                .window();
        int coupled = WindowPlanner.plan(FREE_ROWS, AcceptanceModel.defaultFor(DecoderSpec.SJD_MC), 1000)
                .window();
        assertThat(plain).isLessThan(coupled);
    }

    @Test
    void thePlanIsWithinItsMarginOfTheBestCandidate() {
        PassCurve curve = PassCurve.of(Map.of(1, 0.9, 4, 1.0, 8, 1.1, 16, 1.5, 24, 1.8, 32, 2.4, 48, 3.1, 64, 4.4));
        AcceptanceModel acceptance = AcceptanceModel.defaultFor(DecoderSpec.SJD2_MC);
        WindowPlanner.Plan plan = WindowPlanner.plan(curve, acceptance, 256);
        for (int window : curve.windows()) {
            assertThat(plan.tokensPerMilli())
                    .isGreaterThanOrEqualTo(acceptance.tokensPerPass(window) / curve.millis(window) / 1.02);
        }
        assertThat(plan.tokensPerMilli()).isCloseTo(plan.tokensPerPass() / plan.millisPerPass(), within(1e-12));
    }

    @Test
    void noiseWithinTheMarginDoesNotMoveTheWindow() {
        AcceptanceModel acceptance = AcceptanceModel.of(Map.of(16, 4.0, 32, 4.05));
        for (double noise : new double[] {0.995, 1, 1.005}) {
            PassCurve curve = PassCurve.of(Map.of(1, 10.0, 16, 10.0, 32, 10 * noise));
            assertThat(WindowPlanner.plan(curve, acceptance, 100).window()).isLessThanOrEqualTo(24);
        }
    }

    @Test
    void curvesInterpolate() {
        AcceptanceModel acceptance = AcceptanceModel.of(Map.of(4, 2.0, 16, 3.0));
        assertThat(acceptance.tokensPerPass(1)).isEqualTo(1);
        assertThat(acceptance.tokensPerPass(2)).isCloseTo(1.5, within(1e-12));
        assertThat(acceptance.tokensPerPass(8)).isCloseTo(2.5, within(1e-12));
        assertThat(acceptance.tokensPerPass(500)).isEqualTo(3);
        PassCurve curve = PassCurve.of(Map.of(4, 2.0, 8, 3.0));
        assertThat(curve.millis(1)).isEqualTo(2);
        assertThat(curve.millis(6)).isCloseTo(2.5, within(1e-12));
        assertThat(curve.millis(12)).isCloseTo(4, within(1e-12));
        assertThat(PassCurve.of(Map.of(4, 3.0, 8, 2.0)).millis(12)).isEqualTo(2);
    }

    @ParameterizedTest
    @ValueSource(doubles = {0, 0.3, 0.88})
    void aKeepRateIsAGeometricSum(double rate) {
        AcceptanceModel acceptance = AcceptanceModel.ofKeepRate(rate);
        double sum = 0;
        for (int window = 1; window <= 15; window++) {
            sum += Math.pow(rate, window - 1);
            assertThat(acceptance.tokensPerPass(window)).isCloseTo(sum, within(1e-9));
        }
        assertThat(acceptance.tokensPerPass(10_000)).isCloseTo(1 / (1 - rate), within(1e-6));
    }

    @Test
    void defaultsGrowWithTheWindowAndCouplingWins() {
        for (DecoderSpec decoder : DecoderSpec.all()) {
            AcceptanceModel acceptance = AcceptanceModel.defaultFor(decoder);
            double before = 0;
            for (int window = 1; window <= 128; window++) {
                double tokens = acceptance.tokensPerPass(window);
                assertThat(tokens).as("%s at %d", decoder, window).isBetween(before, (double) window);
                before = tokens;
            }
        }
        assertThat(AcceptanceModel.defaultFor(DecoderSpec.SJD2_MC).tokensPerPass(32))
                .isGreaterThan(AcceptanceModel.defaultFor(DecoderSpec.SJD_MC).tokensPerPass(32))
                .isGreaterThan(AcceptanceModel.defaultFor(DecoderSpec.SJD2).tokensPerPass(32));
    }

    @Test
    void mistakesAreNamed() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> AcceptanceModel.of(Map.of(4, 5.0)))
                .withMessageContaining("window 4 is 5.0");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> AcceptanceModel.ofKeepRate(1))
                .withMessageContaining("1.0");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> PassCurve.of(Map.of(4, 0.0)))
                .withMessageContaining("0.0 ms");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> WindowPlanner.plan(FREE_ROWS, AcceptanceModel.ofKeepRate(0.5), 0))
                .withMessageContaining("is 0");
    }

    @ParameterizedTest
    @MethodSource("io.sjd2.decode.DecodeBackends#names")
    void passesAreTimedAndLeaveTheModelUsable(String name) {
        int length = 64;
        TableModel model = TableModel.grid(16, 8, 1, 1);
        try (Backend backend = DecodeBackends.open(name);
                Arena arena = Arena.ofConfined()) {
            TableForward forward = new TableForward(backend, arena, model, 2, 1, length);
            DecodeRequest request = new DecodeRequest(length, null, List.of(new DecodeRequest.Image(1, 0, 0, 1)));
            DecodeOptions options = new DecodeOptions(DecoderSpec.SJD2_MC, SamplingOptions.PLAIN.withGuidance(2), 1, 2);
            int[][] before = decode(forward, request);
            PassCurve curve = PassTimer.measure(forward, request, options, 1, 8, 32, 64, 500);
            assertThat(curve.windows()).containsExactly(1, 8, 32, 64);
            assertThat(curve.millis(8)).isPositive();
            assertThat(decode(forward, request)).isDeepEqualTo(before);
        }
    }

    private static int[][] decode(TableForward forward, DecodeRequest request) {
        DecodeOptions options = new DecodeOptions(DecoderSpec.SJD2_MC, SamplingOptions.PLAIN.withGuidance(2), 12, 2);
        return new Decoder(forward)
                .decode(request, options, DecodeListener.NONE)
                .tokens();
    }
}
