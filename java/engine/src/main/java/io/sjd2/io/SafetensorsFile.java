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
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/// An open safetensors file: its tensors where they lie, and its metadata.
///
/// Everything is checked on opening: header length, JSON, dtypes, shapes without overflow, and that the tensors cover
/// the buffer without holes or overlaps. Tensors may stand in any order and at any alignment. Reading is thread-safe;
/// [#close()] ends the life of every segment handed out and belongs to whoever opened the file. A mapped file must not
/// be truncated by others while it is open.
public final class SafetensorsFile implements AutoCloseable {
    private static final String REMEDY = "the file is damaged or incomplete, fetch it again";
    private static final int LENGTH_BYTES = 8;
    /// Of tensors that are read: whatever vector instructions like.
    private static final long ALIGNMENT = 64;
    private static final int FEW_NAMES = 16;

    /// What the header says of a tensor.
    ///
    /// @param shape not copied: do not write to it
    /// @param bytes in the file
    public record Header(String name, String dtype, long[] shape, long bytes) {}

    private final Arena owner;
    private final String source;
    private final Map<String, Extent> extents;
    private final Map<String, String> metadata;
    /// Everything behind the header; null where tensors are read one by one.
    private final @Nullable MemorySegment buffer;

    private final @Nullable FileChannel channel;
    /// Where the first tensor lies in the file.
    private final long dataStart;

    /// Those that were asked for without an owner, where tensors are read one by one.
    private final Map<String, TensorEntry> copies = new ConcurrentHashMap<>();

