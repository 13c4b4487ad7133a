package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.io.PngReader;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// `generate` on folders as they are published, with no options but those that say what picture is wanted, as somebody
/// would who compares with another implementation: its tokens and its picture.
class PublishedFoldersTest {
    private static final double MOST_BYTES_OFF = 0.005;
    private static final Path GOLDEN =
            Path.of(System.getProperty("sjd2.home", "."), "java/engine/src/test/resources/golden");

    @TempDir
    Path folder;

    private Path model() {
        return folder.resolve("model");
    }

    private static Path lm(String name) {
        return GOLDEN.resolve("lm").resolve(name);
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.createDirectories(to);
        try (Stream<Path> files = Files.list(from)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Files.copy(file, to.resolve(file.getFileName()));
            }
        }
    }

    /// The parts of a model where its authors put them.
    private void publish(String name) throws IOException {
        copy(lm(name), model());
        switch (name) {
            case "chameleon" -> copy(GOLDEN.resolve("vq/chameleon/vqgan"), model().resolve("vqgan"));
            case "chameleon_swin" -> {
                // Its tokenisers are those of the other model.
                copy(GOLDEN.resolve("vq/chameleon/vqgan"), model().resolve("vqgan"));
                Files.copy(lm("chameleon").resolve("tokenizer.json"), model().resolve("tokenizer.json"));
            }
            case "llamagen_t2i" -> copy(GOLDEN.resolve("vq/llamagen_t2i/vq"), model().resolve("vq"));
            case "llamagen_c2i" -> cutTokeniser(96);
            default -> {}
        }
    }

    /// The first codes of the other LlamaGen's image tokeniser.
    private void cutTokeniser(int codes) throws IOException {
        Path from = GOLDEN.resolve("vq/llamagen_t2i/vq");
        Path to = Files.createDirectories(model().resolve("vq"));
        String config = Files.readString(from.resolve("config.json"));
        Files.writeString(to.resolve("config.json"), config.replace("128,", codes + ","));
        SafetensorsWriter writer = new SafetensorsWriter();
        try (SafetensorsFile weights = SafetensorsFile.open(from.resolve("model.safetensors"))) {
            for (String name : weights.names()) {
                TensorEntry entry = weights.tensor(name);
                if (name.equals("quantize.embedding.weight")) {
                    long width = entry.shape()[1];
                    writer.add(
                            name, "F32", new long[] {codes, width}, entry.data().asSlice(0, codes * width * 4));
                } else {
                    writer.add(name, entry.dtype(), entry.shape(), entry.data());
                }
            }
            writer.write(to.resolve("model.safetensors"));
        }
    }

    private static Json golden(String name) throws IOException {
        for (Json each :
                Json.read(lm(name).resolve("golden/golden.json")).get("cases").items()) {
            if (each.get("name").string().equals("e2e")) {
                return each;
            }
        }
        throw new AssertionError(name + " has no whole picture");
    }

    private static SafetensorsFile goldens(String name) throws IOException {
        return SafetensorsFile.open(
                lm(name).resolve("golden/" + (name.startsWith("llamagen") ? "lm" : "gen") + ".safetensors"));
    }

    private Path tokens() {
        return folder.resolve("tokens.json");
    }

    private Path picture() {
        return folder.resolve("picture.png");
    }

    /// @param pixels of a code's side
    private List<String> arguments(String name, int pixels, SafetensorsFile goldens) throws IOException {
        Json e2e = golden(name);
        List<Json> grid = e2e.get("grid").items();
        List<String> args = new ArrayList<>(List.of("generate", "--model", model().toString()));
        if (e2e.has("prompt")) {
            args.addAll(List.of("--raw-prompt", e2e.get("prompt").string()));
        }
        if (e2e.has("negative_prompt")) {
            args.addAll(List.of("--negative", e2e.get("negative_prompt").string()));
        }
        if (goldens.has("cond.caption")) {
            Path features = folder.resolve("caption.safetensors");
            TensorEntry caption = goldens.tensor("cond.caption");
            TensorEntry mask = goldens.tensor("cond.mask");
            new SafetensorsWriter()
                    .add("caption", caption.dtype(), caption.shape(), caption.data())
                    .add("mask", mask.dtype(), mask.shape(), mask.data())
                    .write(features);
            args.addAll(List.of("--caption-features", features.toString()));
        } else if (goldens.has("cond.labels")) {
            args.addAll(List.of(
                    "--class", Integer.toString(goldens.tensor("cond.labels").toInts()[0])));
        }
        args.addAll(List.of(
                "--top-k",
                "1",
                "--cfg",
                Double.toString(e2e.get("guidance_scale").number()),
                "--size",
                grid.get(1).int32() * pixels + "x" + grid.get(0).int32() * pixels,
                "--tokens-out",
                tokens().toString(),
                "--out",
                picture().toString()));
        return args;
    }

    private static Session run(List<String> args, String... more) {
        List<String> all = new ArrayList<>(args);
        all.addAll(List.of(more));
        Session session = Session.run(all.toArray(String[]::new));
        assertThat(session.code()).as(session.err()).isZero();
        return session;
    }

    private void assertTokens(SafetensorsFile goldens) throws IOException {
        Json made = Json.read(tokens());
        List<Integer> codes = made.get("codes").items().stream()
                .flatMap(row -> ints(row).stream())
                .toList();
        if (goldens.has("e2e.tokens")) {
            assertThat(ints(made.get("tokens"))).isEqualTo(list(goldens.tensor("e2e.tokens")));
        }
        if (goldens.has("e2e.codes")) {
            assertThat(codes).isEqualTo(list(goldens.tensor("e2e.codes")));
        }
    }

    private static List<Integer> ints(Json array) {
        List<Integer> out = new ArrayList<>();
        try {
            for (Json item : array.items()) {
                out.add(item.int32());
            }
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        return out;
    }

    private static List<Integer> list(TensorEntry tensor) {
        return Arrays.stream(tensor.toInts()).boxed().toList();
    }

    static Stream<String> families() {
        return Stream.of("chameleon", "chameleon_swin", "emu3", "janus", "llamagen_t2i", "llamagen_c2i");
    }

    /// Pixels of a code's side.
    private static int pixels(String name, SafetensorsFile goldens) throws IOException {
        if (!goldens.has("e2e.image")) {
            return 2; // as of the tokenisers that they borrow
        }
        return (int) goldens.tensor("e2e.image").shape()[3]
                / golden(name).get("grid").items().get(1).int32();
    }

    @ParameterizedTest
    @MethodSource("families")
    void tokensAndPictureAreTheReferences(String name) throws IOException {
        publish(name);
        try (SafetensorsFile goldens = goldens(name)) {
            List<String> args = arguments(name, pixels(name, goldens), goldens);
            run(args, "--decoder", "ar");
            assertTokens(goldens);
            if (goldens.has("e2e.image")) {
                assertPicture(goldens.tensor("e2e.image").toFloats(), name.startsWith("llamagen"));
            }
            for (String[] more : new String[][] {
                {"--decoder", "sjd-mc", "--window", "16"},
                {"--decoder", "jacobi", "--window", "5", "--no-mmap"},
                {"--decoder", "ar", "--backend", "reference"}
            }) {
                run(args, more);
                assertTokens(goldens);
            }
        }
    }

    private void assertPicture(float[] planes, boolean nearest) throws IOException {
        RgbImage image = PngReader.read(picture());
        int n = image.width() * image.height();
        assertThat(planes).hasSize(3 * n);
        int off = 0;
        for (int p = 0; p < n; p++) {
            for (int c = 0; c < 3; c++) {
                float unit = (Math.clamp(planes[c * n + p], -1f, 1f) + 1) / 2;
                int expected = (int) Math.min(255, unit * 255 + (nearest ? 0.5f : 0));
                int difference = Math.abs(expected - (image.rgb()[3 * p + c] & 0xff));
                assertThat(difference).as("pixel %d, channel %d", p, c).isLessThanOrEqualTo(1);
                off += difference;
            }
        }
        assertThat(off).as("bytes that differ").isLessThanOrEqualTo((int) (3 * n * MOST_BYTES_OFF));
    }

    /// Janus-Pro as it was first published: one file of PyTorch's under the original names, mapped or read.
    @ParameterizedTest
    @ValueSource(strings = {"", "--no-mmap"})
    void originalFilesGiveTheSame(String option) throws IOException {
        copy(GOLDEN.resolve("pytorch/janus_original"), model());
        Path tokenizer = model().resolve("tokenizer.json");
        if (!Files.exists(tokenizer)) {
            Files.copy(lm("janus").resolve("tokenizer.json"), tokenizer);
        }
        try (SafetensorsFile goldens = goldens("janus")) {
            List<String> args = arguments("janus", pixels("janus", goldens), goldens);
            run(args, option.isEmpty() ? new String[] {"--decoder", "ar"} : new String[] {"--decoder", "ar", option});
            assertTokens(goldens);
            assertPicture(goldens.tensor("e2e.image").toFloats(), false);
        }
    }

    private void assertRefused(int code, List<String> args, String... words) {
        List<String> all = new ArrayList<>(List.of(
                "generate", "--model", model().toString(), "--out", picture().toString()));
        all.addAll(args);
        Session session = Session.run(all.toArray(String[]::new));
        assertThat(session.err()).doesNotContain("\tat ");
        String said = session.err()
                .lines()
                .filter(line -> !line.contains("backend "))
                .findFirst()
                .orElse("");
        assertThat(said).startsWith("sjd2: ").contains(words);
        assertThat(session.code()).isEqualTo(code);
        assertThat(picture()).doesNotExist();
    }

    @Test
    void whatOneFamilyTakesAnotherRefuses() throws IOException {
        publish("llamagen_c2i");
        assertRefused(Errors.USAGE, List.of("--class", "13"), "13", "0 to 11");
        assertRefused(Errors.USAGE, List.of("--class", "12"), "12", "0 to 11");
        assertRefused(Errors.USAGE, List.of("--class", "-1"), "-1", "0 to 11");
        assertRefused(Errors.USAGE, List.of("a dog"), "--class");
        assertRefused(Errors.USAGE, List.of("--class", "1", "--size", "10x8"), "10x8", "8x8 only");
        Path features = folder.resolve("features.safetensors");
        assertRefused(
                Errors.FAILURE,
                List.of("--caption-features", features.toString()),
                features.toString(),
                "does not exist");
        new SafetensorsWriter().addF32("other", new long[] {1}, new float[1]).write(features);
        assertRefused(
                Errors.FAILURE,
                List.of("--caption-features", features.toString()),
                "\"caption\"",
                "this one has other");
    }

    /// Pixels of a code are the image tokeniser's, which a published configuration of the language model need not
    /// describe.
    @Test
    void sizesAreThoseOfTheImageTokeniserThatIsThere() throws IOException {
        publish("chameleon");
        Path config = model().resolve("config.json");
        String text = Files.readString(config);
        String without = text.replace("\"vq_config\"", "\"something_else\"");
        assertThat(without).isNotEqualTo(text);
        Files.writeString(config, without);
        Session session = Session.run(
                "generate",
                "--model",
                model().toString(),
                "a dog",
                "--size",
                "32x16",
                "--out",
                picture().toString());
        assertThat(session.code()).as(session.err()).isZero();
        RgbImage image = PngReader.read(picture());
        assertThat(image.width()).isEqualTo(32);
        assertThat(image.height()).isEqualTo(16);
        Files.delete(picture());
        assertRefused(Errors.USAGE, List.of("a dog", "--size", "6x6"), "6x6", "multiples of 4");
        assertRefused(Errors.USAGE, List.of("a dog", "--size", "128x128"), "64 x 64 codes", "smaller");
        Session inspected = Session.run("inspect", "--model", model().toString(), "--json");
        Json found = Json.parse(inspected.out(), "inspect");
        assertThat(found.get("image_width").int32())
                .isEqualTo(2 * found.get("grid_width").int32());
    }

    @Test
    void sizesAndDecodersThatDoNotFitAreNamed() throws IOException {
        publish("chameleon");
        for (String size : List.of("33x32", "2x2", "4000x4000")) {
            assertRefused(Errors.USAGE, List.of("a dog", "--size", size), size, "multiples of 4");
        }
        assertRefused(Errors.USAGE, List.of("--class", "3"), "class", "takes a prompt");
        assertRefused(Errors.USAGE, List.of("a dog", "--decoder", "sjd2"), "sjd2", "finetune");
    }

    @Test
    void damagedFoldersAreNamedWithWhatIsWrong() throws IOException {
        publish("chameleon");
        Path vqgan = model().resolve("vqgan");
        Files.delete(vqgan.resolve("config.json"));
        Files.delete(vqgan.resolve("model.safetensors"));
        List<String> any = List.of("a dog");
        assertRefused(Errors.FAILURE, any, vqgan.toString(), "no weights", "vqgan.ckpt");
        byte[] whole = Files.readAllBytes(GOLDEN.resolve("pytorch/vqgan.ckpt"));
        Path checkpoint = vqgan.resolve("vqgan.ckpt");
        for (int length : new int[] {0, 100, whole.length / 2, whole.length - 1}) {
            Files.write(checkpoint, Arrays.copyOf(whole, length));
            assertRefused(Errors.FAILURE, any, checkpoint.toString());
            assertRefused(Errors.FAILURE, List.of("a dog", "--no-mmap"), checkpoint.toString());
        }
        Files.copy(GOLDEN.resolve("pytorch/calls_a_function.ckpt"), checkpoint, StandardCopyOption.REPLACE_EXISTING);
        assertRefused(Errors.FAILURE, any, checkpoint.toString(), "builtins.print", "refused");
        Path config = model().resolve("config.json");
        Files.writeString(config, "{\"model_type\": \"llama\", \"hidden_size\": 64}");
        assertRefused(Errors.FAILURE, any, config.toString(), "llama", "chameleon");
        Files.writeString(config, "[]");
        assertRefused(Errors.FAILURE, any, config.toString(), "expected an object");
    }

    @Test
    void aMissingShardIsNamed() throws IOException {
        publish("emu3");
        Path shard = model().resolve("model-00002-of-00002.safetensors");
        Files.delete(shard);
        assertRefused(Errors.FAILURE, List.of("a dog"), shard.toString(), "does not exist");
    }

    /// What the files hold decides, so that a checkpoint's own numbers are what is computed with.
    @Test
    void weightsAreHeldAsTheyAreStored() throws IOException {
        publish("janus");
        Json f32 = Json.parse(
                run(List.of("inspect", "--model", model().toString(), "--json")).out(), "f32");
        assertThat(f32.get("dtype").string()).isEqualTo("f32");
        copy(lm("chameleon_bf16"), folder.resolve("bf16"));
        Json bf16 = Json.parse(
                run(List.of("inspect", "--model", folder.resolve("bf16").toString(), "--json"))
                        .out(),
                "bf16");
        assertThat(bf16.get("dtype").string()).isEqualTo("bf16");
    }
}
