package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.decode.DecodeListener;
import io.sjd2.decode.DecodeOptions;
import io.sjd2.decode.DecodeRequest;
import io.sjd2.decode.DecodeResult;
import io.sjd2.decode.Decoder;
import io.sjd2.decode.DecoderSpec;
import io.sjd2.decode.SamplingOptions;
import io.sjd2.io.Json;
import io.sjd2.model.LmFixture;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.Prompt;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.model.TransformerForward;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Pictures of the published families, from the prompt's text to the last forced token, id for id as their reference
/// implementations made them, by every decoder and at every window.
class FamilyDecodingTest {
    private static final List<String> ALL =
            List.of("chameleon", "chameleon_swin", "emu3", "janus", "llamagen_t2i", "llamagen_c2i");
    private static final List<String> PARALLEL = List.of("jacobi", "sjd", "sjd-mc", "sjd-gs", "exact");
    private static final List<Integer> WINDOWS = List.of(1, 2, 3, 8, 16, 64);

    @AfterAll
    static void close() {
        LmFixture.closeAll();
    }

    static Stream<Arguments> families() {
        return Stream.of("reference", "cpu").flatMap(backend -> ALL.stream().map(name -> Arguments.of(name, backend)));
    }

    static Stream<Arguments> textFamilies() {
        return Stream.of("reference", "cpu")
                .flatMap(backend -> LmFixture.TEXT.stream().map(name -> Arguments.of(name, backend)));
    }

    static Stream<Arguments> decoders() {
        return ALL.stream().flatMap(name -> PARALLEL.stream().map(decoder -> Arguments.of(name, decoder)));
    }

    /// A picture to make: its size and sequences.
    private record Picture(LmFixture f, Grid grid, List<Prompt> prompts) {
        int[] decode(DecodeOptions options, long seed) {
            ModelDescription d = f.description;
            int length = d.picture().length(grid);
            boolean guided = options.sampling().guided();
            List<Prompt> used = guided ? prompts : prompts.subList(0, 1);
            int[] forced = d.picture().forced(grid, d.codes());
            return run(f, used, length, forced, options, seed);
        }
    }

    private static int[] run(
            LmFixture f, List<Prompt> prompts, int length, int @Nullable [] forced, DecodeOptions options, long seed) {
        int capacity = prompts.stream().mapToInt(Prompt::length).max().orElseThrow() + length;
        try (TransformerForward forward =
                new TransformerForward(f.model, prompts.size(), options.effectiveWindow(length), capacity)) {
            forward.prefill(prompts);
            DecodeRequest.Image image = new DecodeRequest.Image(seed, 0, 0, prompts.size() > 1 ? 1 : -1);
            DecodeResult result = new Decoder(forward)
                    .decode(new DecodeRequest(length, forced, List.of(image)), options, DecodeListener.NONE);
            return Arrays.stream(result.tokens()[0]).map(f.description::token).toArray();
        }
    }

    private static Picture picture(LmFixture f) throws IOException {
        Json e2e = f.golden("e2e");
        List<Json> extents = e2e.get("grid").items();
        Grid grid = new Grid(extents.get(0).int32(), extents.get(1).int32());
        if (f.model.conditions() != null) {
            return new Picture(f, grid, f.conditions());
        }
        PromptFrame frame = new PromptFrame(f.description, f.tokenizer(), f.name);
        GenerationRequest request = new GenerationRequest(
                        e2e.get("prompt").string(), true, 1, 0, null, null, 0, null, null, null, null, null)
                .withTarget(new GenerationRequest.Target(
                        null,
                        null,
                        e2e.has("negative_prompt") ? e2e.get("negative_prompt").string() : null,
                        null));
        PromptFrame.Pair pair = frame.of(request, grid, null, 400);
        return new Picture(f, grid, List.of(pair.conditional(), pair.unconditional()));
    }

    /// Tokens of a golden; codes where the family's goldens have those.
    private static int[] golden(LmFixture f, String caseName) throws IOException {
        String file = f.model.conditions() == null ? "gen" : "lm";
        return f.hasTensor(file, caseName + ".tokens")
                ? f.ints(file, caseName + ".tokens")
                : f.ints(file, caseName + ".codes");
    }

