package io.sjd2.vq;

import static io.sjd2.vq.VqFixture.difference;
import static io.sjd2.vq.VqFixture.meanDifference;
import static io.sjd2.vq.VqFixture.planes;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.io.PngReader;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The decoders against the families' reference implementations, layer by layer and whole.
class VqDecoderGoldenTest {
    private static final List<String> GRIDS = List.of("vq0", "vq1");
    private static final double MOST_PIXELS_OFF = 0.005;

    @AfterAll
    static void backToTheBest() {
        VqFixture.backToTheBest();
    }

    static Stream<Arguments> everywhere() {
        return VqFixture.backends()
                .flatMap(backend -> VqFixture.NAMES.stream().map(name -> Arguments.of(name, backend)));
    }

    @ParameterizedTest
    @MethodSource("everywhere")
    void picturesAreTheReferences(String name, String backend) throws IOException {
        try (VqFixture f = VqFixture.open(name, backend, DType.F32)) {
            for (String grid : GRIDS) {
                int[] shape = f.shape(grid + ".image");
                float[] picture = f.decode(grid);
                assertThat(difference(f.floats(grid + ".image"), picture))
                        .as(grid)
                        .isLessThanOrEqualTo(VqFixture.PICTURES);
                assertSameImage(PngReader.read(f.png(grid)), f.tokenizer.toImage(picture, shape[2], shape[3]));
            }
        }
    }

    private static void assertSameImage(RgbImage expected, RgbImage actual) {
        assertThat(actual.width()).isEqualTo(expected.width());
        assertThat(actual.height()).isEqualTo(expected.height());
        int off = 0;
        for (int i = 0; i < expected.rgb().length; i++) {
            int difference = Math.abs((expected.rgb()[i] & 0xff) - (actual.rgb()[i] & 0xff));
            assertThat(difference).as("byte %d", i).isLessThanOrEqualTo(1);
            off += difference;
        }
        assertThat(off).as("bytes that differ").isLessThanOrEqualTo((int) (expected.rgb().length * MOST_PIXELS_OFF));
    }

    @ParameterizedTest
    @MethodSource("everywhere")
    void picturesInBf16AreNear(String name, String backend) throws IOException {
        try (VqFixture f = VqFixture.open(name, backend, DType.BF16)) {
            for (String grid : GRIDS) {
                float[] golden = f.floats(grid + ".image");
                float[] picture = f.decode(grid);
                assertThat(difference(golden, picture)).as(grid).isLessThanOrEqualTo(VqFixture.PICTURES_BF16);
                assertThat(meanDifference(golden, picture))
                        .as("mean of " + grid)
                        .isLessThanOrEqualTo(VqFixture.PICTURES_BF16_MEAN);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("everywhere")
    void cancellingBetweenLayersLeavesTheTokeniserUsable(String name, String backend) throws IOException {
        try (VqFixture f = VqFixture.open(name, backend, DType.F32)) {
            float[] whole = f.decode("vq0");
            int[] grid = f.shape("vq0.codes");
            long[] seen = new long[2];
            VqListener impatient = new VqListener() {
                @Override
                public void advanced(long done, long total) {
                    seen[0] = done;
                    seen[1] = total;
                }

                @Override
                public boolean cancelled() {
                    return seen[0] > 0 && seen[0] >= seen[1] / 2;
                }
            };
            assertThatThrownBy(() -> f.tokenizer.decode(f.ints("vq0.codes"), grid[1], grid[2], impatient))
                    .isInstanceOf(CancellationException.class)
                    .hasMessageContaining("of a picture");
            assertThat(seen[0]).as("FLOP done of %d", seen[1]).isLessThan(seen[1]);
            assertThat(f.decode("vq0")).containsExactly(whole);
        }
    }

    /// The golden's name and ours, of what all families but Emu3 have.
    private static final Map<String, String> LAYERS = Map.of(
            "code_embedding_l2", "codes",
            "post_quant", "post_quant",
            "after_conv_in", "after_conv_in",
            "after_mid", "after_mid",
            "after_up_1_upsample", "after_upsample_0",
            "after_up_0_upsample", "after_upsample_0",
            "after_block_0_upsample", "after_upsample_0");

    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "janus", "llamagen_t2i"})
    void everyLayerIsTheReferences(String name) throws IOException {
        for (String backend : new String[] {"reference", "cpu"}) {
            try (VqFixture f = VqFixture.open(name, backend, DType.F32)) {
                Map<String, float[]> shown = f.shown("vq0", 1);
                List<String> compared = new ArrayList<>();
                for (Map.Entry<String, String> layer : LAYERS.entrySet()) {
                    String golden = "vq0." + layer.getKey();
                    if (f.has(golden)) {
                        float[] ours = planes(shown.get(layer.getValue()), 1, f.shape(golden)[1]);
                        assertThat(difference(f.floats(golden), ours))
                                .as("%s on %s", golden, backend)
                                .isLessThanOrEqualTo(VqFixture.PICTURES);
                        compared.add(layer.getKey());
                    }
                }
                assertThat(compared).hasSizeGreaterThanOrEqualTo(4);
            }
        }
    }

    private static float[] swish(float[] values) {
        float[] out = new float[values.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = (float) (values[i] / (1 + Math.exp(-(double) values[i])));
        }
        return out;
    }

    @ParameterizedTest
    @ValueSource(strings = {"reference", "cpu"})
    void everyLayerAndFrameOfEmu3IsTheReferences(String backend) throws IOException {
        try (VqFixture f = VqFixture.open("emu3", backend, DType.F32)) {
            int[] shape = f.shape("vq0.all_frames");
            int frames = shape[1];
            int latent = 4;
            Map<String, float[]> shown = f.shown("vq0", frames);
            assertNear(f, "post_quant_bcthw", planes(shown.get("post_quant"), 1, latent));
            assertNear(f, "after_time_res_bcthw", planes(shown.get("after_time_res"), 2, latent));
            // The activations behind the last convolution in time are left to whoever reads its result.
            assertNear(f, "conv_in_input", swish(planes(shown.get("latent"), frames, latent)));
            assertNear(f, "quant_states", swish(planes(shown.get("modulator"), frames, latent)));
            for (String layer : new String[] {"after_conv_in", "after_mid", "after_up"}) {
                int channels = f.shape("vq0." + layer)[1];
                float[] golden = f.floats("vq0." + layer);
                float[] all = planes(shown.get(layer), frames, channels);
                assertNear(f, layer, Arrays.copyOf(all, golden.length));
            }
            int[] grid = f.shape("vq0.codes");
            float[][] pictures =
                    f.tokenizer.decode(f.ints("vq0.codes"), grid[1], grid[2], frames, VqListener.NONE, null);
            float[] golden = f.floats("vq0.all_frames");
            int size = golden.length / frames;
            for (int i = 0; i < frames; i++) {
                assertThat(difference(Arrays.copyOfRange(golden, i * size, (i + 1) * size), pictures[i]))
                        .as("frame %d", i)
                        .isLessThanOrEqualTo(VqFixture.PICTURES);
            }
        }
    }

    private static void assertNear(VqFixture f, String layer, float[] ours) throws IOException {
        assertThat(difference(f.floats("vq0." + layer), ours)).as(layer).isLessThanOrEqualTo(VqFixture.PICTURES);
    }
}
