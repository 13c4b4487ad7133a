package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.Backend;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// What must be equal token for token: `exact` and autoregression, top-k 1 and greedy, a picture alone and in company.
class DecoderEqualityTest {
    private static final int WIDTH = 12;
    private static final int LENGTH = WIDTH * WIDTH;
    private static final int CODES = 40;
    private static final TableModel MODEL = TableModel.grid(CODES, WIDTH, 1.2, 3);
    private static final SamplingOptions FILTERED =
            new SamplingOptions(0.9f, 25, 0.97f, 2.5f, SamplingOptions.Sampler.GUMBEL);

    @AfterAll
    static void restore() {
        DecodeBackends.backToTheBest();
    }

    /// The last column of every second row is a structural token, as line ends are.
    private static int[] lineEnds() {
        int[] forced = new int[LENGTH];
        Arrays.fill(forced, -1);
        for (int row = 0; row < WIDTH; row += 2) {
            forced[row * WIDTH + WIDTH - 1] = CODES + row / 2 % 2;
        }
        return forced;
    }

    private static DecodeResult decode(
            Backend backend, DecodeOptions options, int[] forced, long seed, int... indices) {
        boolean guided = options.sampling().guided();
        int images = indices.length;
        try (Arena arena = Arena.ofConfined()) {
            TableForward forward =
                    new TableForward(backend, arena, MODEL, guided ? 2 * images : images, images, LENGTH);
            List<DecodeRequest.Image> batch = new ArrayList<>();
            for (int i = 0; i < images; i++) {
                batch.add(new DecodeRequest.Image(seed, indices[i], i, guided ? images + i : -1));
            }
            return new Decoder(forward).decode(new DecodeRequest(LENGTH, forced, batch), options, DecodeListener.NONE);
        }
    }

    static Stream<Arguments> exactCases() {
        return DecodeBackends.everyKernel()
                .flatMap(backend -> Stream.of(
                        Arguments.of(backend, SamplingOptions.PLAIN, false),
                        Arguments.of(backend, FILTERED, false),
                        Arguments.of(backend, FILTERED, true)));
    }

    @ParameterizedTest(name = "{0}, {1}, forced {2}")
    @MethodSource("exactCases")
    void exactIsAutoregressionAtEveryWindow(String name, SamplingOptions sampling, boolean withForced) {
        int[] forced = withForced ? lineEnds() : null;
        boolean quick = DecodeBackends.isFast(name);
        try (Backend backend = DecodeBackends.open(name)) {
            for (long seed = 0; seed < (quick ? 4 : 1); seed++) {
                DecodeResult sequential =
                        decode(backend, new DecodeOptions(DecoderSpec.AR, sampling, 1), forced, seed, 0, 1, 2);
                for (int window : quick ? new int[] {2, 3, 7, 16, 33, 64} : new int[] {3, 16}) {
                    DecodeResult exact = decode(
                            backend, new DecodeOptions(DecoderSpec.EXACT, sampling, window), forced, seed, 0, 1, 2);
                    assertThat(exact.tokens())
                            .as("exact, window %d, seed %d", window, seed)
                            .isDeepEqualTo(sequential.tokens());
                    int levels = 1 + (int) (seed % 3);
                    DecodeResult noisy = decode(
                            backend,
                            new DecodeOptions(DecoderSpec.SJD2_EXACT, sampling, window, levels),
                            forced,
                            seed,
                            0,
                            1,
                            2);
                    assertThat(noisy.tokens())
                            .as("sjd2-exact, window %d, %d levels, seed %d", window, levels, seed)
                            .isDeepEqualTo(sequential.tokens());
                    assertThat(exact.statistics().stepCompression()).isGreaterThan(window < 16 ? 1.1 : 1.3);
                }
            }
        }
    }

    @Test
    void theSeedMatters() {
        try (Backend backend = DecodeBackends.open("cpu")) {
            DecodeOptions options = new DecodeOptions(DecoderSpec.EXACT, SamplingOptions.PLAIN, 16);
            int[][] first = decode(backend, options, null, 1, 0, 1).tokens();
            assertThat(first[0]).isNotEqualTo(first[1]);
            assertThat(decode(backend, options, null, 2, 0).tokens()[0]).isNotEqualTo(first[0]);
            assertThat(decode(backend, options, null, 1L << 32 | 1, 0).tokens()[0])
                    .isNotEqualTo(first[0]);
        }
    }

    static Stream<Arguments> everyDecoder() {
        return DecodeBackends.names()
                .flatMap(backend -> DecoderSpec.all().stream().map(decoder -> Arguments.of(backend, decoder)));
    }

