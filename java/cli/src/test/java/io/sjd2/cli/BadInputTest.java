package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Whatever a user gives: one clear line, the right exit code, and nothing written.
class BadInputTest {
    private static final String WEIGHTS = "model.safetensors";

    @TempDir
    Path folder;

    private Path model;
    private Path out;

    @BeforeEach
    void writeModel() throws IOException {
        model = TinyModel.write(folder.resolve("tiny"), false);
        out = Files.createDirectory(folder.resolve("out"));
    }

    private Session generate(String... args) {
        return Session.run(Stream.concat(Stream.of("generate", "--model", model.toString()), Arrays.stream(args))
                .toArray(String[]::new));
    }

    private void assertRefused(Session session, int code, String... words) throws IOException {
        assertThat(session.err()).doesNotContain("\tat ");
        assertThat(session.firstError()).startsWith("sjd2: ").contains(words);
        assertThat(session.code()).isEqualTo(code);
        assertThat(session.out()).isEmpty();
        assertThat(TinyModel.files(out)).isEmpty();
    }

    static Stream<Arguments> wrongArguments() {
        return Stream.of(
                Arguments.of(new String[] {"a star", "--window", "0"}, new String[] {"--window", "0", "auto"}),
                Arguments.of(
                        new String[] {"a star", "--window", "1000000"}, new String[] {"--window", "1000000", "65536"}),
                Arguments.of(new String[] {"a star", "--window", "wide"}, new String[] {"--window", "wide", "auto"}),
                Arguments.of(new String[] {"a star", "--decoder", "magic"}, new String[] {"magic", "sjd2-exact"}),
                Arguments.of(new String[] {"a star", "--decoder", "sjd2-mc"}, new String[] {"sjd2-mc", "fine-tune"}),
                Arguments.of(new String[] {"a star", "--sampler", "dice"}, new String[] {"dice", "gumbel"}),
                Arguments.of(new String[] {"a star", "--seed", "many"}, new String[] {"--seed", "many"}),
                Arguments.of(new String[] {"a star", "--levels", "0"}, new String[] {"levels", "0"}),
                Arguments.of(new String[] {"a star", "--n", "0"}, new String[] {"n is 0"}),
                Arguments.of(new String[] {"a star", "--cfg", "NaN"}, new String[] {"cfg", "NaN"}),
                Arguments.of(new String[] {"a star", "--temperature", "0"}, new String[] {"temperature", "0"}),
                Arguments.of(new String[] {"a star", "--top-k", "-1"}, new String[] {"top-k", "-1"}),
                Arguments.of(new String[] {"a star", "--top-p", "1.5"}, new String[] {"top-p", "1.5"}),
                Arguments.of(new String[] {"a star", "--backend", "abacus"}, new String[] {"abacus", "reference"}),
                Arguments.of(new String[] {"a star", "--dtype", "i32"}, new String[] {"i32", "bf16"}),
                Arguments.of(new String[] {"a star", "--threads", "-2"}, new String[] {"threads", "-2"}),
                Arguments.of(new String[] {"a star", "--colour", "red"}, new String[] {"--colour"}),
                Arguments.of(new String[] {}, new String[] {"prompt"}),
                Arguments.of(new String[] {""}, new String[] {"prompt", "empty"}),
                Arguments.of(new String[] {"   "}, new String[] {"prompt", "empty"}),
                Arguments.of(new String[] {"--raw-prompt", ""}, new String[] {"prompt"}),
                Arguments.of(
                        new String[] {"circle ".repeat(10_000)}, new String[] {"prompt", "10002 tokens", "shorten"}),
                Arguments.of(new String[] {"🦄🌈✨".repeat(200)}, new String[] {"prompt", "circle"}),
                Arguments.of(new String[] {"🦄"}, new String[] {"prompt", "🦄", "circle"}),
                Arguments.of(new String[] {"\u0000\ud800"}, new String[] {"prompt"}));
    }

    @ParameterizedTest
    @MethodSource("wrongArguments")
    void wrongArgumentIsNamedWithItsRemedy(String[] args, String[] words) throws IOException {
        String[] all = Arrays.copyOf(args, args.length + 2);
        all[args.length] = "--out";
        all[args.length + 1] = out.resolve("x.png").toString();
        assertRefused(generate(all), Errors.USAGE, words);
    }

    @Test
    void emojiBesideKnownWordsAreNoObstacle() {
        Session session =
                generate("a red circle 🦄", "--out", out.resolve("x.png").toString());
        assertThat(session.code()).isZero();
    }

