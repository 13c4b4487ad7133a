package io.sjd2.io;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// The weights of a model folder, in one file or in shards, under one set of names.
///
/// `model.safetensors` is taken if it is there, else the shards that `model.safetensors.index.json` lists. Reading is
/// thread-safe; [#close()] closes every file and belongs to whoever opened the folder.
public final class SafetensorsFolder implements AutoCloseable {
    /// The one file of a model that is not split.
    public static final String SINGLE_FILE = "model.safetensors";

    /// The list of shards of a model that is split.
    public static final String INDEX_FILE = "model.safetensors.index.json";

    private final Path folder;
    private final Map<String, SafetensorsFile> files;
    private final Map<String, SafetensorsFile> tensors;

    private SafetensorsFolder(Path folder, Map<String, SafetensorsFile> files, Map<String, SafetensorsFile> tensors) {
        this.folder = folder;
        this.files = files;
        this.tensors = Collections.unmodifiableMap(tensors);
    }

    /// Opens a folder with every file mapped.
    ///
    /// @throws ModelFormatException if no weights are found, or a file breaks its format
    /// @throws IOException if reading fails
    public static SafetensorsFolder open(Path folder) throws IOException {
        return open(folder, true);
    }

    /// Opens a folder.
    ///
    /// @param map as in [SafetensorsFile#open(Path, boolean)]
    /// @throws ModelFormatException if no weights are found, or a file breaks its format
    /// @throws IOException if reading fails
    public static SafetensorsFolder open(Path folder, boolean map) throws IOException {
        Map<String, SafetensorsFile> files = new LinkedHashMap<>();
        try {
            Map<String, SafetensorsFile> tensors = new LinkedHashMap<>();
            Path single = folder.resolve(SINGLE_FILE);
            Path index = folder.resolve(INDEX_FILE);
            if (Files.exists(single)) {
                SafetensorsFile file = SafetensorsFile.open(single, map);
                files.put(SINGLE_FILE, file);
                for (String name : file.names()) {
                    tensors.put(name, file);
                }
            } else if (Files.exists(index)) {
                openShards(folder, Json.read(index).get("weight_map"), map, files, tensors);
            } else {
                throw new ModelFormatException(
                        folder.toString(),
                        Files.isDirectory(folder)
                                ? "holds neither " + SINGLE_FILE + " nor " + INDEX_FILE
                                : "is not a folder",
                        "give the folder of a model in safetensors form");
            }
            return new SafetensorsFolder(folder, files, tensors);
        } catch (IOException | RuntimeException | Error e) {
            files.values().forEach(SafetensorsFile::close);
            throw e;
        }
    }

    private static void openShards(
            Path folder,
            Json weightMap,
            boolean map,
            Map<String, SafetensorsFile> files,
            Map<String, SafetensorsFile> tensors)
            throws IOException {
        for (String name : weightMap.keys()) {
            Json shard = weightMap.get(name);
            String fileName = shard.string();
            if (!isPlainFileName(fileName)) {
                // A downloaded index must not be able to reach files outside its own folder.
                throw shard.unexpected("the plain name of a .safetensors file in the same folder");
            }
            SafetensorsFile file = files.get(fileName);
            if (file == null) {
                file = SafetensorsFile.open(folder.resolve(fileName), map);
                files.put(fileName, file);
            }
            // A name that the shard does not have is an error now, not when the tensor is needed.
            file.header(name);
            tensors.put(name, file);
        }
    }

    private static boolean isPlainFileName(String name) {
        return name.endsWith(".safetensors")
                && name.length() <= 255
                && name.chars().allMatch(c -> c > ' ' && c < 0x7f && "/\\:*?\"<>|".indexOf(c) < 0)
                && !name.startsWith(".");
    }

    /// The tensors' names, in the order of the single file's header or of the index.
    public Set<String> names() {
        return tensors.keySet();
    }

    /// The tensor of this name.
    ///
    /// @throws ModelFormatException if there is none
    public TensorEntry tensor(String name) throws ModelFormatException {
        return file(name).tensor(name);
    }

    /// The tensor of this name, as [SafetensorsFile#read].
    ///
    /// @throws ModelFormatException if there is none
    public TensorEntry read(String name, Arena arena) throws ModelFormatException {
        return file(name).read(name, arena);
    }

    /// What a header says of a tensor; its bytes are not touched.
    ///
    /// @throws ModelFormatException if there is none
    public SafetensorsFile.Header header(String name) throws ModelFormatException {
        return file(name).header(name);
    }

    private SafetensorsFile file(String name) throws ModelFormatException {
        SafetensorsFile file = tensors.get(name);
        if (file == null) {
            throw SafetensorsFile.missing(folder.toString(), name, tensors.keySet());
        }
        return file;
    }

    /// Whether there is a tensor of this name.
    public boolean has(String name) {
        return tensors.containsKey(name);
    }

    /// The tensor of this name, if there is one.
    ///
    /// @throws ModelFormatException as [SafetensorsFile#find]
    public Optional<TensorEntry> find(String name) throws ModelFormatException {
        return has(name) ? Optional.of(tensor(name)) : Optional.empty();
    }

    /// The metadata of all files together; of a key that several have, the first file's.
    public Map<String, String> metadata() {
        Map<String, String> all = new LinkedHashMap<>();
        for (SafetensorsFile file : files.values()) {
            file.metadata().forEach(all::putIfAbsent);
        }
        return all;
    }

    /// The names of the opened files.
    public Set<String> fileNames() {
        return Collections.unmodifiableSet(files.keySet());
    }

    /// Closes every file; no segment handed out may be used after it. Idempotent.
    @Override
    public void close() {
        files.values().forEach(SafetensorsFile::close);
    }
}
