package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.PngReader;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.tensor.RgbImage;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// `debug vq-decode` and `debug vq-encode`, driven as somebody with another implementation would.
class DebugPicturesTest {
    private static final double PICTURES = 1e-4;
    private static final Path HOME = Path.of(System.getProperty("sjd2.home", "."));
    private static final Path GOLDEN = HOME.resolve("java/engine/src/test/resources/golden/vq");

    @TempDir
    Path folder;

    private Path codes() {
        return folder.resolve("codes.safetensors");
    }

    private Path image() {
        return folder.resolve("image.safetensors");
    }

    private Session decode(Path model, String... more) {
        String[] args = {
            "debug", "vq-decode", "--model", model.toString(), "--in", codes().toString(), "--out", image().toString()
        };
        String[] all = Arrays.copyOf(args, args.length + more.length);
        System.arraycopy(more, 0, all, args.length, more.length);
        return Session.run(all);
    }

    private static Session encode(Path model, Path in, Path out) {
        return Session.run(
                "debug", "vq-encode", "--model", model.toString(), "--in", in.toString(), "--out", out.toString());
    }

    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "emu3", "janus", "llamagen_t2i"})
    void codesGiveTheReferencesPictures(String name) throws IOException {
        try (SafetensorsFile golden = SafetensorsFile.open(GOLDEN.resolve(name).resolve("golden/vq.safetensors"))) {
            TensorEntry codes = golden.tensor("vq0.codes");
            new SafetensorsWriter()
                    .add("codes", "I32", codes.shape(), codes.data())
                    .write(codes());
            Path png = folder.resolve("picture.png");
            Session session = decode(GOLDEN.resolve(name), "--png", png.toString());
            assertThat(session.code()).as(session.err()).isZero();
            float[] expected = golden.tensor("vq0.image").toFloats();
            try (SafetensorsFile out = SafetensorsFile.open(image())) {
                assertThat(out.tensor("image").shape())
                        .containsExactly(golden.tensor("vq0.image").shape());
                assertNear(expected, out.tensor("image").toFloats());
            }
            RgbImage written = PngReader.read(png);
            RgbImage reference = PngReader.read(GOLDEN.resolve(name).resolve("golden/vq0.png"));
            for (int i = 0; i < reference.rgb().length; i++) {
                assertThat(Math.abs((written.rgb()[i] & 0xff) - (reference.rgb()[i] & 0xff)))
                        .as("byte %d", i)
                        .isLessThanOrEqualTo(1);
            }
        }
    }

    private static void assertNear(float[] expected, float[] actual) {
        assertThat(actual).hasSameSizeAs(expected);
        for (int i = 0; i < expected.length; i++) {
            assertThat(Math.abs((double) actual[i] - expected[i]))
                    .as("element %d", i)
                    .isLessThanOrEqualTo(PICTURES);
        }
    }

    @Test
    void severalPicturesAreThoseOfEach() throws IOException {
        Path model = GOLDEN.resolve("janus");
        int[] two = new int[2 * 6];
        Arrays.setAll(two, i -> i * 11 % 128);
        new SafetensorsWriter().addI32("codes", new long[] {2, 2, 3}, two).write(codes());
        Session session = decode(model, "--png", folder.resolve("p.png").toString(), "--backend", "reference");
        assertThat(session.code()).as(session.err()).isZero();
        assertThat(folder.resolve("p-0.png")).exists();
        assertThat(folder.resolve("p-1.png")).exists();
        float[] both;
        try (SafetensorsFile out = SafetensorsFile.open(image())) {
            assertThat(out.tensor("image").shape()).containsExactly(2, 3, 4, 6);
            both = out.tensor("image").toFloats();
        }
        int[] second = Arrays.copyOfRange(two, 6, 12);
        new SafetensorsWriter().addI32("codes", new long[] {1, 2, 3}, second).write(codes());
        assertThat(decode(model, "--backend", "reference").code()).isZero();
        try (SafetensorsFile out = SafetensorsFile.open(image())) {
            float[] alone = out.tensor("image").toFloats();
            assertThat(Arrays.copyOfRange(both, alone.length, both.length)).containsExactly(alone);
        }
    }

    /// The demo model's tokeniser has an encoder; decoding what it encodes loses nothing that codes can say.
    @Test
    void picturesBecomeTheCodesThatTheyWereMadeOf() throws IOException {
        Path model = HOME.resolve("models/demo");
        int[] grid = new int[16 * 16];
        Arrays.setAll(grid, i -> i * 7 % 100);
        new SafetensorsWriter().addI32("codes", new long[] {1, 16, 16}, grid).write(codes());
        Path png = folder.resolve("picture.png");
        Session session = decode(model, "--png", png.toString());
        assertThat(session.code()).as(session.err()).isZero();
        Path again = folder.resolve("again.safetensors");
        for (Path in : new Path[] {image(), png}) {
            Session encoded = encode(model, in, again);
            assertThat(encoded.code()).as(encoded.err()).isZero();
            try (SafetensorsFile out = SafetensorsFile.open(again)) {
                assertThat(out.tensor("codes").shape()).containsExactly(1, 16, 16);
                assertThat(out.tensor("codes").toInts()).containsExactly(grid);
            }
        }
    }

    /// A picture as somebody sends it, and the same cut off or of another kind than its name says.
    @Test
    void picturesOfEitherKindAreReadAndDamagedOnesRefused() throws IOException {
        Path model = HOME.resolve("models/demo");
        BufferedImage picture = new BufferedImage(64, 64, BufferedImage.TYPE_INT_RGB);
        for (int i = 0; i < 64 * 64; i++) {
            picture.setRGB(i % 64, i / 64, i * 0x010305);
        }
        for (String kind : new String[] {"png", "jpg"}) {
            Path whole = folder.resolve("whole." + kind);
            assertThat(ImageIO.write(picture, kind, whole.toFile())).isTrue();
            Session session = encode(model, whole, codes());
            assertThat(session.code()).as(session.err()).isZero();
            byte[] bytes = Files.readAllBytes(whole);
            Path cut = folder.resolve("cut." + kind);
            Files.write(cut, Arrays.copyOf(bytes, 300));
            Path empty = folder.resolve("empty." + kind);
            Files.write(empty, new byte[0]);
            for (Path damaged : new Path[] {cut, empty}) {
                Session refused = encode(model, damaged, folder.resolve("none.safetensors"));
                assertThat(refused.code()).as(damaged + ": " + refused.err()).isEqualTo(1);
                assertThat(refused.err()).contains(damaged.getFileName().toString());
            }
        }
        assertThat(folder.resolve("none.safetensors")).doesNotExist();
    }

    @Test
    void whatDoesNotFitIsAnErrorThatSaysWhy() throws IOException {
        Path model = GOLDEN.resolve("chameleon");
        new SafetensorsWriter()
                .addI32("codes", new long[] {1, 1, 2}, new int[] {3, 128})
                .write(codes());
        Session range = decode(model);
        assertThat(range.code()).isEqualTo(2);
        assertThat(range.err()).contains("code 1 is 128").contains("127");
        new SafetensorsWriter()
                .addI32("codes", new long[] {2}, new int[] {3, 4})
                .write(codes());
        assertThat(decode(model).err()).contains("[B, h, w]");
        new SafetensorsWriter().addI32("other", new long[] {1}, new int[] {3}).write(codes());
        Session missing = decode(model);
        assertThat(missing.code()).isEqualTo(1);
        assertThat(missing.err()).contains("codes");
        assertThat(image()).doesNotExist();
        new SafetensorsWriter()
                .addF32("image", new long[] {1, 3, 4, 4}, new float[48])
                .write(image());
        Session noEncoder = encode(model, image(), codes());
        assertThat(noEncoder.code()).isEqualTo(1);
        assertThat(noEncoder.err()).contains("holds no encoder");
        new SafetensorsWriter()
                .addF32("image", new long[] {1, 3, 4, 3}, new float[36])
                .write(image());
        assertThat(encode(model, image(), codes()).err()).contains("3 x 4").contains("multiples of 2");
        Session nowhere = decode(folder.resolve("none"));
        assertThat(nowhere.code()).isEqualTo(1);
        assertThat(nowhere.err()).contains("does not exist");
        assertThat(Files.exists(folder.resolve("none"))).isFalse();
    }
}
