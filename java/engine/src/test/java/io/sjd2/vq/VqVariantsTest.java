package io.sjd2.vq;

import static io.sjd2.vq.VqFixture.difference;
import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.vq.EncoderOracle.Picture;
import io.sjd2.vq.EncoderOracle.Style;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Image tokenisers that no fixture looks like: other channels, blocks, levels, resolutions with attention, widths of
/// codes and frames, both ways against {@link DecoderOracle}.
class VqVariantsTest {
    private static final int HEIGHT = 3;
    private static final int WIDTH = 4;
    private static final int CODES = 60;
    /// Codes that are nearly as near as the nearest may come out either way.
    private static final double CLEAR = 1e-3;

    @TempDir
    Path folder;

    @AfterAll
    static void backToTheBest() {
        VqFixture.backToTheBest();
    }

    /// @param config  what `config.json` says
    /// @param style   what that means
    /// @param decoder channels of the decoder's levels
    record Variant(String what, String config, Style style, int[] decoder, boolean upwards) {
        @Override
        public String toString() {
            return what;
        }
    }

    static Stream<Variant> variants() {
        return Stream.of(chameleon(), emu3(), janus(), llamagen()).flatMap(List::stream);
    }

    private static String vqgan(
            int base, String multipliers, int blocks, int resolution, String attention, int latent, int width) {
        return "{\"model_type\": \"vqgan\", \"embed_dim\": " + width + ", \"n_embed\": " + CODES
                + ", \"ddconfig\": {\"ch\": " + base + ", \"ch_mult\": " + multipliers + ", \"num_res_blocks\": "
                + blocks + ", \"resolution\": " + resolution + ", " + attention + ", \"z_channels\": " + latent
                + ", \"out_ch\": 3}}";
    }

    private static List<Variant> chameleon() {
        Style s = EncoderOracle.style("chameleon");
        int[] three = {32, 64, 128};
        int[] falling = {64, 32};
        int[] one = {64};
        int[] wide = {64, 64, 96};
        return List.of(
                new Variant(
                        "chameleon: three levels, attention at one of them, code width unlike latent channels",
                        vqgan(32, "[1, 2, 4]", 2, 24, "\"attn_resolutions\": [12]", 12, 20),
                        s.sized(32, three, 2, List.of(1), 12, 20, 0),
                        three,
                        false),
                new Variant(
                        "chameleon: attention at every resolution, three blocks, fewer channels below",
                        vqgan(32, "[2, 1]", 3, 16, "\"attn_resolutions\": [16, 8]", 8, 8),
                        s.sized(32, falling, 3, List.of(0, 1), 8, 8, 0),
                        falling,
                        false),
                new Variant(
                        "chameleon: a single level",
                        vqgan(64, "[1]", 1, 16, "\"attn_resolutions\": []", 7, 5),
                        s.sized(64, one, 1, List.of(), 7, 5, 0),
                        one,
                        false),
                new Variant(
                        "chameleon: attention switched off, odd multiples",
                        vqgan(32, "[2, 2, 3]", 1, 16, "\"attn_type\": \"none\", \"attn_resolutions\": [16]", 16, 3),
                        s.sized(32, wide, 1, List.of(), 16, 3, 0),
                        wide,
                        false));
    }

    private static String emu3(String multipliers, int blocks, String attention, int latent, int frames) {
        return "{\"model_type\": \"emu3_vqgan\", \"codebook_size\": " + CODES + ", \"embed_dim\": " + latent
                + ", \"latent_channels\": " + latent + ", \"base_channels\": 32, \"channel_multiplier\": " + multipliers
                + ", \"num_res_blocks\": " + blocks + ", \"attn_resolutions\": " + attention
                + ", \"temporal_downsample_factor\": " + frames + "}";
    }

