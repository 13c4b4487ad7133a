package io.sjd2.cli;

import io.sjd2.ScenePrompts;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// A list of prompts: from a file, or held-out scenes.
final class PromptOptions {
    @Option(
            names = {"-p", "--prompts"},
            paramLabel = "FILE",
            description = "Text file with one prompt per line; - reads standard input.")
    private @Nullable String file;

    @Option(
            names = "--held-out",
            paramLabel = "N",
            description = "The first N scene prompts that no training has seen. Without --prompts this is the default:"
                    + " 20 for compare, 200 for evaluate.")
    private @Nullable Integer heldOut;

    /// The prompts asked for; without any, the first `fallback` held-out ones.
    List<String> prompts(int fallback) throws IOException {
        if (file != null && heldOut != null) {
            throw new IllegalArgumentException("--prompts and --held-out: both are given: name one source of prompts");
        }
        if (file != null) {
            return read(file);
        }
        return ScenePrompts.heldOut(heldOut == null ? fallback : heldOut);
    }

    /// The lines of a file that hold anything, without spaces at their ends.
    static List<String> read(String name) throws IOException {
        byte[] bytes;
        try {
            bytes = name.equals("-") ? System.in.readAllBytes() : Files.readAllBytes(Path.of(name));
        } catch (NoSuchFileException e) {
            throw new IOException(name + ": does not exist: --prompts takes a text file with one prompt per line", e);
        } catch (IOException e) {
            throw new IOException(name + ": cannot be read: " + e.getMessage(), e);
        }
        String text;
        try {
            text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(java.nio.ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new IOException(
                    name + ": is not UTF-8 text: --prompts takes a text file with one prompt per line", e);
        }
        List<String> prompts =
                text.lines().map(String::strip).filter(line -> !line.isEmpty()).toList();
        if (prompts.isEmpty()) {
            throw new IllegalArgumentException(name + ": holds no prompt: write one prompt per line");
        }
        return prompts;
    }
}
