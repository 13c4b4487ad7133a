package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.decode.MutantVerify.Mutation;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.reference.ReferenceBackend;
import io.sjd2.testing.ChiSquare;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Every lossless decoder emits exactly the model's law; each known mistake does not.
class DecoderLawTest {
    /// Per case: 100 cases raise a false alarm once in 10,000 suites.
    private static final double ALPHA = 1e-6;

    /// Enough to notice a total-variation shift of 0.04 spread over all 1024 cells with power above 0.999;
    /// `theTestIsStrongEnough` holds it to that.
    private static final int TRIALS = 80_000;

    private static final int WINDOW = 3;
    private static final SamplingOptions PLAIN = SamplingOptions.PLAIN;

    record Case(DecoderSpec decoder, int levels, int window, SamplingOptions sampling, int[] forced, int restart) {
        Case(DecoderSpec decoder, int levels, int window, SamplingOptions sampling, int[] forced) {
            this(decoder, levels, window, sampling, forced, DecodeOptions.NEVER_RESTART);
        }

        @Override
        public String toString() {
            String law = sampling.equals(PLAIN) ? "" : " " + sampling;
            return decoder + (levels > 0 ? " N=" + levels : "") + " W=" + window
                    + (restart > 0 ? " R=" + restart : "") + law
                    + (forced != null ? " forced" : "");
        }

        DecodeOptions options() {
            return new DecodeOptions(decoder, sampling, window, levels, restart);
        }
    }

    static Stream<Arguments> losslessCases() {
        List<Case> cases = new ArrayList<>();
        for (DecoderSpec decoder : DecoderSpec.all()) {
            if (!decoder.lossless()) {
                continue;
            }
            for (int levels = decoder.noise() ? 1 : 0; levels <= (decoder.noise() ? 3 : 0); levels++) {
                cases.add(new Case(decoder, levels, WINDOW, PLAIN, null));
            }
        }
        cases.add(new Case(DecoderSpec.AR, 0, 1, PLAIN.withSampler(SamplingOptions.Sampler.INVERSE_CDF), null));
        cases.add(new Case(DecoderSpec.SJD, 0, 1, PLAIN, null));
        cases.add(new Case(DecoderSpec.SJD_MC, 0, 5, PLAIN, null));
        cases.add(new Case(DecoderSpec.SJD2_MC, 1, 1, PLAIN, null));
        SamplingOptions filtered = new SamplingOptions(0.8f, 3, 0.9f, 2, SamplingOptions.Sampler.GUMBEL);
        int[] forced = {-1, -1, CODES, -1, -1};
        for (DecoderSpec decoder :
                List.of(DecoderSpec.SJD, DecoderSpec.SJD_MC, DecoderSpec.SJD2_MC, DecoderSpec.SJD2_GS)) {
            int levels = decoder.noise() ? 1 : 0;
            cases.add(new Case(decoder, levels, WINDOW, filtered, null));
            cases.add(new Case(decoder, levels, WINDOW, PLAIN, forced));
        }
        for (DecoderSpec decoder : DecoderSpec.all()) {
            if (decoder.lossless() && !decoder.sequential()) {
                cases.add(new Case(decoder, decoder.noise() ? 1 : 0, WINDOW, PLAIN, null, 1));
            }
        }
        cases.add(new Case(DecoderSpec.SJD2_MC, 2, WINDOW, filtered, forced, 1));
        cases.add(new Case(DecoderSpec.SJD2_MC, 1, 5, PLAIN, null, 2));
        return DecodeBackends.fast().flatMap(backend -> cases.stream().map(c -> Arguments.of(backend, c)));
    }

    private static final int CODES = LawHarness.CODES;

    @ParameterizedTest(name = "{0}: {1}")
    @MethodSource("losslessCases")
    void picturesFollowTheExactLaw(String backendName, Case c) {
        double[] law = LawHarness.law(c.sampling, c.forced);
        try (Backend backend = DecodeBackends.open(backendName, 1)) {
            LawHarness.Tally tally = LawHarness.tally(backend, c.options(), c.forced, TRIALS, 11);
            ChiSquare.assertFits(law, tally.counts(), ALPHA);
        }
    }

    @Test
    void theTestIsStrongEnough() {
        double[] law = LawHarness.law(PLAIN, null);
        double[] shifted = law.clone();
        double scale = 0;
        for (int i = 0; i < law.length; i++) {
            shifted[i] *= i % 2 == 0 ? 1.08 : 0.92;
            scale += shifted[i];
        }
        double distance = 0;
        for (int i = 0; i < law.length; i++) {
            shifted[i] /= scale;
            distance += Math.abs(shifted[i] - law[i]) / 2;
        }
        assertThat(distance).isBetween(0.035, 0.041);
        assertThat(ChiSquare.power(law, shifted, TRIALS, ALPHA)).isGreaterThan(0.999);
    }

    static Stream<Arguments> soundTwins() {
        return Stream.of(
                Arguments.of(DecoderSpec.SJD, 0),
                Arguments.of(DecoderSpec.SJD_MC, 0),
                Arguments.of(DecoderSpec.SJD2, 2));
    }

    @ParameterizedTest(name = "{0} N={1}")
    @MethodSource("soundTwins")
    void theMutantsTwinFitsTheLaw(DecoderSpec decoder, int levels) {
        ChiSquare.assertFits(LawHarness.law(PLAIN, null), mutantCounts(Mutation.NONE, decoder, levels), ALPHA);
    }

    static Stream<Arguments> mutants() {
        return Stream.of(
                Arguments.of(Mutation.OLD_Q_KEPT, DecoderSpec.SJD_MC, 0),
                Arguments.of(Mutation.BATCH_MINIMUM, DecoderSpec.SJD, 0),
                Arguments.of(Mutation.FRESH_INSTEAD_OF_RESIDUAL, DecoderSpec.SJD, 0),
                Arguments.of(Mutation.THROUGH_NOISE, DecoderSpec.SJD2, 2),
                Arguments.of(Mutation.THROUGH_NOISE, DecoderSpec.SJD2, 3),
                Arguments.of(Mutation.THROUGH_NOISE, DecoderSpec.SJD2_MC, 2));
    }

    @ParameterizedTest(name = "{0}: {1} N={2}")
    @MethodSource("mutants")
    void aMutantIsCaught(Mutation mutation, DecoderSpec decoder, int levels) {
        long[] counts = mutantCounts(mutation, decoder, levels);
        assertThatThrownBy(() -> ChiSquare.assertFits(LawHarness.law(PLAIN, null), counts, ALPHA))
                .isInstanceOf(AssertionError.class);
    }

    private static long[] mutantCounts(Mutation mutation, DecoderSpec decoder, int levels) {
        try (Backend base = new ReferenceBackend()) {
            Backend backend = MutantVerify.backend(base, mutation);
            DecodeOptions options = new DecodeOptions(decoder, PLAIN, WINDOW, levels);
            return LawHarness.tally(backend, options, null, TRIALS, 12).counts();
        }
    }
}
