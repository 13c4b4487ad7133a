package io.sjd2.model;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;

/// Weights of a folder's safetensors files. Mapped, bytes are read when they are touched, and their pages given back;
/// not mapped, each tensor is read into memory that goes with its arena.
final class SafetensorsSource implements TensorSource {
    private final Path folder;
    private final SafetensorsFolder files;

    private SafetensorsSource(Path folder, SafetensorsFolder files) {
        this.folder = folder;
        this.files = files;
    }

    static SafetensorsSource open(Path folder, boolean map) throws IOException {
        return new SafetensorsSource(folder, SafetensorsFolder.open(folder, map));
    }

    @Override
    public String source() {
        return folder.toString();
    }

    @Override
    public boolean has(String name) {
        return files.has(name);
    }

    @Override
    public Info info(String name) throws ModelFormatException {
        SafetensorsFile.Header header = files.header(name);
        return new Info(name, header.dtype(), header.shape(), header.bytes());
    }

    @Override
    public TensorEntry read(String name, Arena arena) throws ModelFormatException {
        return files.read(name, arena);
    }

    @Override
    public void release(TensorEntry entry) {
        if (entry.data().isMapped() && entry.data().byteSize() > 0) {
            // Clean pages of a file: without this they would count as this process's memory until the end.
            entry.data().unload();
        }
    }

    @Override
    public void close() {
        files.close();
    }
}
