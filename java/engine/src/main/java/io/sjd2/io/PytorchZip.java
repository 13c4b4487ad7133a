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

/// The directory of a zip archive and its entries where they lie; 64-bit sizes included.
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
    private static final int LONGEST_COMMENT = 0xffff;
    /// Deflate cannot do better: what claims more is no honest archive.
    private static final long MOST_PER_BYTE = 1032;

    private record Entry(int method, long compressed, long size, long header) {}

    private final MemorySegment file;
    private final String source;
    private final Map<String, Entry> entries = new LinkedHashMap<>();

    private PytorchZip(MemorySegment file, String source) {
        this.file = file;
        this.source = source;
    }

    static boolean isZip(MemorySegment file) {
        return file.byteSize() >= END_BYTES && file.get(INT, 0) == LOCAL;
    }

    static PytorchZip read(MemorySegment file, String source) throws ModelFormatException {
        PytorchZip zip = new PytorchZip(file, source);
        zip.readDirectory();
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

    private void readDirectory() throws ModelFormatException {
        long end = findEnd();
        long count = file.get(SHORT, end + 10) & 0xffff;
        long offset = file.get(INT, end + 16) & 0xffffffffL;
        long locator = end - 20;
        if (locator >= 0 && file.get(INT, locator) == LOCATOR_64) {
            long end64 = file.get(LONG, locator + 8);
            if (end64 < 0 || end64 > end - 56 || file.get(INT, end64) != END_64) {
                throw broken("its 64-bit directory is not where the archive says");
            }
            count = file.get(LONG, end64 + 32);
            offset = file.get(LONG, end64 + 48);
        }
        long at = offset;
        for (long i = 0; i < count; i++) {
            if (at < 0 || at > end - 46 || file.get(INT, at) != CENTRAL) {
                throw broken("entry " + i + " of its directory is not where the archive says");
            }
            at = readEntry(at, end);
        }
    }

    private long findEnd() throws ModelFormatException {
        long last = file.byteSize() - END_BYTES;
        for (long at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
            if (file.get(INT, at) == END) {
                return at;
            }
        }
        throw broken("the archive's directory is missing");
    }

    private long readEntry(long at, long limit) throws ModelFormatException {
        int flags = file.get(SHORT, at + 8) & 0xffff;
        int method = file.get(SHORT, at + 10) & 0xffff;
        long compressed = file.get(INT, at + 20) & 0xffffffffL;
        long size = file.get(INT, at + 24) & 0xffffffffL;
        int nameLength = file.get(SHORT, at + 28) & 0xffff;
        int extraLength = file.get(SHORT, at + 30) & 0xffff;
        int commentLength = file.get(SHORT, at + 32) & 0xffff;
        long header = file.get(INT, at + 42) & 0xffffffffL;
        long next = at + 46 + nameLength + extraLength + commentLength;
        if (next > limit) {
            throw broken("an entry of its directory reaches beyond it");
        }
        String name =
                new String(file.asSlice(at + 46, nameLength).toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
        // The 64-bit field holds those of the three numbers that do not fit, in this order.
        long field = at + 46 + nameLength;
        long fieldsEnd = field + extraLength;
        while (field + 4 <= fieldsEnd) {
            int id = file.get(SHORT, field) & 0xffff;
            int length = file.get(SHORT, field + 2) & 0xffff;
            long value = field + 4;
            field = value + length;
            if (id == 1 && field <= fieldsEnd) {
                if (size == 0xffffffffL && value + 8 <= field) {
                    size = file.get(LONG, value);
                    value += 8;
                }
                if (compressed == 0xffffffffL && value + 8 <= field) {
                    compressed = file.get(LONG, value);
                    value += 8;
                }
                if (header == 0xffffffffL && value + 8 <= field) {
                    header = file.get(LONG, value);
                }
            }
        }
        if ((flags & 1) != 0 || (method != 0 && method != 8)) {
            throw broken("entry " + name + " is encrypted or packed by method " + method);
        }
        boolean plausible = size >= 0
                && compressed >= 0
                && compressed <= file.byteSize()
                && (method == 0 ? size == compressed : size / MOST_PER_BYTE <= compressed);
        if (!plausible) {
            throw broken("entry " + name + " claims " + size + " bytes from " + compressed);
        }
        if (entries.put(name, new Entry(method, compressed, size, header)) != null) {
            throw broken("entry " + name + " is there twice");
        }
        return next;
    }

    /// An entry's bytes: a slice of the file where they are stored as they are, else unpacked into `owner`'s memory.
    @Nullable
    MemorySegment open(String name, Arena owner) throws ModelFormatException {
        Entry entry = entries.get(name);
        if (entry == null) {
            return null;
        }
        if (entry.header < 0 || entry.header > file.byteSize() - 30 || file.get(INT, entry.header) != LOCAL) {
            throw broken("entry " + name + " is not where the directory says");
        }
        long data = entry.header
                + 30
                + (file.get(SHORT, entry.header + 26) & 0xffff)
                + (file.get(SHORT, entry.header + 28) & 0xffff);
        if (data > file.byteSize() - entry.compressed) {
            throw broken("entry " + name + " reaches beyond the end of the file");
        }
        MemorySegment bytes = file.asSlice(data, entry.compressed);
        return entry.method == 0 ? bytes : inflate(name, bytes, entry.size, owner);
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
