package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftKind;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.WindowState;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Copies the windows of a pass to the host, before verification and after, for those who watch.
final class WindowRecorder implements WindowView {
    private static final DraftKind[] KINDS = DraftKind.values();
    private static final int TOKEN = 0;
    private static final int KIND = 1;
    private static final int LEVEL = 2;

    private final Backend backend;
    private final StateBlock state;
    private final WindowState slots;
    private final long maxLength;
    private final MemorySegment before;
    private final MemorySegment after;
    private final MemorySegment tokens;
    private final int[] first;
    private final int[] rows;

    /// @param owner frees the copies
    WindowRecorder(Backend backend, Arena owner, StateBlock state, WindowState slots) {
        this.backend = backend;
        this.state = state;
        this.slots = slots;
        this.maxLength = slots.tokens().dim(1);
        this.before = owner.allocate(slots.drafts().bytes(), Integer.BYTES);
        this.after = owner.allocate(slots.drafts().bytes(), Integer.BYTES);
        this.tokens = owner.allocate(slots.tokens().bytes(), Integer.BYTES);
        this.first = new int[state.images()];
        this.rows = new int[state.images()];
    }

    /// When the slots are ready for the model; waits for the device.
    void noteDrafts() {
        for (int image = 0; image < first.length; image++) {
            first[image] = state.get(image, ImageField.COMMITTED);
            rows[image] = Math.min(state.maxWindow(), state.get(image, ImageField.LENGTH) - first[image]);
        }
        backend.download(before, slots.drafts());
    }

    /// When verification is through and the state block has been read back.
    void noteOutcome() {
        backend.download(after, slots.drafts());
        backend.download(tokens, slots.tokens());
    }

    private int field(MemorySegment drafts, int image, int row, int field) {
        long slot = (long) image * state.maxWindow() + (first[image] + row) % state.maxWindow();
        return drafts.getAtIndex(ValueLayout.JAVA_INT, slot * WindowState.DRAFT_INTS + field);
    }

    @Override
    public int first(int image) {
        return first[image];
    }

    @Override
    public int rows(int image) {
        return rows[image];
    }

    @Override
    public int accepted(int image) {
        return state.get(image, ImageField.ACCEPTED);
    }

    @Override
    public DraftKind kind(int image, int row) {
        return KINDS[field(before, image, row, KIND)];
    }

    @Override
    public int draft(int image, int row) {
        return kind(image, row) == DraftKind.NONE ? NO_TOKEN : field(before, image, row, TOKEN);
    }

    @Override
    public int level(int image, int row) {
        return field(before, image, row, LEVEL);
    }

    @Override
    public int token(int image, int row) {
        if (row < accepted(image)) {
            return tokens.getAtIndex(ValueLayout.JAVA_INT, image * maxLength + first[image] + row);
        }
        return KINDS[field(after, image, row, KIND)] == DraftKind.NONE ? NO_TOKEN : field(after, image, row, TOKEN);
    }

    @Override
    public int levelAfter(int image, int row) {
        return row < accepted(image) ? 0 : field(after, image, row, LEVEL);
    }
}
