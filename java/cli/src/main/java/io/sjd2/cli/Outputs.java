package io.sjd2.cli;

import io.sjd2.GeneratedImage;
import io.sjd2.ImageFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// Where the pictures of a run go.
///
/// @param file    for `--out name.png`, else null
/// @param folder  where telling names are made, if `file` is null
/// @param tokens  for `--tokens-out`
/// @param prompts number of prompts
/// @param images  pictures per prompt
record Outputs(@Nullable Path file, Path folder, @Nullable Path tokens, int prompts, int images) {

    /// Decides, and fails before the work if something cannot be written.
    static Outputs plan(@Nullable Path out, @Nullable Path tokens, int prompts, int images) throws IOException {
        boolean toFile = out != null
                && !Files.isDirectory(out)
                && out.toString().toLowerCase(Locale.ROOT).endsWith(".png");
        Path folder = out == null ? Path.of("") : out;
        Outputs outputs = new Outputs(toFile ? out : null, folder, tokens, prompts, images);
        if (toFile) {
            ImageFiles.checkWritable(outputs.numbered(out, 0, 0));
        } else {
            if (out != null && !Files.isDirectory(out)) {
                makeFolder(out);
            }
            ImageFiles.checkWritable(folder.resolve("picture.png"));
        }
        if (tokens != null) {
            ImageFiles.checkWritable(outputs.numbered(tokens, 0, 0));
        }
        return outputs;
    }

    private static void makeFolder(Path folder) throws IOException {
        try {
            Files.createDirectory(folder);
        } catch (IOException e) {
            throw new IOException(
                    folder + ": cannot be made a folder for pictures: "
                            + (Files.exists(folder)
                                    ? "it is a file whose name does not end in .png"
                                    : "the folder above it is missing or may not be written to"),
                    e);
        }
    }

    /// Writes a picture, and its tokens if asked for.
    Path write(GeneratedImage image, int prompt, String model) throws IOException {
        Path written;
        if (file != null) {
            written = numbered(file, prompt, image.index());
            ImageFiles.write(written, image, model);
        } else {
            String stem = ImageFiles.stem(image.prompt(), image.seed());
            written = ImageFiles.writeUnique(folder, images > 1 ? stem + "-image" + image.index() : stem, image, model);
        }
        if (tokens != null) {
            ImageFiles.writeTokens(numbered(tokens, prompt, image.index()), image);
        }
        return written;
    }

    /// `name.png`, or with several pictures `name-3.png`, counted over prompts and pictures from 0.
    private Path numbered(Path path, int prompt, int index) {
        if (prompts * (long) images == 1) {
            return path;
        }
        String name = path.getFileName().toString();
        int dot = name.lastIndexOf('.');
        String stem = dot <= 0 ? name : name.substring(0, dot);
        String extension = dot <= 0 ? "" : name.substring(dot);
        return path.resolveSibling(stem + "-" + ((long) prompt * images + index) + extension);
    }
}
