package io.sjd2.io;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// An open safetensors file: its tensors where they lie, and its metadata.
///
/// Everything is checked on opening: header length, JSON, dtypes, shapes without overflow, and that the tensors cover
/// the buffer without holes or overlaps. Tensors may stand in any order and at any alignment. Reading is thread-safe;
/// [#close()] ends the life of every segment handed out and belongs to whoever opened the file. A mapped file must not
/// be truncated by others while it is open.
public final class SafetensorsFile implements AutoCloseable {
    private static final String REMEDY = "the file is damaged or incomplete, fetch it again";
    private static final int LENGTH_BYTES = 8;

    private final Arena owner;
    private final String source;
    private final Map<String, TensorEntry> tensors;
    private final Map<String, String> metadata;

    private SafetensorsFile(
            Arena owner, String source, Map<String, TensorEntry> tensors, Map<String, String> metadata) {
        this.owner = owner;
        this.source = source;
        this.tensors = Collections.unmodifiableMap(tensors);
        this.metadata = Collections.unmodifiableMap(metadata);
    }

    /// Maps a file read-only; pages are loaded when they are touched.
    ///
    /// @throws ModelFormatException if it is missing or breaks the format
    /// @throws IOException if reading fails
    public static SafetensorsFile open(Path file) throws IOException {
        return open(file, true);
    }

