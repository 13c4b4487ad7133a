package io.sjd2.io;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;
import org.jspecify.annotations.Nullable;

/// The directory of a zip archive and its entries where they lie, read one by one; 64-bit sizes included.
///
/// Names are only ever looked up, never used as paths.
final class PytorchZip {
    private static final String REMEDY = "the file is damaged or incomplete, fetch it again";
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final int LOCAL = 0x04034b50;
    private static final int CENTRAL = 0x02014b50;
    private static final int END = 0x06054b50;
    private static final int END_64 = 0x06064b50;
    private static final int LOCATOR_64 = 0x07064b50;
    private static final int END_BYTES = 22;
    private static final int END_64_BYTES = 56;
    private static final int LOCATOR_BYTES = 20;
    private static final int LONGEST_COMMENT = 0xffff;
    /// Deflate cannot do better: what claims more is no honest archive.
    private static final long MOST_PER_BYTE = 1032;

    private record Entry(int method, long compressed, long size, long header) {}

    private final FileBytes file;
    private final String source;
    private final Map<String, Entry> entries = new LinkedHashMap<>();

    private PytorchZip(FileBytes file, String source) {
        this.file = file;
        this.source = source;
    }

    static boolean isZip(FileBytes file) throws ModelFormatException {
        if (file.size() < END_BYTES) {
            return false;
        }
        try (Arena local = Arena.ofConfined()) {
            return file.read(0, Integer.BYTES, local).get(INT, 0) == LOCAL;
        }
    }

    static PytorchZip read(FileBytes file, String source) throws ModelFormatException {
        PytorchZip zip = new PytorchZip(file, source);
        try (Arena local = Arena.ofConfined()) {
            zip.readDirectory(local);
        }
        return zip;
    }

    Set<String> names() {
        return entries.keySet();
    }

    /// Bytes of an entry once it is unpacked, or -1 if there is none.
    long size(String name) {
        Entry entry = entries.get(name);
        return entry == null ? -1 : entry.size;
    }

    private void readDirectory(Arena local) throws ModelFormatException {
        long tailBytes = Math.min(file.size(), END_BYTES + LONGEST_COMMENT + LOCATOR_BYTES);
        long tailAt = file.size() - tailBytes;
        MemorySegment tail = file.read(tailAt, tailBytes, local);
        long endInTail = findEnd(tail);
        long end = tailAt + endInTail;
        long count = tail.get(SHORT, endInTail + 10) & 0xffff;
        long offset = tail.get(INT, endInTail + 16) & 0xffffffffL;
        long locator = endInTail - LOCATOR_BYTES;
        if (locator >= 0 && tail.get(INT, locator) == LOCATOR_64) {
            long end64 = tail.get(LONG, locator + 8);
            if (end64 < 0 || end64 > end - END_64_BYTES) {
                throw broken("its 64-bit directory is not where the archive says");
            }
            MemorySegment record = file.read(end64, END_64_BYTES, local);
            if (record.get(INT, 0) != END_64) {
                throw broken("its 64-bit directory is not where the archive says");
            }
            count = record.get(LONG, 32);
            offset = record.get(LONG, 48);
        }
        if (offset < 0 || offset > end) {
            throw broken("its directory is not where the archive says");
        }
        MemorySegment directory = file.read(offset, end - offset, local);
        long at = 0;
        for (long i = 0; i < count; i++) {
            if (at > directory.byteSize() - 46 || directory.get(INT, at) != CENTRAL) {
                throw broken("entry " + i + " of its directory is not where the archive says");
            }
            at = readEntry(directory, at);
        }
    }

    private long findEnd(MemorySegment tail) throws ModelFormatException {
        long last = tail.byteSize() - END_BYTES;
        for (long at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
            if (tail.get(INT, at) == END) {
                return at;
            }
        }
        throw broken("the archive's directory is missing");
    }

