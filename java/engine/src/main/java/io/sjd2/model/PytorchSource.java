package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PytorchFile;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/// Weights of files that PyTorch saved, as some authors publish them: `pytorch_model.bin`, whole or in shards, or one
/// `.pt`.
final class PytorchSource implements TensorSource {
    private static final String SINGLE_FILE = "pytorch_model.bin";
    private static final String INDEX_FILE = "pytorch_model.bin.index.json";
    private static final List<String> ENDINGS = List.of(".pt", ".pth", ".bin", ".ckpt");
    /// How the files of image tokenisers beside a model begin.
    private static final String IMAGE_TOKENISER = "vq";

    private final Path folder;
    private final List<PytorchFile> files = new ArrayList<>();
    private final Map<String, PytorchFile> owners = new HashMap<>();

    private PytorchSource(Path folder) {
        this.folder = folder;
    }

    /// The files of a folder that hold its language model; empty if there are none.
    ///
    /// @throws ModelFormatException if several files could be meant, or the index names something that is no file here
    static List<Path> find(Path folder) throws IOException {
        if (Files.exists(folder.resolve(SINGLE_FILE))) {
            return List.of(folder.resolve(SINGLE_FILE));
        }
        if (Files.exists(folder.resolve(INDEX_FILE))) {
            return shards(folder, Json.read(folder.resolve(INDEX_FILE)).get("weight_map"));
        }
        List<Path> found;
        try (Stream<Path> list = Files.list(folder)) {
            found = list.filter(Files::isRegularFile)
                    .filter(path -> isWeights(path.getFileName().toString()))
                    .sorted()
                    .toList();
        }
        if (found.size() > 1) {
            throw new ModelFormatException(
                    folder.toString(),
                    "holds " + found.size() + " files that could be its weights: " + found,
                    "leave the one that belongs to its " + ModelDescription.CONFIG_FILE);
        }
        return found;
    }

    private static boolean isWeights(String name) {
        return ENDINGS.stream().anyMatch(name::endsWith) && !name.startsWith(IMAGE_TOKENISER);
    }

    private static List<Path> shards(Path folder, Json weightMap) throws ModelFormatException {
        Set<Path> shards = new LinkedHashSet<>();
        for (String name : weightMap.keys()) {
            Json shard = weightMap.get(name);
            // A downloaded index must not be able to reach files outside its own folder.
            if (!shard.string().matches("[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\\.bin")) {
                throw shard.unexpected("the plain name of a .bin file in the same folder");
            }
            shards.add(folder.resolve(shard.string()));
        }
        return List.copyOf(shards);
    }

    /// @param map  false to read tensors when they are asked for instead of mapping files
    static PytorchSource open(Path folder, List<Path> paths, boolean map) throws IOException {
        PytorchSource source = new PytorchSource(folder);
        try {
            for (Path path : paths) {
                PytorchFile file = PytorchFile.open(path, map);
                source.files.add(file);
                file.names().forEach(name -> source.owners.putIfAbsent(name, file));
            }
            return source;
        } catch (IOException | RuntimeException | Error e) {
            source.close();
            throw e;
        }
    }

    @Override
    public String source() {
        return folder.toString();
    }

    @Override
    public boolean has(String name) {
        return owners.containsKey(name);
    }

    @Override
    public Info info(String name) throws ModelFormatException {
        SafetensorsFile.Header header = file(name).header(name);
        return new Info(name, header.dtype(), header.shape(), header.bytes());
    }

    @Override
    public TensorEntry read(String name, Arena arena) throws ModelFormatException {
        return file(name).read(name, arena);
    }

    private PytorchFile file(String name) throws ModelFormatException {
        PytorchFile file = owners.get(name);
        if (file == null) {
            throw new ModelFormatException(
                    folder.toString(),
                    "has no tensor \"" + name + "\" among its " + owners.size(),
                    "the weights do not fit the configuration");
        }
        return file;
    }

    @Override
    public void release(TensorEntry entry) {
        if (entry.data().isMapped() && entry.data().byteSize() > 0) {
            entry.data().unload();
        }
    }

    @Override
    public void close() {
        files.forEach(PytorchFile::close);
    }
}
