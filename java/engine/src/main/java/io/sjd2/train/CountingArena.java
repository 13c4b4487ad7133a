package io.sjd2.train;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// An arena that knows how much was taken from it.
final class CountingArena implements Arena {
    private final Arena inner;
    private long bytes;

    CountingArena(Arena inner) {
        this.inner = inner;
    }

    @Override
    public MemorySegment allocate(long byteSize, long byteAlignment) {
        bytes += byteSize;
        return inner.allocate(byteSize, byteAlignment);
    }

    @Override
    public MemorySegment.Scope scope() {
        return inner.scope();
    }

    @Override
    public void close() {
        inner.close();
    }

    long bytes() {
        return bytes;
    }
}
