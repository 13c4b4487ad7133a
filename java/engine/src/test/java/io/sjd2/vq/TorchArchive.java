package io.sjd2.vq;

import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/// Writes f32 tensors as `torch.save({part: {name: tensor, ...}}, file)` does, in the pickle language's text form.
final class TorchArchive {
    private TorchArchive() {}

    static void write(Path file, String part, List<TensorEntry> tensors) throws IOException {
        StringBuilder program = new StringBuilder("}S'" + part + "'\n}");
        try (ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(file))) {
            for (int i = 0; i < tensors.size(); i++) {
                TensorEntry tensor = tensors.get(i);
                program.append("S'")
                        .append(tensor.name())
                        .append("'\n")
                        .append(pickled(tensor, i))
                        .append("s");
                out.putNextEntry(new ZipEntry("archive/data/" + i));
                out.write(tensor.data().toArray(ValueLayout.JAVA_BYTE));
                out.closeEntry();
            }
            out.putNextEntry(new ZipEntry("archive/data.pkl"));
            out.write(program.append("s.").toString().getBytes(StandardCharsets.ISO_8859_1));
            out.closeEntry();
        }
    }

    private static String pickled(TensorEntry tensor, int storage) {
        StringBuilder shape = new StringBuilder("(");
        StringBuilder strides = new StringBuilder("(");
        long stride = tensor.elementCount();
        for (long extent : tensor.shape()) {
            stride /= extent;
            shape.append('I').append(extent).append('\n');
            strides.append('I').append(stride).append('\n');
        }
        return "ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'" + storage + "'\nS'cpu'\nI"
                + tensor.elementCount() + "\ntQI0\n" + shape + "t" + strides + "tI00\n}tR";
    }
}
