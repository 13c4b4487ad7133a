package io.sjd2.vq;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PytorchFile;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// The weights of a folder in whichever form they were published: safetensors, or PyTorch's own files.
final class WeightFiles implements WeightSource, AutoCloseable {
    private static final String PYTORCH_FILE = "pytorch_model.bin";
    private static final String PYTORCH_INDEX = "pytorch_model.bin.index.json";
    private static final List<String> PYTORCH_ENDINGS = List.of(".ckpt", ".pt", ".pth", ".bin");

    private final Path folder;
    private final @Nullable SafetensorsFolder safetensors;
    private final List<PytorchFile> files = new ArrayList<>();
    private final Map<String, PytorchFile> names = new HashMap<>();

    private WeightFiles(Path folder, @Nullable SafetensorsFolder safetensors) {
        this.folder = folder;
        this.safetensors = safetensors;
    }

    /// Whether a folder has anything that {@link #open} could read.
    static boolean present(Path folder) throws IOException {
        return Files.exists(folder.resolve(SafetensorsFolder.SINGLE_FILE))
                || Files.exists(folder.resolve(SafetensorsFolder.INDEX_FILE))
                || Files.exists(folder.resolve(PYTORCH_INDEX))
                || !pytorchFiles(folder).isEmpty();
    }

    /// Safetensors before PyTorch's files; of the latter `pytorch_model.bin` before its shards before a single other
    /// one.
    ///
    /// @param map whether files are mapped
    /// @throws ModelFormatException if there are no weights, or several files and nothing says which
    static WeightFiles open(Path folder, boolean map) throws IOException {
        if (Files.exists(folder.resolve(SafetensorsFolder.SINGLE_FILE))
                || Files.exists(folder.resolve(SafetensorsFolder.INDEX_FILE))) {
            return new WeightFiles(folder, SafetensorsFolder.open(folder, map));
        }
        return open(folder, choose(folder), map);
    }

    /// One of PyTorch's files.
    static WeightFiles openFile(Path file, boolean map) throws IOException {
        return open(file, List.of(file), map);
    }

    private static WeightFiles open(Path source, List<Path> paths, boolean map) throws IOException {
        WeightFiles weights = new WeightFiles(source, null);
        try {
            for (Path path : paths) {
                PytorchFile file = PytorchFile.open(path, map);
                weights.files.add(file);
                file.names().forEach(name -> weights.names.putIfAbsent(name, file));
            }
            return weights;
        } catch (IOException | RuntimeException | Error e) {
            weights.close();
            throw e;
        }
    }

    private static List<Path> choose(Path folder) throws IOException {
        if (Files.exists(folder.resolve(PYTORCH_FILE))) {
            return List.of(folder.resolve(PYTORCH_FILE));
        }
        if (Files.exists(folder.resolve(PYTORCH_INDEX))) {
            Json map = Json.read(folder.resolve(PYTORCH_INDEX)).get("weight_map");
            Map<String, Path> shards = new LinkedHashMap<>();
            for (String name : map.keys()) {
                Json shard = map.get(name);
                if (!shard.string().matches("[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\\.bin")) {
                    throw shard.unexpected("the plain name of a .bin file in the same folder");
                }
                shards.put(shard.string(), folder.resolve(shard.string()));
            }
            return List.copyOf(shards.values());
        }
        List<Path> found = pytorchFiles(folder);
        if (found.size() != 1) {
            throw new ModelFormatException(
                    folder.toString(),
                    found.isEmpty() ? "holds no weights" : "holds " + found.size() + " files of weights: " + found,
                    "leave one of model.safetensors, its index, " + PYTORCH_FILE + " or a single file ending in one of "
                            + PYTORCH_ENDINGS);
        }
        return found;
    }

    /// Sorted by name.
    static List<Path> pytorchFiles(Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        try (Stream<Path> list = Files.list(folder)) {
            return list.filter(Files::isRegularFile)
                    .filter(path ->
                            PYTORCH_ENDINGS.stream().anyMatch(path.getFileName().toString()::endsWith))
                    .sorted()
                    .toList();
        }
    }

    @Override
    public String source() {
        return folder.toString();
    }

    @Override
    public boolean has(String name) {
        return safetensors != null ? safetensors.has(name) : names.containsKey(name);
    }

    @Override
    public TensorEntry read(String name, Arena arena) throws IOException {
        if (safetensors != null) {
            return safetensors.read(name, arena);
        }
        PytorchFile file = names.get(name);
        if (file == null) {
            throw new ModelFormatException(
                    folder.toString(),
                    "has no tensor \"" + name + "\" among its " + names.size(),
                    "the weights do not fit the configuration");
        }
        return file.read(name, arena);
    }

    @Override
    public void close() {
        if (safetensors != null) {
            safetensors.close();
        }
        files.forEach(PytorchFile::close);
    }
}
