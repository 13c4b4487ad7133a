package io.sjd2.io;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// The tensors of a file that PyTorch saved (`.ckpt`, `.bin`, `.pt`): the zip layout and the older stream.
///
/// Such a file is a program in Python's pickle language. This reader knows the part of it that builds tensors,
/// dictionaries, lists, tuples and plain values; anything else is refused by name, and nothing is ever executed.
///
/// Names are the keys on the way to a tensor, joined by dots. Where the outermost dictionary holds no tensor itself, as
/// training scripts save `state_dict` or `model` beside other things, names count from that part on: [#part()].
///
/// Tensors lie in the mapped file where they are stored as they are and in order; others are copied when they are asked
/// for. Where the file is not mapped, each is read when it is asked for. Thread-safe; [#close()] ends the life of every
/// segment handed out but those of other arenas.
public final class PytorchFile implements AutoCloseable {
    /// Parts that hold the weights, first choice first.
    private static final List<String> PARTS = List.of("state_dict", "model", "module", "ema", "model_state_dict");

    private static final String REMEDY = "the file is damaged or incomplete, fetch it again";
    private static final long LEGACY_PROTOCOL = 1001;
    private static final byte[] LEGACY_MAGIC = {
        (byte) 0x8a, 10, 0x6c, (byte) 0xfc, (byte) 0x9c, 0x46, (byte) 0xf9, 0x20, 0x6a, (byte) 0xa8, 0x50, 0x19
    };
    /// The programs of real files are shorter.
    private static final long FIRST_PROGRAM_BYTES = 1 << 20;

    private static final int DEEPEST = 64;
    /// Values that a program of no length may hold; every byte of it may hold a few more.
    private static final long FEW_VALUES = 1000;
    private static final long VALUES_PER_BYTE = 4;

    private final Arena owner;
    private final String source;
    /// Bytes of a storage, found when a tensor first needs them.
    private final StorageBytes storages;
    private final String part;
    private final Map<String, PytorchPickle.Tensor> tensors;
    private final Map<String, Object> values;
    private final Map<String, TensorEntry> opened = new HashMap<>();
    /// Open as long as this is, where the file is not mapped.
    private @Nullable FileChannel channel;

    private interface StorageBytes {
        /// `length` bytes from `from` of the memory that a storage is a part of.
        MemorySegment open(PytorchPickle.Storage storage, long from, long length, Arena arena)
                throws ModelFormatException;
    }

    /// @param program length of the program that made `root`, in bytes
    private PytorchFile(Arena owner, String source, @Nullable Object root, long program, StorageBytes storages)
            throws ModelFormatException {
        this.owner = owner;
        this.source = source;
        this.storages = storages;
        this.part = partOf(root);
        Flattened flattened = new Flattened(program);
        Object from = part.isEmpty() || !(root instanceof Map<?, ?> map) ? root : map.get(part);
        flattened.add("", from, 0);
        this.tensors = Collections.unmodifiableMap(flattened.tensors);
        this.values = Collections.unmodifiableMap(flattened.values);
        for (Map.Entry<String, PytorchPickle.Tensor> tensor : tensors.entrySet()) {
            check(tensor.getKey(), tensor.getValue());
        }
    }

    /// Maps a file read-only.
    ///
    /// @throws ModelFormatException if it is missing, damaged, or holds more than tensors and plain values
    /// @throws IOException if reading fails
    public static PytorchFile open(Path file) throws IOException {
        return open(file, true);
    }