    private static List<Variant> emu3() {
        Style s = EncoderOracle.style("emu3");
        int[] three = {32, 64, 64};
        int[] falling = {64, 32};
        int[] rising = {32, 96};
        int[] still = {32, 64};
        return List.of(
                new Variant(
                        "emu3: two frames, three levels, six latent channels",
                        emu3("[1, 2, 2]", 1, "[1]", 6, 2),
                        s.sized(32, three, 1, List.of(1), 6, 6, 2),
                        three,
                        false),
                new Variant(
                        "emu3: eight frames, two blocks, attention at both levels",
                        emu3("[2, 1]", 2, "[0, 1]", 4, 8),
                        s.sized(32, falling, 2, List.of(0, 1), 4, 4, 8),
                        falling,
                        false),
                new Variant(
                        "emu3: no attention but in the middle",
                        emu3("[1, 3]", 1, "null", 5, 4),
                        s.sized(32, rising, 1, List.of(), 5, 5, 4),
                        rising,
                        false),
                new Variant(
                        "emu3: one frame, so no convolution that makes or merges frames, and no activation behind one",
                        emu3("[1, 2]", 2, "[1]", 4, 1),
                        s.sized(32, still, 2, List.of(1), 4, 4, 1),
                        still,
                        false));
    }

    private static List<Variant> janus() {
        Style s = EncoderOracle.style("janus");
        int[] three = {64, 32, 32};
        int[] rising = {32, 96};
        return List.of(
                new Variant(
                        "janus: three levels, two blocks, five numbers a code",
                        "{\"model_type\": \"janus_vqgan\", \"num_embeddings\": " + CODES
                                + ", \"embed_dim\": 5, \"latent_channels\": 20, \"base_channels\": 32,"
                                + " \"channel_multiplier\": [2, 1, 1], \"num_res_blocks\": 2}",
                        s.sized(32, three, 2, List.of(2), 20, 5, 0),
                        three,
                        true),
                new Variant(
                        "janus: what the original configuration states wins over its class",
                        "{\"gen_vision_config\": {\"cls\": \"VQ-16\", \"params\": {\"image_token_size\": " + CODES
                                + ", \"n_embed\": 6, \"ch\": 32, \"ch_mult\": [1, 3], \"num_res_blocks\": 1,"
                                + " \"z_channels\": 10}}}",
                        s.sized(32, rising, 1, List.of(1), 10, 6, 0),
                        rising,
                        true));
    }

    private static List<Variant> llamagen() {
        Style s = EncoderOracle.style("llamagen_t2i");
        int[] encoder = {32, 64, 32};
        int[] decoder = {64, 32, 32};
        int[] two = {64, 64};
        Style two2 = s.sized(32, two, 2, List.of(1), 9, 6, 0);
        return List.of(
                new Variant(
                        "llamagen: an encoder of other channels than the decoder",
                        "{\"model_type\": \"llamagen_vq\", \"codebook_size\": " + CODES
                                + ", \"codebook_embed_dim\": 4, \"ch\": 32, \"encoder_ch_mult\": [1, 2, 1],"
                                + " \"decoder_ch_mult\": [2, 1, 1], \"num_res_blocks\": 1, \"z_channels\": 12}",
                        s.sized(32, encoder, 1, List.of(2), 12, 4, 0),
                        decoder,
                        true),
                new Variant(
                        "llamagen: codes as long as they are",
                        "{\"model_type\": \"llamagen_vq\", \"codebook_size\": " + CODES
                                + ", \"codebook_embed_dim\": 6, \"codebook_l2_norm\": false, \"ch\": 32,"
                                + " \"ch_mult\": [2, 2], \"num_res_blocks\": 2, \"z_channels\": 9}",
                        new Style(
                                two2.level(),
                                two2.block(),
                                two2.middle(),
                                two2.projections(),
                                false,
                                two2.stem(),
                                two,
                                2,
                                List.of(1),
                                9,
                                6,
                                0,
                                false),
                        two,
                        true));
    }

