package io.sjd2;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.PngWriter;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Pictures and their tokens as files. Every file appears whole or not at all.
public final class ImageFiles {
    /// What PNG files name as the program that made them.
    public static final String SOFTWARE = "sjd2";

    private static final String PNG = "png";

    private ImageFiles() {}

    /// Writes a picture as PNG, with what made it attached as text: `prompt`, `seed`, `index`, `model`, all of
    /// {@link PictureSettings#toJson}, and `Software`. An older file is replaced.
    ///
    /// @param model the model's name
    /// @throws IOException naming the file, if it cannot be written
    public static void write(Path file, GeneratedImage image, String model) throws IOException {
        PngWriter.write(file, image.image(), text(image, model));
    }

    /// As {@link #write}, under a name made of `stem` that no file in `folder` has yet.
    ///
    /// @return the file written
    public static Path writeUnique(Path folder, String stem, GeneratedImage image, String model) throws IOException {
        return writeUnique(folder, stem, image.image(), text(image, model));
    }

    /// Writes any picture under a name made of `stem` that no file in `folder` has yet.
    ///
    /// @return the file written
    public static Path writeUnique(Path folder, String stem, RgbImage image, Map<String, String> text)
            throws IOException {
        byte[] png = PngWriter.encode(image, text);
        return AtomicFiles.writeUnique(folder, stem, PNG, channel -> {
            ByteBuffer bytes = ByteBuffer.wrap(png);
            while (bytes.hasRemaining()) {
                channel.write(bytes);
            }
        });
    }

    /// Writes any picture as PNG, with text attached. An older file is replaced.
    public static void write(Path file, RgbImage image, Map<String, String> text) throws IOException {
        PngWriter.write(file, image, text);
    }

    /// Writes `text` as UTF-8. An older file is replaced.
    public static void write(Path file, String text) throws IOException {
        AtomicFiles.write(file, text);
    }

    /// Writes `{"tokens": [all ids, forced ones included], "codes": [[rows of the grid]]}`. An older file is replaced.
    public static void writeTokens(Path file, GeneratedImage image) throws IOException {
        List<Integer> tokens = new ArrayList<>();
        for (int token : image.tokens()) {
            tokens.add(token);
        }
        List<List<Integer>> codes = new ArrayList<>();
        for (int[] row : image.codes()) {
            List<Integer> ids = new ArrayList<>();
            for (int code : row) {
                ids.add(code);
            }
            codes.add(ids);
        }
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("tokens", tokens);
        json.put("codes", codes);
        AtomicFiles.write(file, Json.text(json) + "\n");
    }

    /// A name that tells a picture's prompt and seed, safe on every platform, without an extension.
    public static String stem(String prompt, long seed) {
        return AtomicFiles.stemOf(prompt) + "-seed" + seed;
    }

    /// Fails early if a file could not be written there, so that nobody waits for a picture that has no place.
    ///
    /// @throws IOException naming the file, what is wrong, and what to do
    public static void checkWritable(Path file) throws IOException {
        Path folder = file.toAbsolutePath().getParent();
        String trouble;
        if (Files.isDirectory(file)) {
            trouble = "is a folder; give the name of a file to write";
        } else if (folder == null || !Files.exists(folder)) {
            trouble = "its folder does not exist; create it first";
        } else if (!Files.isDirectory(folder)) {
            trouble = "its folder is not a folder; choose another place";
        } else if (!Files.isWritable(folder)) {
            trouble = "its folder may not be written to; choose another place";
        } else {
            AtomicFiles.check(file);
            return;
        }
        throw new IOException(file + ": cannot be written: " + trouble);
    }

    private static Map<String, String> text(GeneratedImage image, String model) {
        Map<String, String> text = new LinkedHashMap<>();
        text.put("prompt", image.prompt());
        text.put("seed", Long.toString(image.seed()));
        text.put("index", Integer.toString(image.index()));
        text.put("model", model);
        image.settings().toJson().forEach((name, value) -> text.put(name, value.toString()));
        text.put("Software", SOFTWARE);
        return text;
    }
}
