package io.sjd2.cli;

import io.sjd2.ImageFiles;
import io.sjd2.debug.DebugPictures;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 debug vq-decode`: codes in, pictures out.
@Command(
        name = "vq-decode",
        header = "Turn codes into pictures with a model's image tokeniser.",
        description = {
            "",
            "The input is a safetensors file with codes I32 [B,h,w], the output one with image F32 [B,3,H,W], nominally in"
                    + " [-1, 1] and not cut off.",
            "",
            "Example:",
            "  sjd2 debug vq-decode --model DIR --in codes.safetensors --out image.safetensors --png image.png",
            ""
        },
        footer = {"", "Weights are held and multiplied as f32 unless --dtype says otherwise."})
final class DebugVqDecodeCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(names = "--in", paramLabel = "FILE", required = true, description = "Safetensors file of codes.")
    private Path in = Path.of("");

    @Option(
            names = "--out",
            paramLabel = "FILE",
            required = true,
            description = "Safetensors file to write, replaced if it exists.")
    private Path out = Path.of("");

    @Option(
            names = "--png",
            paramLabel = "FILE",
            description = "Write the picture in 8 bits as well; several become name-0.png, name-1.png ...")
    private @Nullable Path png;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    DebugVqDecodeCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        ImageFiles.checkWritable(out);
        if (png != null) {
            ImageFiles.checkWritable(png);
        }
        int pictures = model.pictures(
                console,
                "decoding",
                (folder, settings, listener) -> DebugPictures.decode(folder, in, out, png, settings, listener));
        console.note(out + ": " + pictures + (pictures == 1 ? " picture" : " pictures"));
        return 0;
    }
}
