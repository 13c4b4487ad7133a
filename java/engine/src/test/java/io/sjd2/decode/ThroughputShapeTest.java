package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.Backend;
import java.lang.foreign.Arena;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/// Positions per pass by window on a picture of local, high-entropy codes: independent redraws saturate, coupled ones
/// keep on gaining. `docs/decoding.md`, "Positions per pass on a synthetic grid", has the table that this test holds
/// in shape.
class ThroughputShapeTest {
    private static final int WIDTH = 24;
    private static final int LENGTH = WIDTH * WIDTH;
    private static final int CODES = 256;
    private static final int PICTURES = 8;

    /// Entropy 6.25 bits of 8, as in the document.
    static final TableModel MODEL = TableModel.grid(CODES, WIDTH, 1.05, 7);

    static double tokensPerPass(Backend backend, DecoderSpec decoder, int window, int levels, int pictures) {
        return tokensPerPass(
                backend,
                new DecodeOptions(decoder, SamplingOptions.PLAIN, window, levels, DecodeOptions.NEVER_RESTART),
                pictures);
    }

    private static double tokensPerPass(Backend backend, DecodeOptions options, int pictures) {
        try (Arena arena = Arena.ofConfined()) {
            TableForward forward = new TableForward(backend, arena, MODEL, pictures, pictures, LENGTH);
            DecodeRequest request = new DecodeRequest(
                    LENGTH,
                    null,
                    IntStream.range(0, pictures)
                            .mapToObj(i -> new DecodeRequest.Image(1, i, i, -1))
                            .toList());
            return new Decoder(forward)
                    .decode(request, options, DecodeListener.NONE)
                    .statistics()
                    .stepCompression();
        }
    }

    @Test
    void restartsCostNothingWhereFailuresAreChance() {
        try (Backend backend = DecodeBackends.open("cpu")) {
            for (DecoderSpec decoder : new DecoderSpec[] {DecoderSpec.SJD_MC, DecoderSpec.SJD2_MC, DecoderSpec.EXACT}) {
                double never = tokensPerPass(backend, decoder, 32, 1, PICTURES);
                DecodeOptions usual = new DecodeOptions(decoder, SamplingOptions.PLAIN, 32, 1);
                assertThat(tokensPerPass(backend, usual, PICTURES))
                        .as("%s with restarts", decoder)
                        .isGreaterThan(0.9 * never);
            }
        }
    }

    @Test
    void couplingKeepsGainingWhereIndependentRedrawsSaturate() {
        try (Backend backend = DecodeBackends.open("cpu")) {
            double sjd16 = tokensPerPass(backend, DecoderSpec.SJD, 16, 1, PICTURES);
            double sjd64 = tokensPerPass(backend, DecoderSpec.SJD, 64, 1, PICTURES);
            assertThat(sjd64 / sjd16).as("sjd from 16 to 64").isBetween(0.95, 1.35);
            double previous = sjd16;
            for (DecoderSpec decoder : new DecoderSpec[] {DecoderSpec.SJD_MC, DecoderSpec.SJD_GS, DecoderSpec.EXACT}) {
                double at16 = tokensPerPass(backend, decoder, 16, 1, PICTURES);
                double at64 = tokensPerPass(backend, decoder, 64, 1, PICTURES);
                assertThat(at16).as("%s at 16", decoder).isGreaterThan(1.1 * sjd16);
                assertThat(at64 / at16).as("%s from 16 to 64", decoder).isGreaterThan(1.6);
                assertThat(at64).as("%s at 64", decoder).isGreaterThan(2 * sjd64);
                previous = decoder.equals(DecoderSpec.SJD_MC) ? at64 : previous;
                assertThat(at64)
                        .as("no coupling beats the maximal one by more than chance")
                        .isLessThan(1.1 * previous);
            }
        }
    }
}
