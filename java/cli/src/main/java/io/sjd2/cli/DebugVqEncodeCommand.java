package io.sjd2.cli;

import io.sjd2.ImageFiles;
import io.sjd2.debug.DebugPictures;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 debug vq-encode`: pictures in, codes out.
@Command(
        name = "vq-encode",
        header = "Turn pictures into codes with a model's image tokeniser.",
        description = {
            "",
            "The input is a safetensors file with image F32 [B,3,H,W] in [-1, 1], or one PNG or JPEG file; the output has codes I32"
                    + " [B,h,w].",
            "",
            "Example:",
            "  sjd2 debug vq-encode --model DIR --in image.safetensors --out codes.safetensors",
            ""
        },
        footer = {"", "Weights are held and multiplied as f32 unless --dtype says otherwise."})
final class DebugVqEncodeCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(
            names = "--in",
            paramLabel = "FILE",
            required = true,
            description = "Safetensors file of pictures, or a picture whose name ends in .png, .jpg or .jpeg.")
    private Path in = Path.of("");

    @Option(
            names = "--out",
            paramLabel = "FILE",
            required = true,
            description = "Safetensors file to write, replaced if it exists.")
    private Path out = Path.of("");

    @Mixin
    private final CommonOptions common;

    private final Console console;

    DebugVqEncodeCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        ImageFiles.checkWritable(out);
        int pictures = model.pictures(
                console,
                "encoding",
                (folder, settings, listener) -> DebugPictures.encode(folder, in, out, settings, listener));
        console.note(out + ": codes of " + pictures + (pictures == 1 ? " picture" : " pictures"));
        return 0;
    }
}
