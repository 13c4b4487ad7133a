package io.sjd2.io;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;

/// Collects tensors and writes them as safetensors: one file, or shards with an index.
///
/// Nothing is copied when a tensor is added; its values are read, and converted where asked, while they are streamed
/// to the file, so they must stay as they are until then. Within a file wider elements come first and the order of
/// adding decides the rest, so that every tensor is aligned to its own elements. The same calls give the same bytes.
/// Not thread-safe.
public final class SafetensorsWriter {
    private static final int CHUNK_BYTES = 1 << 20;
    private static final int ALIGNMENT = 8;
    private static final int MAX_DIGITS = 19;
    private static final Pattern OUR_FILES = Pattern.compile("model(-[0-9]{5}-of-[0-9]{5})?\\.safetensors");

    private record Item(String name, String dtype, long[] shape, long bytes, Values values) {}

    /// Where a tensor's bytes come from when they are written.
    private sealed interface Values {
        record InMemory(MemorySegment segment) implements Values {}

        record Floats(float[] array) implements Values {}

        record Ints(int[] array) implements Values {}
    }

    private final Map<String, Item> items = new LinkedHashMap<>();
    private final Map<String, String> metadata = new LinkedHashMap<>();

    /// Adds a tensor whose bytes are ready.
    ///
    /// @param name  not used before, not `__metadata__`
    /// @param dtype one of [Safetensors#dtypes()]
    /// @param shape extents, each at least 0
    /// @param data  little endian, dense, exactly as long as shape and dtype say
    /// @return this writer
    /// @throws IllegalArgumentException naming the tensor, if any of that does not hold
    public SafetensorsWriter add(String name, String dtype, long[] shape, MemorySegment data) {
        long bytes = checkedBytes(name, dtype, shape);
        if (data.byteSize() != bytes) {
            throw new IllegalArgumentException(
                    name + ": data is " + data.byteSize() + " bytes, shape and dtype need " + bytes);
        }
        return put(new Item(name, dtype, shape.clone(), bytes, new Values.InMemory(data)));
    }

    /// Adds a tensor as F32, bit for bit.
    ///
    /// @throws IllegalArgumentException as [#add]
    public SafetensorsWriter addF32(String name, long[] shape, float[] values) {
        return addFloats(name, "F32", shape, values);
    }

    /// Adds a tensor as BF16, rounded to nearest, ties to even.
    ///
    /// @throws IllegalArgumentException as [#add]
    public SafetensorsWriter addBf16(String name, long[] shape, float[] values) {
        return addFloats(name, "BF16", shape, values);
    }

    /// Adds a tensor as I32.
    ///
    /// @throws IllegalArgumentException as [#add]
    public SafetensorsWriter addI32(String name, long[] shape, int[] values) {
        long bytes = checkedBytes(name, "I32", shape);
        checkLength(name, bytes / Integer.BYTES, values.length);
        return put(new Item(name, "I32", shape.clone(), bytes, new Values.Ints(values)));
    }

    /// Attaches free text to the file, or to every shard.
    ///
    /// @return this writer
    public SafetensorsWriter metadata(String key, String value) {
        metadata.put(key, value);
        return this;
    }

    private SafetensorsWriter addFloats(String name, String dtype, long[] shape, float[] values) {
        long bytes = checkedBytes(name, dtype, shape);
        checkLength(name, bytes / Safetensors.bytesPerElement(dtype), values.length);
        return put(new Item(name, dtype, shape.clone(), bytes, new Values.Floats(values)));
    }

    private static void checkLength(String name, long expected, long found) {
        if (expected != found) {
            throw new IllegalArgumentException(name + ": has " + found + " values, its shape needs " + expected);
        }
    }

    private static long checkedBytes(String name, String dtype, long[] shape) {
        long bytes = Safetensors.bytesPerElement(dtype);
        for (long extent : shape) {
            if (extent < 0 || Math.multiplyHigh(bytes, extent) != 0 || bytes * extent < 0) {
                throw new IllegalArgumentException(
                        name + ": shape " + java.util.Arrays.toString(shape) + " is negative or too large");
            }
            bytes *= extent;
        }
        return bytes;
    }

    private SafetensorsWriter put(Item item) {
        if (item.name.equals(Safetensors.METADATA_KEY)) {
            throw new IllegalArgumentException(item.name + " cannot name a tensor: the format keeps it for metadata");
        }
        if (items.putIfAbsent(item.name, item) != null) {
            throw new IllegalArgumentException(item.name + ": a tensor of this name was added before");
        }
        return this;
    }

    /// Writes everything into one file, atomically.
    ///
    /// @throws IOException naming the file, if it cannot be written; an older file then stays as it was
    public void write(Path file) throws IOException {
        write(file, List.copyOf(items.values()));
    }

    /// Writes a model folder: `model.safetensors` if everything fits into one file of `maxFileBytes`, else shards
    /// `model-00001-of-0000n.safetensors` and their index. Each file is replaced atomically, the index last;
    /// weights of an earlier model in the folder that the new one does not replace are then removed.
    ///
    /// @param folder       exists
    /// @param maxFileBytes limit for each file, header included
    /// @return the files written, the index last
    /// @throws IllegalArgumentException if a single tensor does not fit
    /// @throws IOException naming the file that cannot be written
    public List<Path> writeFolder(Path folder, long maxFileBytes) throws IOException {
        List<List<Item>> shards = split(maxFileBytes);
        List<Path> written = new ArrayList<>();
        if (shards.size() == 1) {
            Path file = folder.resolve(SafetensorsFolder.SINGLE_FILE);
            write(file, shards.getFirst());
            written.add(file);
        } else {
            Map<String, String> weightMap = new LinkedHashMap<>();
            long total = 0;
            for (int i = 0; i < shards.size(); i++) {
                String fileName = String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", i + 1, shards.size());
                for (Item item : shards.get(i)) {
                    weightMap.put(item.name, fileName);
                    total += item.bytes;
                }
                Path file = folder.resolve(fileName);
                write(file, shards.get(i));
                written.add(file);
            }
            Map<String, Object> index = new LinkedHashMap<>();
            index.put("metadata", Map.of("total_size", total));
            index.put("weight_map", weightMap);
            Path file = folder.resolve(SafetensorsFolder.INDEX_FILE);
            AtomicFiles.write(file, Json.prettyText(index));
            written.add(file);
        }
        removeOthers(folder, written);
        return written;
    }