    @Test
    void unknownCommandSuggestsKnownOnes() {
        Session session = Session.run("genrate", "a star");
        assertThat(session.code()).isEqualTo(Errors.USAGE);
        assertThat(session.err()).contains("generate");
    }

    @Test
    void outputThatCannotBeWrittenIsToldBeforeTheWork() throws IOException {
        Path plainFile = Files.writeString(folder.resolve("file"), "");
        for (Path bad : new Path[] {
            folder.resolve("missing/x.png"), plainFile.resolve("x.png"), plainFile, folder.resolve("missing/folder")
        }) {
            assertRefused(generate("a star", "--out", bad.toString()), Errors.FAILURE, bad.toString());
        }
        Session session =
                generate("a star", "--out", out.resolve("x.png").toString(), "--tokens-out", folder.toString());
        assertRefused(session, Errors.FAILURE, folder.toString(), "is a folder");
    }

    @Test
    void modelThatIsNotThere() throws IOException {
        model = folder.resolve("nowhere");
        assertRefused(generate("a star"), Errors.FAILURE, model.toString(), "does not exist");
        model = Files.createDirectory(folder.resolve("empty"));
        assertRefused(generate("a star"), Errors.FAILURE, "config.json");
        model = folder.resolve("tiny/config.json");
        assertRefused(generate("a star"), Errors.FAILURE, "config.json");
    }

    @Test
    void truncatedFilesAreNamed() throws IOException {
        for (String name : new String[] {WEIGHTS, "config.json", "tokenizer.json", "vq/config.json", "vq/" + WEIGHTS}) {
            Path file = model.resolve(name);
            byte[] whole = Files.readAllBytes(file);
            for (int length : new int[] {0, 5, whole.length / 2, whole.length - 1}) {
                // A text file that lost only its last line break is still whole.
                if (length < whole.length - 1 || name.endsWith(WEIGHTS)) {
                    Files.write(file, Arrays.copyOf(whole, length));
                    assertRefused(generate("a star", "--out", out.toString()), Errors.FAILURE, file.toString());
                }
            }
            Files.delete(file);
            assertRefused(
                    generate("a star", "--out", out.toString()),
                    Errors.FAILURE,
                    file.getParent().toString());
            Files.write(file, whole);
        }
    }

    @Test
    void wrongShapesAreNamed() throws IOException {
        Path config = model.resolve("config.json");
        String text = Files.readString(config);
        Files.writeString(config, text.replace("\"intermediate_size\": 48", "\"intermediate_size\": 64"));
        assertRefused(
                generate("a star", "--out", out.toString()), Errors.FAILURE, model.toString(), "gate_proj", "48", "64");
        Files.writeString(config, text.replace("\"model_type\": \"sjd2\"", "\"model_type\": \"oracle\""));
        assertRefused(generate("a star", "--out", out.toString()), Errors.FAILURE, "config.json", "oracle");
        Files.writeString(config, text.replace("\"hidden_size\": 32", "\"hidden_size\": -1"));
        assertRefused(generate("a star", "--out", out.toString()), Errors.FAILURE, "hidden_size", "-1");
    }

    @Test
    void weightsThatAreNotNumbersAreNamed() throws IOException {
        try (FileChannel file = FileChannel.open(model.resolve(WEIGHTS), StandardOpenOption.WRITE)) {
            ByteBuffer nan =
                    ByteBuffer.allocate(2).order(ByteOrder.LITTLE_ENDIAN).putShort(0, (short) 0x7fc0);
            file.write(nan, file.size() - 2);
        }
        assertRefused(
                generate("a star", "--out", out.toString()),
                Errors.FAILURE,
                model.toString(),
                "image_head.weight",
                "finite");
    }

    @Test
    void promptFilesThatHoldNothing() throws IOException {
        Path empty = Files.writeString(folder.resolve("empty.txt"), "\n \n");
        assertRefused(generate("--prompts", empty.toString()), Errors.USAGE, empty.toString(), "one prompt per line");
        Path missing = folder.resolve("missing.txt");
        assertRefused(generate("--prompts", missing.toString()), Errors.FAILURE, missing.toString(), "does not exist");
        Path binary = Files.write(folder.resolve("binary.txt"), new byte[] {(byte) 0xff, (byte) 0xfe, 0});
        assertRefused(generate("--prompts", binary.toString()), Errors.FAILURE, binary.toString(), "UTF-8");
        assertRefused(generate("a star", "--prompts", empty.toString()), Errors.USAGE, "--prompts");
    }

    @Test
    void stackTraceOnlyWhereAskedFor() {
        assertThat(generate("a star", "--n", "0", "--stacktrace").err()).contains("\tat io.sjd2");
    }
}
