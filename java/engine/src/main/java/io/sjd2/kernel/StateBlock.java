package io.sjd2.kernel;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// What changes between two passes: per sequence its cache length, live rows and position; per image its progress.
///
/// Lives in the backend's memory with a mirror on the host. {@link #push} writes the mirror down before a generation;
/// {@link #pull} reads the few integers back after an iteration. On backends whose memory is the host's the two are the
/// same bytes and both calls are free. Layout: `sjd2_sequence` and `sjd2_image` of `include/sjd2/kernels.h`.
public final class StateBlock {
    /// Ints of one sequence.
    public static final int SEQUENCE_INTS = 4;
    /// Ints of one image.
    public static final int IMAGE_INTS = 32;

    private final Backend backend;
    private final int batch;
    private final int images;
    private final int maxWindow;
    private final boolean prompts;
    /// Images, then sequences, so that one copy moves both.
    private final Tensor whole;
    private final Tensor sequenceTensor;
    private final Tensor imageTensor;
    private final MemorySegment mirror;
    private final MemorySegment sequenceMirror;
    private final MemorySegment imageMirror;

    /// @param owner      frees the block
    /// @param batch      sequences, at least 1
    /// @param images     images, at least 1
    /// @param maxWindow  rows per sequence of every tensor that goes with this block
    public StateBlock(Backend backend, Arena owner, int batch, int images, int maxWindow) {
        this(backend, owner, batch, images, maxWindow, false);
    }

    /// A block for feeding prompts: which rows are live is the host's decision and follows from each sequence's own
    /// prompt, so that an operation may look them up in the mirror, and may let a row's result depend on how many rows
    /// its sequence has there.
    ///
    /// @param owner      frees the block
    /// @param batch      sequences, at least 1
    /// @param maxWindow  rows per sequence of every tensor that goes with this block
    public static StateBlock forPrompts(Backend backend, Arena owner, int batch, int maxWindow) {
        return new StateBlock(backend, owner, batch, 1, maxWindow, true);
    }

    private StateBlock(Backend backend, Arena owner, int batch, int images, int maxWindow, boolean prompts) {
        if (batch < 1 || images < 1 || maxWindow < 1) {
            throw new IllegalArgumentException("state block: batch " + batch + ", images " + images + " and window "
                    + maxWindow + " must be at least 1");
        }
        this.backend = backend;
        this.batch = batch;
        this.images = images;
        this.maxWindow = maxWindow;
        this.prompts = prompts;
        this.whole = backend.allocate(owner, DType.I32, images * (long) IMAGE_INTS + batch * (long) SEQUENCE_INTS);
        this.mirror = backend.hostMemory() ? whole.data() : owner.allocate(whole.bytes(), 64);
        long imageBytes = images * (long) IMAGE_INTS * Integer.BYTES;
        this.imageTensor = Tensor.of(whole.data(), DType.I32, images, IMAGE_INTS);
        this.sequenceTensor = Tensor.of(whole.data().asSlice(imageBytes), DType.I32, batch, SEQUENCE_INTS);
        this.imageMirror = mirror.asSlice(0, imageBytes);
        this.sequenceMirror = mirror.asSlice(imageBytes);
    }

    public int batch() {
        return batch;
    }

    public int images() {
        return images;
    }

    public int maxWindow() {
        return maxWindow;
    }

    /// Whether it is one of {@link #forPrompts}.
    public boolean prompts() {
        return prompts;
    }

    /// `[batch, 4]` i32 in the backend's memory.
    public Tensor sequences() {
        return sequenceTensor;
    }

    /// `[images, 32]` i32 in the backend's memory.
    public Tensor imageStates() {
        return imageTensor;
    }

    /// Reads a field of a sequence from the mirror.
    public int get(int sequence, SequenceField field) {
        return sequenceMirror.get(ValueLayout.JAVA_INT, sequenceOffset(sequence, field));
    }

    /// Writes a field of a sequence to the mirror.
    public void set(int sequence, SequenceField field, int value) {
        sequenceMirror.set(ValueLayout.JAVA_INT, sequenceOffset(sequence, field), value);
    }

    /// Reads an integer field of an image from the mirror.
    public int get(int image, ImageField field) {
        return imageMirror.get(ValueLayout.JAVA_INT, imageOffset(image, field));
    }

    /// Writes an integer field of an image to the mirror.
    public void set(int image, ImageField field, int value) {
        imageMirror.set(ValueLayout.JAVA_INT, imageOffset(image, field), value);
    }

    /// Reads a float field (`TOP_P`, `TEMPERATURE`, `GUIDANCE`) of an image from the mirror.
    public float getFloat(int image, ImageField field) {
        return imageMirror.get(ValueLayout.JAVA_FLOAT, imageOffset(image, field));
    }

    /// Writes a float field of an image to the mirror.
    public void setFloat(int image, ImageField field, float value) {
        imageMirror.set(ValueLayout.JAVA_FLOAT, imageOffset(image, field), value);
    }

    private long sequenceOffset(int sequence, SequenceField field) {
        return ((long) sequence * SEQUENCE_INTS + field.ordinal()) * 4;
    }

    private long imageOffset(int image, ImageField field) {
        return ((long) image * IMAGE_INTS + field.ordinal()) * 4;
    }

    /// Makes every field of the mirror 0, as it is in a new block.
    public void clear() {
        mirror.fill((byte) 0);
    }

    /// Mirror to device.
    public void push() {
        if (!backend.hostMemory()) {
            backend.upload(whole, mirror);
        }
    }

    /// Device to mirror; waits for what was enqueued before.
    public void pull() {
        if (backend.hostMemory()) {
            backend.synchronize();
        } else {
            backend.download(mirror, whole);
        }
    }

    /// Fields of `sjd2_sequence`, in order.
    public enum SequenceField {
        KV_LEN,
        ROWS,
        POSITION,
        IMAGE
    }

    /// Fields of `sjd2_image`, in order.
    public enum ImageField {
        SEED_LOW,
        SEED_HIGH,
        INDEX,
        LENGTH,
        WINDOW,
        LEVELS,
        DECODER,
        SAMPLER,
        TOP_K,
        TOP_P,
        TEMPERATURE,
        GUIDANCE,
        COND,
        UNCOND,
        RESTART,
        RESERVED,
        COMMITTED,
        ITERATION,
        ACCEPTED,
        STATUS,
        TESTED,
        KEPT,
        TAIL,
        TAIL_KEPT,
        FRONT_LEVEL,
        STALLS,
        RESTARTS
    }
}