    private long readEntry(MemorySegment directory, long at) throws ModelFormatException {
        int flags = directory.get(SHORT, at + 8) & 0xffff;
        int method = directory.get(SHORT, at + 10) & 0xffff;
        long compressed = directory.get(INT, at + 20) & 0xffffffffL;
        long size = directory.get(INT, at + 24) & 0xffffffffL;
        int nameLength = directory.get(SHORT, at + 28) & 0xffff;
        int extraLength = directory.get(SHORT, at + 30) & 0xffff;
        int commentLength = directory.get(SHORT, at + 32) & 0xffff;
        long header = directory.get(INT, at + 42) & 0xffffffffL;
        long next = at + 46 + nameLength + extraLength + commentLength;
        if (next > directory.byteSize()) {
            throw broken("an entry of its directory reaches beyond it");
        }
        String name = new String(
                directory.asSlice(at + 46, nameLength).toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
        // The 64-bit field holds those of the three numbers that do not fit, in this order.
        long field = at + 46 + nameLength;
        long fieldsEnd = field + extraLength;
        while (field + 4 <= fieldsEnd) {
            int id = directory.get(SHORT, field) & 0xffff;
            int length = directory.get(SHORT, field + 2) & 0xffff;
            long value = field + 4;
            field = value + length;
            if (id == 1 && field <= fieldsEnd) {
                if (size == 0xffffffffL && value + 8 <= field) {
                    size = directory.get(LONG, value);
                    value += 8;
                }
                if (compressed == 0xffffffffL && value + 8 <= field) {
                    compressed = directory.get(LONG, value);
                    value += 8;
                }
                if (header == 0xffffffffL && value + 8 <= field) {
                    header = directory.get(LONG, value);
                }
            }
        }
        if ((flags & 1) != 0 || (method != 0 && method != 8)) {
            throw broken("entry " + name + " is encrypted or packed by method " + method);
        }
        boolean plausible = size >= 0
                && compressed >= 0
                && compressed <= file.size()
                && (method == 0 ? size == compressed : size / MOST_PER_BYTE <= compressed);
        if (!plausible) {
            throw broken("entry " + name + " claims " + size + " bytes from " + compressed);
        }
        if (entries.put(name, new Entry(method, compressed, size, header)) != null) {
            throw broken("entry " + name + " is there twice");
        }
        return next;
    }

    /// Whether an entry lies in the file as it is.
    boolean stored(String name) {
        Entry entry = entries.get(name);
        return entry != null && entry.method == 0;
    }

    /// An entry's bytes, unpacked into `owner`'s memory where they are not stored as they are.
    @Nullable
    MemorySegment open(String name, Arena owner) throws ModelFormatException {
        Entry entry = entries.get(name);
        if (entry == null) {
            return null;
        }
        if (entry.method == 0) {
            return file.read(begin(name, entry), entry.size, owner);
        }
        try (Arena local = Arena.ofConfined()) {
            return inflate(name, file.read(begin(name, entry), entry.compressed, local), entry.size, owner);
        }
    }

    /// Some bytes of an entry that is stored as it is.
    ///
    /// @param from  and `length`: within the entry
    MemorySegment open(String name, long from, long length, Arena owner) throws ModelFormatException {
        Entry entry = entries.get(name);
        if (entry == null || entry.method != 0 || from < 0 || length < 0 || from > entry.size - length) {
            throw broken("entry " + name + " has no " + length + " bytes from " + from);
        }
        return file.read(begin(name, entry) + from, length, owner);
    }

    /// Where an entry's bytes begin in the file.
    private long begin(String name, Entry entry) throws ModelFormatException {
        if (entry.header < 0 || entry.header > file.size() - 30) {
            throw broken("entry " + name + " is not where the directory says");
        }
        long data;
        try (Arena local = Arena.ofConfined()) {
            MemorySegment header = file.read(entry.header, 30, local);
            if (header.get(INT, 0) != LOCAL) {
                throw broken("entry " + name + " is not where the directory says");
            }
            data = entry.header + 30 + (header.get(SHORT, 26) & 0xffff) + (header.get(SHORT, 28) & 0xffff);
        }
        if (data > file.size() - entry.compressed) {
            throw broken("entry " + name + " reaches beyond the end of the file");
        }
        return data;
    }

    private MemorySegment inflate(String name, MemorySegment packed, long size, Arena owner)
            throws ModelFormatException {
        MemorySegment out = owner.allocate(Math.max(size, 1), 64).asSlice(0, size);
        Inflater inflater = new Inflater(true);
        try {
            byte[] in = new byte[(int) Math.min(packed.byteSize(), 1 << 16)];
            byte[] piece = new byte[1 << 16];
            long read = 0;
            long written = 0;
            while (!inflater.finished()) {
                if (inflater.needsInput()) {
                    int n = (int) Math.min(in.length, packed.byteSize() - read);
                    if (n == 0) {
                        break;
                    }
                    MemorySegment.copy(packed, ValueLayout.JAVA_BYTE, read, in, 0, n);
                    inflater.setInput(in, 0, n);
                    read += n;
                }
                int n = inflater.inflate(piece);
                if (n > size - written) {
                    throw broken("entry " + name + " holds more than the " + size + " bytes it claims");
                }
                MemorySegment.copy(piece, 0, out, ValueLayout.JAVA_BYTE, written, n);
                written += n;
                if (n == 0 && inflater.needsDictionary()) {
                    throw broken("entry " + name + " needs a dictionary to be unpacked");
                }
            }
            if (written != size) {
                throw broken("entry " + name + " holds " + written + " bytes instead of " + size);
            }
            return out;
        } catch (DataFormatException e) {
            throw new ModelFormatException(source, "entry " + name + " cannot be unpacked", REMEDY, e);
        } finally {
            inflater.end();
        }
    }

    private ModelFormatException broken(String problem) {
        return new ModelFormatException(source, problem, REMEDY);
    }
}