    @ParameterizedTest
    @MethodSource("variants")
    void codesAndPicturesAreTheOracles(Variant variant) throws IOException {
        DecoderOracle oracle =
                new DecoderOracle(variant.style, variant.decoder, CODES, variant.upwards, variant.what.hashCode());
        SplittableRandom random = new SplittableRandom(7);
        int[] codes = random.ints(HEIGHT * WIDTH, 0, CODES).toArray();
        Picture image = oracle.decode(codes, HEIGHT, WIDTH);
        int factor = 1 << (variant.decoder.length - 1);
        assertThat(image.height()).isEqualTo(HEIGHT * factor);
        float[] picture = new float[3 * image.height() * image.width()];
        for (int i = 0; i < picture.length; i++) {
            picture[i] = (float) (random.nextDouble() * 2 - 1);
        }
        Picture latent = oracle.encode(picture, image.height(), image.width());
        List<Double> margins = new ArrayList<>();
        int[] expected = oracle.nearest(latent, oracle.table(), margins);
        oracle.write(variant.config, folder);
        for (String backendName : List.of("reference", "cpu")) {
            try (Backend backend = VqFixture.backend(backendName);
                    VqTokenizer tokenizer = ImageTokenizers.open(folder, backend, DType.F32, true)) {
                assertThat(tokenizer.codes()).isEqualTo(CODES);
                assertThat(tokenizer.factor()).isEqualTo(factor);
                assertNear("image", image.values(), tokenizer.decode(codes, HEIGHT, WIDTH, VqListener.NONE));
                Map<String, float[]> shown = new HashMap<>();
                int[] found = tokenizer.encode(picture, image.height(), image.width(), VqListener.NONE, shown::put);
                assertNear("latent", latent.values(), VqFixture.planes(shown.get("latent"), 1, latent.channels()));
                for (int i = 0; i < found.length; i++) {
                    if (margins.get(i) > CLEAR) {
                        assertThat(found[i]).as("code %d", i).isEqualTo(expected[i]);
                    }
                }
            }
        }
    }

    /// Memory that is got beforehand changes no picture, whether it is of the size that is asked for or not.
    @Test
    void whatIsExpectedChangesNothing() throws IOException {
        Variant variant = variants()
                .filter(v -> v.what.contains("two frames"))
                .findFirst()
                .orElseThrow();
        DecoderOracle oracle = new DecoderOracle(variant.style, variant.decoder, CODES, variant.upwards, 5);
        int[] codes = new SplittableRandom(3).ints(HEIGHT * WIDTH, 0, CODES).toArray();
        oracle.decode(codes, HEIGHT, WIDTH);
        float[] picture = new float[3 * 16 * 8];
        oracle.encode(picture, 16, 8);
        oracle.write(variant.config, folder);
        List<float[]> decoded = new ArrayList<>();
        List<int[]> encoded = new ArrayList<>();
        VqTokenizer.Expected[] expectations = {
            null,
            VqTokenizer.Expected.decoding(HEIGHT, WIDTH),
            VqTokenizer.Expected.decoding(1, 2),
            VqTokenizer.Expected.encoding(16, 8),
            VqTokenizer.Expected.encoding(17, 3)
        };
        for (VqTokenizer.Expected expected : expectations) {
            try (Backend backend = VqFixture.backend("cpu");
                    VqTokenizer tokenizer =
                            (VqTokenizer) ImageTokenizers.openCodec(folder, backend, DType.F32, true, expected)) {
                decoded.add(tokenizer.decode(codes, HEIGHT, WIDTH, VqListener.NONE));
                encoded.add(tokenizer.encode(picture, 16, 8, VqListener.NONE));
            }
        }
        assertThat(decoded).allSatisfy(image -> assertThat(image).isEqualTo(decoded.getFirst()));
        assertThat(encoded).allSatisfy(found -> assertThat(found).isEqualTo(encoded.getFirst()));
    }

    private static void assertNear(String what, double[] expected, float[] actual) {
        double largest = 1;
        for (double value : expected) {
            largest = Math.max(largest, Math.abs(value));
        }
        assertThat(difference(EncoderOracle.floats(expected), actual))
                .as(what)
                .isLessThanOrEqualTo(VqFixture.PICTURES * largest);
    }
}
