package io.sjd2.io;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;

/// A file's bytes: where they lie in memory, or read from the file whenever they are asked for.
interface FileBytes {
    long size();

    /// Some of the bytes.
    ///
    /// @param offset  and `length`: within the file
    /// @param owner   of what is read; of nothing where the bytes lie in memory
    /// @throws ModelFormatException if the file has become shorter, or cannot be read
    MemorySegment read(long offset, long length, Arena owner) throws ModelFormatException;

    /// Bytes in memory, which outlives the result.
    static FileBytes of(MemorySegment bytes) {
        return new FileBytes() {
            @Override
            public long size() {
                return bytes.byteSize();
            }

            @Override
            public MemorySegment read(long offset, long length, Arena owner) {
                return bytes.asSlice(offset, length);
            }
        };
    }

    /// Bytes of a file, which stays open.
    ///
    /// @param source the name that messages give it
    static FileBytes of(FileChannel channel, long size, String source) {
        return new FileBytes() {
            @Override
            public long size() {
                return size;
            }

            @Override
            public MemorySegment read(long offset, long length, Arena owner) throws ModelFormatException {
                MemorySegment bytes = owner.allocate(Math.max(length, 1), 64).asSlice(0, length);
                try {
                    long done = 0;
                    while (done < length) {
                        int read = channel.read(
                                bytes.asSlice(done, Math.min(length - done, 1 << 30))
                                        .asByteBuffer(),
                                offset + done);
                        if (read < 0) {
                            throw new ModelFormatException(
                                    source,
                                    "shrank to " + (offset + done) + " bytes while it was read",
                                    "the file is damaged or incomplete, fetch it again");
                        }
                        done += read;
                    }
                    return bytes;
                } catch (ModelFormatException e) {
                    throw e;
                } catch (IOException e) {
                    throw new ModelFormatException(source, "cannot be read: " + e.getMessage(), "check the disk", e);
                }
            }
        };
    }
}
