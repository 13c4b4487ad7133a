package io.sjd2.benchmarks.peers;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/// Writes programs that every PyTorch loads with `torch.jit.load`, without Python at hand: an archive of the text of
/// one module, its pickled object without any attributes, and no constants.
final class TorchScript {
    private static final int PROTOCOL = 0x80;
    private static final int NEW_OBJECT = 0x81;
    private static final int FALSE = 0x89;

    private TorchScript() {}

    /// @param arguments  names of the tensors that `forward` takes
    /// @param result     its type
    /// @param body       statements, one a line
    static void write(Path file, List<String> arguments, String result, List<String> body) throws IOException {
        StringBuilder text = new StringBuilder("""
            class Model(Module):
              __parameters__ = []
              __buffers__ = []
              training : bool
              def forward(self: __torch__.Model""");
        arguments.forEach(argument -> text.append(",\n    ").append(argument).append(": Tensor"));
        text.append(") -> ").append(result).append(":\n");
        body.forEach(statement -> text.append("    ").append(statement).append('\n'));
        try (ZipOutputStream archive = new ZipOutputStream(Files.newOutputStream(file))) {
            put(archive, "data.pkl", pickledModule());
            put(archive, "code/__torch__.py", text.toString().getBytes(StandardCharsets.UTF_8));
            put(archive, "constants.pkl", new byte[] {(byte) PROTOCOL, 2, ')', '.'});
            put(archive, "version", "3\n".getBytes(StandardCharsets.US_ASCII));
        }
    }

    /// An object of class `__torch__.Model` whose only attribute is `training`, false.
    private static byte[] pickledModule() throws IOException {
        byte[] attribute = "training".getBytes(StandardCharsets.US_ASCII);
        ByteArrayOutputStream pickle = new ByteArrayOutputStream();
        pickle.write(PROTOCOL);
        pickle.write(2);
        pickle.write("c__torch__\nModel\n)".getBytes(StandardCharsets.US_ASCII));
        pickle.write(NEW_OBJECT);
        pickle.write(new byte[] {'}', '(', 'X', (byte) attribute.length, 0, 0, 0});
        pickle.write(attribute);
        pickle.write(FALSE);
        pickle.write(new byte[] {'u', 'b', '.'});
        return pickle.toByteArray();
    }

    private static void put(ZipOutputStream archive, String name, byte[] bytes) throws IOException {
        CRC32 check = new CRC32();
        check.update(bytes);
        // The reader looks for a folder of any name; it takes nothing compressed.
        ZipEntry entry = new ZipEntry("model/" + name);
        entry.setMethod(ZipEntry.STORED);
        entry.setSize(bytes.length);
        entry.setCrc(check.getValue());
        archive.putNextEntry(entry);
        archive.write(bytes);
        archive.closeEntry();
    }
}