    /// Opens a file.
    ///
    /// @param map true to map it read-only, false to read it into native memory, for file systems that cannot
    ///            map or files that others may truncate
    /// @throws ModelFormatException if it is missing or breaks the format
    /// @throws IOException if reading fails
    public static SafetensorsFile open(Path file, boolean map) throws IOException {
        if (!Files.isRegularFile(file)) {
            throw new ModelFormatException(
                    file.toString(),
                    Files.exists(file) ? "is not a regular file" : "does not exist",
                    "check the path; a model is a folder as published, complete with its weights");
        }
        Arena arena = Arena.ofShared();
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            long size = channel.size();
            if (size < LENGTH_BYTES) {
                throw tooShort(file.toString(), size);
            }
            MemorySegment bytes = map
                    ? channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena)
                    : readAll(channel, size, file.toString(), arena);
            return parse(arena, bytes, file.toString());
        } catch (IOException | RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    /// Reads the format from memory that somebody else owns; closing the result then frees nothing.
    ///
    /// @param bytes  a whole file; outlives the result
    /// @param source the name that messages give it
    /// @throws ModelFormatException if it breaks the format
    public static SafetensorsFile parse(MemorySegment bytes, String source) throws ModelFormatException {
        if (bytes.byteSize() < LENGTH_BYTES) {
            throw tooShort(source, bytes.byteSize());
        }
        return parse(Arena.global(), bytes, source);
    }

    private static MemorySegment readAll(FileChannel channel, long size, String source, Arena arena)
            throws IOException {
        MemorySegment bytes = arena.allocate(size, Long.BYTES);
        long done = 0;
        while (done < size) {
            int read = channel.read(
                    bytes.asSlice(done, Math.min(size - done, 1 << 30)).asByteBuffer(), done);
            if (read < 0) {
                throw new ModelFormatException(source, "shrank to " + done + " bytes while it was read", REMEDY);
            }
            done += read;
        }
        return bytes.asReadOnly();
    }

    private static ModelFormatException tooShort(String source, long size) {
        return new ModelFormatException(
                source, "is only " + size + " bytes long, a safetensors file has a header", REMEDY);
    }

    private static SafetensorsFile parse(Arena owner, MemorySegment bytes, String source) throws ModelFormatException {
        long headerBytes = bytes.get(FloatConversions.LE_LONG, 0);
        long available = bytes.byteSize() - LENGTH_BYTES;
        if (headerBytes < 2 || headerBytes > available || headerBytes > Safetensors.MAX_HEADER_BYTES) {
            throw new ModelFormatException(
                    source,
                    "announces a header of " + Long.toUnsignedString(headerBytes) + " bytes in a file of "
                            + bytes.byteSize(),
                    "this is no safetensors file, or it was cut off; fetch it again");
        }
        byte[] text = bytes.asSlice(LENGTH_BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE);
        if (text[0] != '{') {
            throw new ModelFormatException(source, "has a header that does not start with {", REMEDY);
        }
        Json header = Json.parse(text, source);
        MemorySegment buffer = bytes.asSlice(LENGTH_BYTES + headerBytes);
        Map<String, String> metadata = new LinkedHashMap<>();
        List<Extent> extents = new ArrayList<>();
        for (String name : header.keys()) {
            Json entry = header.get(name);
            if (name.equals(Safetensors.METADATA_KEY)) {
                for (String key : entry.keys()) {
                    metadata.put(key, entry.get(key).string());
                }
            } else {
                extents.add(readExtent(name, entry, buffer.byteSize()));
            }
        }
        checkCoverage(extents, buffer.byteSize(), source);
        Map<String, TensorEntry> tensors = new LinkedHashMap<>();
        for (Extent extent : extents) {
            MemorySegment data = buffer.asSlice(extent.begin, extent.end - extent.begin);
            tensors.put(extent.name, new TensorEntry(extent.name, extent.dtype, extent.shape, data));
        }
        return new SafetensorsFile(owner, source, tensors, metadata);
    }

    private record Extent(String name, String dtype, long[] shape, long begin, long end) {}

    private static Extent readExtent(String name, Json entry, long bufferBytes) throws ModelFormatException {
        String dtype = entry.get("dtype").string();
        if (!Safetensors.isDtype(dtype)) {
            throw entry.get("dtype").unexpected("one of " + Safetensors.dtypes());
        }
        List<Json> extents = entry.get("shape").items();
        long[] shape = new long[extents.size()];
        long needed = Safetensors.bytesPerElement(dtype);
        for (int i = 0; i < shape.length; i++) {
            shape[i] = extents.get(i).int64();
            if (shape[i] < 0) {
                throw extents.get(i).unexpected("an extent of at least 0");
            }
            long high = Math.multiplyHigh(needed, shape[i]);
            needed *= shape[i];
            if (high != 0 || needed < 0) {
                throw entry.get("shape").unexpected("a tensor of less than 2^63 bytes, " + name + " has more");
            }
        }
        List<Json> offsets = entry.get("data_offsets").items();
        if (offsets.size() != 2) {
            throw entry.get("data_offsets").unexpected("an array of 2");
        }
        long begin = offsets.get(0).int64();
        long end = offsets.get(1).int64();
        if (begin < 0 || end < begin || end > bufferBytes) {
            throw new ModelFormatException(
                    entry.source(),
                    name + " lies at bytes " + begin + " to " + end + " of a buffer of " + bufferBytes,
                    "the file was cut off or is damaged, fetch it again");
        }
        if (end - begin != needed) {
            throw new ModelFormatException(
                    entry.source(),
                    name + " has " + (end - begin) + " bytes, but its shape and dtype need " + needed,
                    REMEDY);
        }
        return new Extent(name, dtype, shape, begin, end);
    }

    /// The format allows neither holes nor overlaps: with either, two readers could see different tensors in one file.
    private static void checkCoverage(List<Extent> extents, long bufferBytes, String source)
            throws ModelFormatException {
        List<Extent> sorted = new ArrayList<>(extents);
        sorted.sort(Comparator.comparingLong(Extent::begin).thenComparingLong(Extent::end));
        long covered = 0;
        for (Extent extent : sorted) {
            if (extent.begin < covered) {
                throw new ModelFormatException(
                        source,
                        extent.name + " starts at byte " + extent.begin + ", inside the tensor that ends at " + covered,
                        REMEDY);
            }
            if (extent.begin > covered) {
                throw new ModelFormatException(
                        source, "bytes " + covered + " to " + extent.begin + " belong to no tensor", REMEDY);
            }
            covered = extent.end;
        }
        if (covered != bufferBytes) {
            throw new ModelFormatException(
                    source, "bytes " + covered + " to " + bufferBytes + " belong to no tensor", REMEDY);
        }
    }

    /// The tensors' names, in the order of the header.
    public Set<String> names() {
        return tensors.keySet();
    }

    /// The tensor of this name.
    ///
    /// @throws ModelFormatException if there is none
    public TensorEntry tensor(String name) throws ModelFormatException {
        TensorEntry entry = tensors.get(name);
        if (entry == null) {
            throw missing(source, name, tensors.size());
        }
        return entry;
    }

    /// The tensor of this name, if there is one.
    public Optional<TensorEntry> find(String name) {
        return Optional.ofNullable(tensors.get(name));
    }

    /// The free text that the writer attached.
    public Map<String, String> metadata() {
        return metadata;
    }

    /// The name of the file, as messages give it.
    public String source() {
        return source;
    }

    static ModelFormatException missing(String source, String name, int size) {
        return new ModelFormatException(
                source, "has no tensor \"" + name + "\" among its " + size, "the weights do not fit the configuration");
    }

    /// Frees or unmaps the file; no segment handed out may be used after it. Idempotent.
    @Override
    public void close() {
        if (owner != Arena.global() && owner.scope().isAlive()) {
            owner.close();
        }
    }
}