    private SafetensorsFile(
            Arena owner,
            String source,
            Map<String, Extent> extents,
            Map<String, String> metadata,
            @Nullable MemorySegment buffer,
            @Nullable FileChannel channel,
            long dataStart) {
        this.owner = owner;
        this.source = source;
        this.extents = Collections.unmodifiableMap(extents);
        this.metadata = Collections.unmodifiableMap(metadata);
        this.buffer = buffer;
        this.channel = channel;
        this.dataStart = dataStart;
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
    /// @param map true to map it read-only, false to read each tensor into native memory when it is asked for, for
    ///            file systems that cannot map or files that others may truncate
    /// @throws ModelFormatException if it is missing or breaks the format
    /// @throws IOException if reading fails
    public static SafetensorsFile open(Path file, boolean map) throws IOException {
        if (!Files.isRegularFile(file)) {
            throw new ModelFormatException(
                    file.toString(),
                    Files.exists(file) ? "is not a regular file" : "does not exist",
                    "check the path, and that everything is there that belongs to it");
        }
        Arena arena = Arena.ofShared();
        FileChannel channel = null;
        try {
            channel = FileChannel.open(file, StandardOpenOption.READ);
            long size = channel.size();
            if (size < LENGTH_BYTES) {
                throw tooShort(file.toString(), size);
            }
            if (!map) {
                return parse(arena, file.toString(), size, channel);
            }
            MemorySegment bytes = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
            channel.close();
            return parse(arena, bytes, file.toString());
        } catch (IOException | RuntimeException | Error e) {
            arena.close();
            if (channel != null) {
                channel.close();
            }
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

    private static MemorySegment read(FileChannel channel, long from, long size, String source, Arena arena)
            throws IOException {
        MemorySegment bytes = arena.allocate(size, ALIGNMENT);
        long done = 0;
        while (done < size) {
            int read = channel.read(
                    bytes.asSlice(done, Math.min(size - done, 1 << 30)).asByteBuffer(), from + done);
            if (read < 0) {
                throw new ModelFormatException(
                        source, "shrank to " + (from + done) + " bytes while it was read", REMEDY);
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
        long size = bytes.byteSize();
        long headerBytes = headerBytes(bytes.get(FloatConversions.LE_LONG, 0), size, source);
        byte[] text = bytes.asSlice(LENGTH_BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE);
        MemorySegment buffer = bytes.asSlice(LENGTH_BYTES + headerBytes);
        return parse(owner, text, source, size, buffer, null);
    }

    private static SafetensorsFile parse(Arena owner, String source, long size, FileChannel channel)
            throws IOException {
        try (Arena local = Arena.ofConfined()) {
            long announced = read(channel, 0, LENGTH_BYTES, source, local).get(FloatConversions.LE_LONG, 0);
            long headerBytes = headerBytes(announced, size, source);
            byte[] text =
                    read(channel, LENGTH_BYTES, headerBytes, source, local).toArray(ValueLayout.JAVA_BYTE);
            return parse(owner, text, source, size, null, channel);
        }
    }

    private static long headerBytes(long announced, long size, String source) throws ModelFormatException {
        if (announced < 2 || announced > size - LENGTH_BYTES || announced > Safetensors.MAX_HEADER_BYTES) {
            throw new ModelFormatException(
                    source,
                    "announces a header of " + Long.toUnsignedString(announced) + " bytes in a file of " + size,
                    "this is no safetensors file, or it was cut off; fetch it again");
        }
        return announced;
    }

    /// @param size of the file
    private static SafetensorsFile parse(
            Arena owner,
            byte[] text,
            String source,
            long size,
            @Nullable MemorySegment buffer,
            @Nullable FileChannel channel)
            throws ModelFormatException {
        if (text[0] != '{') {
            throw new ModelFormatException(source, "has a header that does not start with {", REMEDY);
        }
        Json header = Json.parse(text, source);
        long bufferBytes = size - LENGTH_BYTES - text.length;
        Map<String, String> metadata = new LinkedHashMap<>();
        List<Extent> extents = new ArrayList<>();
        for (String name : header.keys()) {
            Json entry = header.get(name);
            if (name.equals(Safetensors.METADATA_KEY)) {
                for (String key : entry.keys()) {
                    metadata.put(key, entry.get(key).string());
                }
            } else {
                extents.add(readExtent(name, entry, bufferBytes));
            }
        }
        checkCoverage(extents, bufferBytes, source);
        Map<String, Extent> byName = new LinkedHashMap<>();
        extents.forEach(extent -> byName.put(extent.name, extent));
        return new SafetensorsFile(owner, source, byName, metadata, buffer, channel, LENGTH_BYTES + text.length);
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
        return extents.keySet();
    }

    private Extent extent(String name) throws ModelFormatException {
        Extent extent = extents.get(name);
        if (extent == null) {
            throw missing(source, name, extents.keySet());
        }
        return extent;
    }

    /// What the header says of a tensor; its bytes are not touched.
    ///
    /// @throws ModelFormatException if there is none of this name
    public Header header(String name) throws ModelFormatException {
        Extent extent = extent(name);
        return new Header(name, extent.dtype, extent.shape, extent.end - extent.begin);
    }

    /// The tensor of this name. Where the file is not mapped it is read, and kept until the file is closed.
    ///
    /// @throws ModelFormatException if there is none, or the file has become shorter
    public TensorEntry tensor(String name) throws ModelFormatException {
        TensorEntry copy = copies.get(name);
        if (copy == null) {
            copy = read(name, owner);
            if (buffer == null) {
                copies.put(name, copy);
            }
        }
        return copy;
    }

    /// The tensor of this name, read anew where the file is not mapped.
    ///
    /// @param arena owns the bytes that are read
    /// @throws ModelFormatException if there is none, or the file has become shorter
    public TensorEntry read(String name, Arena arena) throws ModelFormatException {
        Extent extent = extent(name);
        long bytes = extent.end - extent.begin;
        MemorySegment data;
        if (buffer != null) {
            data = buffer.asSlice(extent.begin, bytes);
        } else {
            try {
                data = read(Objects.requireNonNull(channel), dataStart + extent.begin, bytes, source, arena);
            } catch (ModelFormatException e) {
                throw e;
            } catch (IOException e) {
                throw new ModelFormatException(source, "cannot be read: " + e.getMessage(), "check the disk", e);
            }
        }
        return new TensorEntry(name, extent.dtype, extent.shape, data);
    }

    /// Whether there is a tensor of this name.
    public boolean has(String name) {
        return extents.containsKey(name);
    }

    /// The tensor of this name, if there is one; read as by [#tensor].
    ///
    /// @throws ModelFormatException if the file has become shorter
    public Optional<TensorEntry> find(String name) throws ModelFormatException {
        return extents.containsKey(name) ? Optional.of(tensor(name)) : Optional.empty();
    }

    /// The free text that the writer attached.
    public Map<String, String> metadata() {
        return metadata;
    }

    /// The name of the file, as messages give it.
    public String source() {
        return source;
    }

    /// What to say where a tensor is missing: with few others these are named, which tells inputs of another kind.
    static ModelFormatException missing(String source, String name, Set<String> names) {
        return new ModelFormatException(
                source,
                "has no tensor \"" + name + "\" among its " + names.size(),
                names.size() > FEW_NAMES
                        ? "the weights do not fit the configuration"
                        : "give a file with it; this one has " + String.join(", ", names));
    }

    /// Frees or unmaps the file; no segment handed out may be used after it. Idempotent.
    @Override
    public void close() {
        if (owner != Arena.global() && owner.scope().isAlive()) {
            owner.close();
        }
        if (channel != null) {
            try {
                channel.close();
            } catch (IOException e) {
                System.getLogger(SafetensorsFile.class.getName())
                        .log(System.Logger.Level.DEBUG, "{0} cannot be closed: {1}", source, e.getMessage());
            }
        }
    }
}