    @ParameterizedTest(name = "{0}, {1}")
    @MethodSource("everyDecoder")
    void topKOneIsGreedyAtEveryWindow(String name, DecoderSpec decoder) {
        int[] forced = lineEnds();
        int[] greedy = rollOut(forced);
        try (Backend backend = DecodeBackends.open(name)) {
            for (int window : DecodeBackends.isFast(name) ? new int[] {1, 2, 9, 40, 1_000_000} : new int[] {9}) {
                for (int levels = 1; levels <= (decoder.noise() ? 8 : 1); levels = levels == 2 ? 8 : levels + 1) {
                    DecodeOptions options =
                            new DecodeOptions(decoder, SamplingOptions.PLAIN.withTopK(1), window, levels);
                    assertThat(decode(backend, options, forced, 8, 0).tokens()[0])
                            .as("window %d, levels %d", window, levels)
                            .isEqualTo(greedy);
                }
            }
        }
    }

    private static int[] rollOut(int[] forced) {
        int[] tokens = new int[LENGTH];
        float[] logits = new float[CODES];
        for (int n = 0; n < LENGTH; n++) {
            MODEL.logits(logits, tokens, n, 0);
            int best = 0;
            for (int c = 1; c < CODES; c++) {
                best = logits[c] > logits[best] ? c : best;
            }
            tokens[n] = forced[n] >= 0 ? forced[n] : best;
        }
        return tokens;
    }

    @ParameterizedTest(name = "{0}, {1}")
    @MethodSource("everyDecoder")
    void aPictureDependsOnItsSeedAndIndexAlone(String name, DecoderSpec decoder) {
        DecodeOptions options = new DecodeOptions(decoder, FILTERED, 12, 2);
        int[] forced = lineEnds();
        try (Backend backend = DecodeBackends.open(name)) {
            int[][] together =
                    decode(backend, options, forced, 5, 0, 1, 2, 3, 4).tokens();
            int[][] reordered = decode(backend, options, forced, 5, 4, 2).tokens();
            assertThat(reordered[0]).isEqualTo(together[4]);
            assertThat(reordered[1]).isEqualTo(together[2]);
            assertThat(decode(backend, options, forced, 5, 3).tokens()[0]).isEqualTo(together[3]);
        }
    }

    @ParameterizedTest(name = "{0}, {1}")
    @MethodSource("everyDecoder")
    void structuralTokensStandWhereTheyBelong(String name, DecoderSpec decoder) {
        int[] forced = lineEnds();
        try (Backend backend = DecodeBackends.open(name)) {
            DecodeResult result =
                    decode(backend, new DecodeOptions(decoder, SamplingOptions.PLAIN, 16, 1), forced, 6, 0, 1);
            for (int[] tokens : result.tokens()) {
                for (int n = 0; n < LENGTH; n++) {
                    if (forced[n] >= 0) {
                        assertThat(tokens[n]).isEqualTo(forced[n]);
                    } else {
                        assertThat(tokens[n]).isBetween(0, CODES - 1);
                    }
                }
            }
        }
    }

    static Stream<Arguments> everyLibrary() {
        return DecodeBackends.everyKernel()
                .filter(name -> !name.equals("reference"))
                .flatMap(backend -> DecoderSpec.all().stream().map(decoder -> Arguments.of(backend, decoder)));
    }

    @ParameterizedTest(name = "{0}, {1}")
    @MethodSource("everyLibrary")
    void everyInstructionSetAndThreadCountGivesTheReferencesTokens(String name, DecoderSpec decoder) {
        // Nothing but a tie within rounding could part them, and these seeds have none.
        DecodeOptions options = new DecodeOptions(decoder, FILTERED, 24, 2, 1);
        int[] indices = IntStream.range(0, 3).toArray();
        DecodeResult expected;
        try (Backend reference = DecodeBackends.open("reference")) {
            expected = decode(reference, options, lineEnds(), 9, indices);
        }
        if (!decoder.sequential()) {
            assertThat(expected.statistics().images()).anyMatch(image -> image.restarts() > 0);
        }
        // A device has no threads to count.
        for (int threads = 1; threads <= (DecodeBackends.isFast(name) ? 3 : 1); threads += 2) {
            try (Backend backend = DecodeBackends.open(name, threads)) {
                DecodeResult actual = decode(backend, options, lineEnds(), 9, indices);
                assertThat(actual.tokens()).as("%d threads", threads).isDeepEqualTo(expected.tokens());
                assertThat(actual.statistics().images())
                        .as("%d threads", threads)
                        .isEqualTo(expected.statistics().images());
                assertThat(actual.statistics().acceptedHistogram())
                        .isEqualTo(expected.statistics().acceptedHistogram());
            }
        }
    }
}
