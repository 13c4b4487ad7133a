package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Sizes, negative prompts, classes and captions on a model that takes text and has one size.
class TargetOptionsTest {
    @TempDir
    Path folder;

    private Path model;

    @BeforeEach
    void writeModel() throws IOException {
        model = TinyModel.write(folder.resolve("tiny"), false);
    }

    private Session generate(String name, String... args) {
        String[] all = new String[args.length + 7];
        System.arraycopy(
                new String[] {
                    "generate",
                    "--model",
                    model.toString(),
                    "--out",
                    folder.resolve(name + ".png").toString(),
                    "--tokens-out",
                    folder.resolve(name + ".json").toString()
                },
                0,
                all,
                0,
                7);
        System.arraycopy(args, 0, all, 7, args.length);
        return Session.run(all);
    }

    private void assertRefused(Session session, int code, String... words) {
        assertThat(session.code()).isEqualTo(code);
        assertThat(session.firstError()).startsWith("sjd2: ").contains(words);
        assertThat(Files.exists(folder.resolve("x.png"))).isFalse();
    }

    @Test
    void theUsualSizeMayBeNamed() throws IOException {
        assertThat(generate("usual", "a star", "--window", "8").code()).isZero();
        assertThat(generate("named", "a star", "--window", "8", "--size", "64x64")
                        .code())
                .isZero();
        assertThat(Files.readString(folder.resolve("named.json")))
                .isEqualTo(Files.readString(folder.resolve("usual.json")));
    }

    @Test
    void sizesThatTheModelDoesNotMakeAreRefused() {
        assertRefused(generate("x", "a star", "--size", "128x64"), Errors.USAGE, "128x64", "64x64 only");
        assertRefused(generate("x", "a star", "--size", "63x64"), Errors.USAGE, "63x64", "multiples of 4");
        assertRefused(generate("x", "a star", "--size", "0x0"), Errors.USAGE, "0x0");
        for (String text : new String[] {"wide", "64", "64x", "-4x4", "64x64x3"}) {
            assertRefused(generate("x", "a star", "--size=" + text), Errors.USAGE, "--size", text, "768x512");
        }
    }

    @Test
    void theNegativePromptStandsInTheUnconditionalSequence() throws IOException {
        String[] common = {"a star", "--decoder", "ar", "--cfg", "4", "--top-k", "1"};
        assertThat(generate("without", common).code()).isZero();
        for (String negative : new String[] {"a red circle", ""}) {
            String[] args = java.util.Arrays.copyOf(common, common.length + 2);
            args[common.length] = "--negative";
            args[common.length + 1] = negative;
            assertThat(generate("negative" + negative.length(), args).code()).isZero();
        }
        String without = Files.readString(folder.resolve("without.json"));
        assertThat(Files.readString(folder.resolve("negative12.json"))).isNotEqualTo(without);
        assertThat(Files.readString(folder.resolve("negative0.json"))).isEqualTo(without);
    }

    @Test
    void conditionsAreForModelsThatTakeThem() throws IOException {
        assertRefused(generate("x", "--class", "3"), Errors.USAGE, "takes a prompt");
        assertRefused(generate("x", "--class", "3", "a star"), Errors.USAGE, "class 3", "a prompt is given too");
        Path features = folder.resolve("caption.safetensors");
        new SafetensorsWriter()
                .addF32("caption", new long[] {1, 2, 3}, new float[6])
                .addI32("mask", new long[] {3}, new int[] {0, 1, 1})
                .write(features);
        assertRefused(
                generate("x", "--caption-features", features.toString()),
                Errors.FAILURE,
                features.toString(),
                "mask",
                "[2]");
        new SafetensorsWriter().addI32("caption", new long[] {2, 3}, new int[6]).write(features);
        assertRefused(
                generate("x", "--caption-features", features.toString()), Errors.FAILURE, "caption", "floating-point");
        new SafetensorsWriter()
                .addF32("caption", new long[] {2, 3}, new float[6])
                .write(features);
        assertRefused(generate("x", "--caption-features", features.toString()), Errors.USAGE, "takes a prompt");
        assertRefused(
                generate("x", "--class", "1", "--caption-features", features.toString()),
                Errors.USAGE,
                "--class",
                "one of");
        assertRefused(generate("x", "--caption-features", "missing"), Errors.FAILURE, "missing", "does not exist");
    }

    @Test
    void helpSaysAllOfIt() {
        assertThat(Session.run("generate", "--help").out())
                .contains("--size", "--negative", "--class", "--caption-features", "--raw-prompt", "--no-mmap");
    }
}