    private List<List<Item>> split(long maxFileBytes) {
        List<List<Item>> shards = new ArrayList<>();
        List<Item> shard = new ArrayList<>();
        long emptyHeader = header(List.of()).length;
        long empty = Long.BYTES + emptyHeader;
        long used = empty;
        for (Item item : items.values()) {
            // What the item adds to the header: its entry, its offsets at their longest, and padding.
            long entry = header(List.of(item)).length - emptyHeader + 2 * MAX_DIGITS + ALIGNMENT;
            long needed = item.bytes + entry;
            if (empty + needed > maxFileBytes) {
                throw new IllegalArgumentException(item.name + ": needs " + (empty + needed)
                        + " bytes with its header, more than the limit of " + maxFileBytes + " for one file");
            }
            if (used + needed > maxFileBytes) {
                shards.add(shard);
                shard = new ArrayList<>();
                used = empty;
            }
            shard.add(item);
            used += needed;
        }
        shards.add(shard);
        return shards;
    }

    private static void removeOthers(Path folder, List<Path> written) throws IOException {
        Set<Path> keep = new TreeSet<>(written);
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
            for (Path file : files) {
                String name = file.getFileName().toString();
                boolean ours = OUR_FILES.matcher(name).matches() || name.equals(SafetensorsFolder.INDEX_FILE);
                if (ours && !keep.contains(file)) {
                    Files.delete(file);
                }
            }
        }
    }

    private void write(Path file, List<Item> content) throws IOException {
        List<Item> ordered = ordered(content);
        byte[] header = header(ordered);
        AtomicFiles.write(file, channel -> {
            ByteBuffer length = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
            AtomicFiles.writeFully(channel, length.putLong(0, header.length));
            AtomicFiles.writeFully(channel, ByteBuffer.wrap(header));
            ByteBuffer chunk = ByteBuffer.allocateDirect(CHUNK_BYTES).order(ByteOrder.LITTLE_ENDIAN);
            for (Item item : ordered) {
                writeValues(channel, item, chunk);
            }
        });
    }

    private static List<Item> ordered(List<Item> content) {
        List<Item> ordered = new ArrayList<>(content);
        ordered.sort(Comparator.comparingInt(item -> -Safetensors.bytesPerElement(item.dtype)));
        return ordered;
    }

    private byte[] header(List<Item> ordered) {
        Map<String, Object> header = new LinkedHashMap<>();
        if (!metadata.isEmpty()) {
            header.put(Safetensors.METADATA_KEY, metadata);
        }
        long offset = 0;
        for (Item item : ordered) {
            List<Long> shape = new ArrayList<>();
            for (long extent : item.shape) {
                shape.add(extent);
            }
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("dtype", item.dtype);
            entry.put("shape", shape);
            entry.put("data_offsets", List.of(offset, offset + item.bytes));
            header.put(item.name, entry);
            offset += item.bytes;
        }
        StringBuilder text = new StringBuilder(Json.text(header));
        int bytes = text.toString().getBytes(StandardCharsets.UTF_8).length;
        text.repeat(' ', (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT);
        byte[] padded = text.toString().getBytes(StandardCharsets.UTF_8);
        if (padded.length > Safetensors.MAX_HEADER_BYTES) {
            throw new IllegalArgumentException("the header of " + ordered.size() + " tensors needs " + padded.length
                    + " bytes, the format allows " + Safetensors.MAX_HEADER_BYTES);
        }
        return padded;
    }

    private static void writeValues(FileChannel channel, Item item, ByteBuffer chunk) throws IOException {
        switch (item.values) {
            case Values.InMemory memory -> {
                MemorySegment segment = memory.segment();
                // Copied piece by piece, since a segment over a Java array other than bytes has no byte buffer.
                MemorySegment piece = MemorySegment.ofBuffer(chunk);
                for (long done = 0; done < segment.byteSize(); done += CHUNK_BYTES) {
                    int length = (int) Math.min(CHUNK_BYTES, segment.byteSize() - done);
                    MemorySegment.copy(segment, done, piece, 0, length);
                    AtomicFiles.writeFully(channel, chunk.clear().limit(length));
                }
                chunk.clear();
            }
            case Values.Floats floats -> {
                boolean narrow = item.dtype.equals("BF16");
                for (float value : floats.array()) {
                    if (!chunk.hasRemaining()) {
                        flush(channel, chunk);
                    }
                    if (narrow) {
                        chunk.putShort(FloatConversions.floatToBf16(value));
                    } else {
                        chunk.putFloat(value);
                    }
                }
                flush(channel, chunk);
            }
            case Values.Ints ints -> {
                for (int value : ints.array()) {
                    if (!chunk.hasRemaining()) {
                        flush(channel, chunk);
                    }
                    chunk.putInt(value);
                }
                flush(channel, chunk);
            }
        }
    }

    private static void flush(FileChannel channel, ByteBuffer chunk) throws IOException {
        AtomicFiles.writeFully(channel, chunk.flip());
        chunk.clear();
    }
}