    private static SamplingOptions greedy(double guidance) {
        return SamplingOptions.PLAIN.withTopK(1).withGuidance((float) guidance);
    }

    private static double scale(LmFixture f) throws IOException {
        return f.golden("e2e").get("guidance_scale").number();
    }

    @ParameterizedTest
    @MethodSource("families")
    void aWholePictureHasTheReferencesTokens(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        DecodeOptions options = new DecodeOptions(DecoderSpec.AR, greedy(scale(f)), 1);
        assertThat(picture(f).decode(options, 0)).containsExactly(golden(f, "e2e"));
    }

    @ParameterizedTest
    @MethodSource("families")
    void aSampledPictureHasTheReferencesTokens(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        Json sampled = f.golden("sampled");
        assertThat(sampled.get("philox_stream").int32()).isZero();
        SamplingOptions sampling = new SamplingOptions(
                (float) sampled.get("temperature").number(),
                sampled.get("top_k").int32(),
                (float) sampled.get("top_p").number(),
                (float) scale(f),
                SamplingOptions.Sampler.INVERSE_CDF);
        int[] tokens = picture(f)
                .decode(
                        new DecodeOptions(DecoderSpec.AR, sampling, 1),
                        sampled.get("philox_seed").int64());
        assertThat(tokens).containsExactly(golden(f, "sampled"));
    }

    /// Without guidance, and without anything forced: as many codes as the golden has steps.
    @ParameterizedTest
    @MethodSource("textFamilies")
    void greedyTokensAreTheReferences(String name, String backend) throws IOException {
        LmFixture f = LmFixture.open(name, backend);
        int[] expected = golden(f, "greedy");
        List<Prompt> prompt = List.of(Prompt.of(f.ints("gen", "greedy.prompt_ids")));
        DecodeOptions options = new DecodeOptions(DecoderSpec.AR, greedy(1), 1);
        assertThat(run(f, prompt, expected.length, null, options, 0)).containsExactly(expected);
        if (!f.description.imageTable()) {
            assertThat(Arrays.stream(f.ints("gen", "greedy.allowed_ids"))
                            .sorted()
                            .toArray())
                    .containsExactly(IntStream.range(0, f.description.codes())
                            .map(f.description::token)
                            .sorted()
                            .toArray());
        }
    }

    @ParameterizedTest
    @MethodSource("decoders")
    void everyDecoderIsGreedyAtTopOne(String name, String decoder) throws IOException {
        LmFixture f = LmFixture.open(name, "cpu");
        Picture picture = picture(f);
        int[] expected = golden(f, "e2e");
        boolean text = f.model.conditions() == null;
        int[] greedy = text ? golden(f, "greedy") : new int[0];
        for (int window : WINDOWS) {
            DecodeOptions guided = new DecodeOptions(DecoderSpec.parse(decoder), greedy(scale(f)), window);
            assertThat(picture.decode(guided, 3)).as("window %d", window).containsExactly(expected);
            if (text) {
                List<Prompt> prompt = List.of(Prompt.of(f.ints("gen", "greedy.prompt_ids")));
                DecodeOptions plain = new DecodeOptions(DecoderSpec.parse(decoder), greedy(1), window);
                assertThat(run(f, prompt, greedy.length, null, plain, 3))
                        .as("window %d, unguided", window)
                        .containsExactly(greedy);
            }
        }
    }

    /// Sampled, not greedy: the fixed point with a window is what one row at a time gives, forced tokens and all.
    @ParameterizedTest
    @MethodSource("families")
    void exactEqualsAutoregression(String name, String backend) throws IOException {
        for (DType dtype : List.of(DType.F32, DType.BF16)) {
            LmFixture f = LmFixture.open(name, backend, dtype);
            Picture picture = picture(f);
            SamplingOptions sampling = SamplingOptions.PLAIN.withTopK(20).withGuidance(2);
            for (long seed = 0; seed < 3; seed++) {
                int[] expected = picture.decode(new DecodeOptions(DecoderSpec.AR, sampling, 1), seed);
                for (int window : List.of(3, 16)) {
                    assertThat(picture.decode(new DecodeOptions(DecoderSpec.EXACT, sampling, window), seed))
                            .as("%s, seed %d, window %d", dtype, seed, window)
                            .containsExactly(expected);
                }
            }
        }
    }
}