    /// Opens a file.
    ///
    /// @param map true to map it read-only, false to read each tensor when it is asked for, for file systems that
    /// cannot
    ///            map or files that others may truncate
    /// @throws ModelFormatException if it is missing, damaged, or holds more than tensors and plain values
    /// @throws IOException if reading fails
    public static PytorchFile open(Path file, boolean map) throws IOException {
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
            if (!map) {
                PytorchFile read = parse(arena, FileBytes.of(channel, size, file.toString()), file.toString());
                read.channel = channel;
                return read;
            }
            MemorySegment bytes = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
            channel.close();
            return parse(arena, FileBytes.of(bytes), file.toString());
        } catch (IOException | RuntimeException | Error e) {
            arena.close();
            if (channel != null) {
                channel.close();
            }
            throw e;
        }
    }

    /// Reads the format from memory that somebody else owns.
    ///
    /// @param bytes  a whole file; outlives the result
    /// @param source the name that messages give it
    /// @throws ModelFormatException if it is damaged, or holds more than tensors and plain values
    public static PytorchFile parse(MemorySegment bytes, String source) throws ModelFormatException {
        Arena arena = Arena.ofShared();
        try {
            return parse(arena, FileBytes.of(bytes), source);
        } catch (ModelFormatException | RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    private static PytorchFile parse(Arena arena, FileBytes bytes, String source) throws ModelFormatException {
        return PytorchZip.isZip(bytes)
                ? parseZip(arena, PytorchZip.read(bytes, source), source)
                : parseStream(arena, bytes, source);
    }

    private static PytorchFile parseZip(Arena arena, PytorchZip zip, String source) throws ModelFormatException {
        String program = null;
        for (String name : zip.names()) {
            if (name.endsWith("/data.pkl") || name.equals("data.pkl")) {
                if (program != null) {
                    throw new ModelFormatException(source, "holds both " + program + " and " + name, REMEDY);
                }
                program = name;
            }
        }
        if (program == null) {
            throw new ModelFormatException(
                    source, "is a zip archive without data.pkl", "it is not a file that PyTorch saved");
        }
        String prefix = program.substring(0, program.length() - "data.pkl".length());
        Object root;
        long programBytes;
        try (Arena local = Arena.ofConfined()) {
            MemorySegment order = zip.open(prefix + "byteorder", local);
            if (order != null) {
                String text = order.byteSize() > 16
                        ? "?"
                        : new String(order.toArray(ValueLayout.JAVA_BYTE), StandardCharsets.US_ASCII);
                if (!text.equals("little")) {
                    throw new ModelFormatException(
                            source, "stores numbers in byte order \"" + text + "\"", "only little endian is read");
                }
            }
            MemorySegment pickle = zip.open(program, local);
            root = new PytorchPickle(pickle, 0, source).run();
            programBytes = pickle.byteSize();
        }
        Map<String, MemorySegment> unpacked = new HashMap<>(); // once, however many tensors share an entry
        return new PytorchFile(arena, source, root, programBytes, (storage, from, length, owner) -> {
            String name = prefix + "data/" + storage.key();
            long size = zip.size(name);
            if (size < storageBytes(storage)) {
                throw new ModelFormatException(
                        source,
                        (size < 0 ? "has no entry " : "has only " + size + " bytes in entry ") + name + ", which should"
                                + " hold " + storageBytes(storage) + " bytes",
                        REMEDY);
            }
            if (zip.stored(name)) {
                return zip.open(name, from, length, owner);
            }
            MemorySegment data = unpacked.get(name);
            if (data == null) {
                data = zip.open(name, arena);
                unpacked.put(name, data);
            }
            return data.asSlice(from, length);
        });
    }

    /// Five programs (magic number, version, machine, the object, the storages' keys), then per storage its length and
    /// its elements. Where the programs end is known once they have run, so ever more of the file is tried.
    private static PytorchFile parseStream(Arena arena, FileBytes bytes, String source) throws ModelFormatException {
        long head = Math.min(bytes.size(), FIRST_PROGRAM_BYTES);
        while (true) {
            try (Arena local = Arena.ofConfined()) {
                return parseStream(arena, bytes, bytes.read(0, head, local), source);
            } catch (ModelFormatException e) {
                if (head == bytes.size()) {
                    throw e;
                }
                head = Math.min(bytes.size(), 2 * head);
            }
        }
    }

    private static PytorchFile parseStream(Arena arena, FileBytes bytes, MemorySegment head, String source)
            throws ModelFormatException {
        if (head.byteSize() < 2 + LEGACY_MAGIC.length
                || !Arrays.equals(head.asSlice(2, LEGACY_MAGIC.length).toArray(ValueLayout.JAVA_BYTE), LEGACY_MAGIC)) {
            throw new ModelFormatException(
                    source,
                    "is neither a zip archive nor starts with PyTorch's number",
                    "it is not a file that PyTorch saved, or one of its oldest; save it again");
        }
        PytorchPickle pickle = new PytorchPickle(head, 0, source);
        pickle.run();
        Object version = pickle.run();
        if (!Long.valueOf(LEGACY_PROTOCOL).equals(version)) {
            throw new ModelFormatException(
                    source, "is of an unknown version", "built for version " + LEGACY_PROTOCOL + "; save it again");
        }
        if (!(pickle.run() instanceof Map<?, ?> machine) || !Boolean.TRUE.equals(machine.get("little_endian"))) {
            throw new ModelFormatException(source, "does not store numbers in little endian", "save it again");
        }
        Object root = pickle.run();
        if (!(pickle.run() instanceof List<?> keys)) {
            throw new ModelFormatException(source, "has no list of storages", REMEDY);
        }
        long program = pickle.position();
        long end = program;
        Map<String, Integer> sizes = new HashMap<>();
        collectSizes(root, sizes, 0, new Budget(program, source));
        Map<String, Extent> found = new HashMap<>();
        for (Object key : keys) {
            Integer elementBytes = key instanceof String text ? sizes.get(text) : null;
            if (elementBytes == null) {
                throw new ModelFormatException(source, "lists a storage that nothing refers to", REMEDY);
            }
            long left = bytes.size() - end - Long.BYTES;
            long elements = left < 0 ? -1 : number(bytes, end);
            if (elements < 0 || elements > left / elementBytes) {
                throw new ModelFormatException(
                        source, "ends within storage " + key + ", which claims " + elements + " elements", REMEDY);
            }
            long length = elements * elementBytes;
            found.put((String) key, new Extent(end + Long.BYTES, length));
            end += Long.BYTES + length;
        }
        return new PytorchFile(arena, source, root, program, (storage, from, length, owner) -> {
            Extent data = found.get(storage.key());
            if (data == null || data.bytes < storageBytes(storage)) {
                throw new ModelFormatException(
                        source,
                        "holds " + (data == null ? 0 : data.bytes) + " bytes of a storage that should have "
                                + storageBytes(storage),
                        REMEDY);
            }
            return bytes.read(data.begin + from, length, owner);
        });
    }

    /// Bytes of the memory that a storage is a part of, up to its end.
    private static long storageBytes(PytorchPickle.Storage storage) {
        return (storage.first() + storage.elements()) * PytorchTypes.bytes(storage.type());
    }

    /// A storage in the file.
    private record Extent(long begin, long bytes) {}

    private static long number(FileBytes bytes, long at) throws ModelFormatException {
        try (Arena local = Arena.ofConfined()) {
            return bytes.read(at, Long.BYTES, local).get(FloatConversions.LE_LONG, 0);
        }
    }

    private static void collectSizes(@Nullable Object value, Map<String, Integer> sizes, int depth, Budget budget)
            throws ModelFormatException {
        budget.spend(depth, 0);
        switch (value) {
            case PytorchPickle.Tensor tensor ->
                sizes.putIfAbsent(
                        tensor.storage().key(),
                        PytorchTypes.bytes(tensor.storage().type()));
            case Map<?, ?> map -> {
                for (Object item : map.values()) {
                    collectSizes(item, sizes, depth + 1, budget);
                }
            }
            case List<?> list -> {
                for (Object item : list) {
                    collectSizes(item, sizes, depth + 1, budget);
                }
            }
            case null -> {}
            default -> {}
        }
    }

    /// A value that holds itself, or one that is told a million times over, ends here.
    private static final class Budget {
        private final long program;
        private final String source;
        private long values;
        private long characters;

        Budget(long program, String source) {
            this.program = program;
            this.source = source;
        }

        void spend(int depth, int name) throws ModelFormatException {
            values++;
            characters += name;
            boolean tooMany = values > FEW_VALUES + VALUES_PER_BYTE * program
                    || characters > DEEPEST * (FEW_VALUES + VALUES_PER_BYTE * program);
            if (depth > DEEPEST || tooMany) {
                throw new ModelFormatException(
                        source,
                        tooMany
                                ? "repeats values beyond all measure"
                                : "nests values more than " + DEEPEST + " deep, or one in itself",
                        "it is not a file of weights");
            }
        }
    }

    private static String partOf(@Nullable Object root) {
        if (root instanceof Map<?, ?> map && map.values().stream().noneMatch(PytorchPickle.Tensor.class::isInstance)) {
            for (String name : PARTS) {
                if (map.get(name) instanceof Map<?, ?> inner
                        && inner.values().stream().anyMatch(PytorchPickle.Tensor.class::isInstance)) {
                    return name;
                }
            }
        }
        return "";
    }

    /// Tensors and plain values by the keys that lead to them.
    private final class Flattened {
        final Map<String, PytorchPickle.Tensor> tensors = new LinkedHashMap<>();
        final Map<String, Object> values = new LinkedHashMap<>();
        private final Budget budget;

        Flattened(long program) {
            this.budget = new Budget(program, source);
        }

        void add(String name, @Nullable Object value, int depth) throws ModelFormatException {
            budget.spend(depth, name.length());
            switch (value) {
                case PytorchPickle.Tensor tensor -> tensors.put(name, tensor);
                case Map<?, ?> map -> {
                    for (Map.Entry<?, ?> item : map.entrySet()) {
                        add(join(name, String.valueOf(item.getKey())), item.getValue(), depth + 1);
                    }
                }
                case List<?> list -> {
                    for (int i = 0; i < list.size(); i++) {
                        add(join(name, Integer.toString(i)), list.get(i), depth + 1);
                    }
                }
                case String text -> values.put(name, text);
                case Number number -> values.put(name, number);
                case Boolean flag -> values.put(name, flag);
                case null -> {}
                default -> {}
            }
        }

        private static String join(String prefix, String key) {
            return prefix.isEmpty() ? key : prefix + "." + key;
        }
    }

    /// That every element lies within the storage.
    private void check(String name, PytorchPickle.Tensor tensor) throws ModelFormatException {
        int elementBytes = Safetensors.bytesPerElement(PytorchTypes.dtype(tensor));
        PytorchPickle.Storage storage = tensor.storage();
        try {
            long storageBytes = Math.multiplyExact(storage.elements(), PytorchTypes.bytes(storage.type()));
            long count = 1;
            long last = tensor.offset();
            for (int axis = 0; axis < tensor.shape().length; axis++) {
                count = Math.multiplyExact(count, tensor.shape()[axis]);
                last = Math.addExact(
                        last, Math.multiplyExact(Math.max(tensor.shape()[axis] - 1, 0), tensor.strides()[axis]));
            }
            Math.multiplyExact(Math.addExact(storage.first(), storage.elements()), PytorchTypes.bytes(storage.type()));
            long have = storageBytes / elementBytes;
            // A view that repeats elements could ask for any amount of memory.
            if (count > 0 && (last >= have || count > have)) {
                throw new ModelFormatException(
                        source,
                        "tensor " + name + " of shape " + Arrays.toString(tensor.shape()) + " sees element " + last
                                + " of a storage of " + have,
                        REMEDY);
            }
        } catch (ArithmeticException e) {
            throw new ModelFormatException(
                    source,
                    "tensor " + name + " has the impossible shape " + Arrays.toString(tensor.shape()),
                    REMEDY,
                    e);
        }
    }

    /// The tensors' names, in the order of the file.
    public Set<String> names() {
        return tensors.keySet();
    }

    /// The part of the file that names count from: `state_dict`, `model` ..., or empty for all of it.
    public String part() {
        return part;
    }

    /// What is neither tensor nor container, by the keys that lead to it: text, numbers and truth values.
    public Map<String, Object> values() {
        return values;
    }

    /// The name of the file, as messages give it.
    public String source() {
        return source;
    }

    private PytorchPickle.Tensor known(String name) throws ModelFormatException {
        PytorchPickle.Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw SafetensorsFile.missing(source, name, tensors.keySet());
        }
        return tensor;
    }

    /// What a tensor is; its bytes are not touched.
    ///
    /// @throws ModelFormatException if there is none of this name
    public SafetensorsFile.Header header(String name) throws ModelFormatException {
        PytorchPickle.Tensor tensor = known(name);
        String dtype = PytorchTypes.dtype(tensor);
        long bytes = count(tensor) * Safetensors.bytesPerElement(dtype);
        return new SafetensorsFile.Header(name, dtype, tensor.shape().clone(), bytes);
    }

    /// The tensor of this name, kept until this is closed.
    ///
    /// @throws ModelFormatException if there is none, or its bytes are not there
    public TensorEntry tensor(String name) throws ModelFormatException {
        synchronized (opened) {
            TensorEntry entry = opened.get(name);
            if (entry == null) {
                entry = read(name, owner);
                opened.put(name, entry);
            }
            return entry;
        }
    }

    /// The tensor of this name, read or copied anew where it does not lie in memory as it is.
    ///
    /// @param arena owns the bytes that are read or copied
    /// @throws ModelFormatException if there is none, or its bytes are not there
    public TensorEntry read(String name, Arena arena) throws ModelFormatException {
        synchronized (opened) {
            return read(name, known(name), arena);
        }
    }

    private static long count(PytorchPickle.Tensor tensor) {
        long count = 1;
        for (long extent : tensor.shape()) {
            count *= extent;
        }
        return count;
    }

    /// The tensor of this name, if there is one.
    ///
    /// @throws ModelFormatException if its bytes are not there
    public Optional<TensorEntry> find(String name) throws ModelFormatException {
        return tensors.containsKey(name) ? Optional.of(tensor(name)) : Optional.empty();
    }

    private TensorEntry read(String name, PytorchPickle.Tensor tensor, Arena arena) throws ModelFormatException {
        String dtype = PytorchTypes.dtype(tensor);
        int bytes = Safetensors.bytesPerElement(dtype);
        long[] shape = tensor.shape();
        long count = count(tensor);
        if (count == 0) {
            return new TensorEntry(name, dtype, shape.clone(), MemorySegment.NULL);
        }
        PytorchPickle.Storage storage = tensor.storage();
        long begin = storage.first() * PytorchTypes.bytes(storage.type()) + tensor.offset() * bytes;
        if (inOrder(tensor)) {
            MemorySegment data = storages.open(storage, begin, count * bytes, arena);
            return new TensorEntry(name, dtype, shape.clone(), data.asReadOnly());
        }
        long last = 0;
        for (int axis = 0; axis < shape.length; axis++) {
            last += (shape[axis] - 1) * tensor.strides()[axis];
        }
        try (Arena local = Arena.ofConfined()) {
            MemorySegment from = storages.open(storage, begin, (last + 1) * bytes, local);
            return new TensorEntry(
                    name,
                    dtype,
                    shape.clone(),
                    ordered(tensor, from, bytes, count, arena).asReadOnly());
        }
    }

    /// The elements one behind the other.
    private static MemorySegment ordered(
            PytorchPickle.Tensor tensor, MemorySegment from, int bytes, long count, Arena arena) {
        long[] shape = tensor.shape();
        MemorySegment copy = arena.allocate(count * bytes, 64);
        long[] index = new long[shape.length];
        long source = 0;
        for (long i = 0; i < count; i++) {
            MemorySegment.copy(from, source * bytes, copy, i * bytes, bytes);
            for (int axis = shape.length - 1; axis >= 0; axis--) {
                source += tensor.strides()[axis];
                if (++index[axis] < shape[axis]) {
                    break;
                }
                source -= index[axis] * tensor.strides()[axis];
                index[axis] = 0;
            }
        }
        return copy;
    }

    private static boolean inOrder(PytorchPickle.Tensor tensor) {
        long expected = 1;
        for (int axis = tensor.shape().length - 1; axis >= 0; axis--) {
            if (tensor.shape()[axis] != 1 && tensor.strides()[axis] != expected) {
                return false;
            }
            expected *= tensor.shape()[axis];
        }
        return true;
    }

    /// Unmaps or closes the file; no segment handed out may be used after it. Idempotent.
    @Override
    public void close() {
        if (owner.scope().isAlive()) {
            owner.close();
        }
        if (channel != null) {
            try {
                channel.close();
            } catch (IOException e) {
                System.getLogger(PytorchFile.class.getName())
                        .log(System.Logger.Level.DEBUG, "{0} cannot be closed: {1}", source, e.getMessage());
            }
        }
    }
}
