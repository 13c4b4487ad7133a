package io.sjd2.model;

import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Turns captions or classes into prompts, for models that are conditioned on those.
///
/// Padded rows of a caption are left out: nothing attends to them, and rows of the condition carry no position, so that
/// where they stood does not matter. Borrows the weights of a {@link Transformer}.
public final class Conditions {
    private final Backend backend;
    private final ConditionShape shape;
    private final int hiddenSize;
    private final @Nullable Linear first;
    private final @Nullable Linear second;
    /// `[rows, caption_width]`, or `[classes + 1, hidden_size]`.
    private final float[] table;

    Conditions(
            Backend backend,
            ConditionShape shape,
            int hiddenSize,
            @Nullable Linear first,
            @Nullable Linear second,
            float[] table) {
        this.backend = backend;
        this.shape = shape;
        this.hiddenSize = hiddenSize;
        this.first = first;
        this.second = second;
        this.table = table;
    }

    public ConditionShape shape() {
        return shape;
    }

    /// The prompt of a caption.
    ///
    /// @param features  `[rows, caption_width]`, padding included
    /// @param mask      `[rows]`: false where a row is padding; at least the last one is true
    /// @throws IllegalArgumentException if the model takes no captions, or the features are of another shape
    public Prompt caption(float[] features, boolean[] mask) {
        requireCaptions();
        if (mask.length != shape.rows() || features.length != mask.length * shape.captionWidth()) {
            throw new IllegalArgumentException("caption features have " + features.length + " numbers and a mask of "
                    + mask.length + " rows, expected [" + shape.rows() + ", " + shape.captionWidth() + "]");
        }
        int live = 0;
        for (boolean m : mask) {
            live += m ? 1 : 0;
        }
        if (!mask[mask.length - 1]) {
            throw new IllegalArgumentException(
                    "the mask of the caption features is 0 in its last row, expected features"
                            + " that are padded on the left");
        }
        float[] packed = new float[live * shape.captionWidth()];
        int at = 0;
        for (int r = 0; r < mask.length; r++) {
            if (mask[r]) {
                System.arraycopy(
                        features, r * shape.captionWidth(), packed, at++ * shape.captionWidth(), shape.captionWidth());
            }
        }
        return new Prompt.Embeddings(project(packed), live, shape.rows() - live);
    }

    /// The prompt that stands for no caption, padded like the caption it is compared with.
    public Prompt noCaption(boolean[] mask) {
        requireCaptions();
        return caption(table, mask);
    }

    /// The features that stand for no caption, `[rows, caption_width]`.
    public float[] noCaptionFeatures() {
        requireCaptions();
        return table.clone();
    }

    private void requireCaptions() {
        if (shape.kind() != ConditionShape.Kind.CAPTION) {
            throw new IllegalArgumentException(
                    "this model takes classes, not captions; name one of 0 to " + (shape.classes() - 1));
        }
    }

    /// The prompt of a class.
    ///
    /// @param label  0 to the number of classes, which itself is the null class
    /// @throws IllegalArgumentException if the model takes no classes, or there is no such class
    public Prompt label(int label) {
        if (shape.kind() != ConditionShape.Kind.CLASS) {
            throw new IllegalArgumentException("this model takes caption features, not classes");
        }
        if (label < 0 || label > shape.classes()) {
            throw new IllegalArgumentException("class is " + label + ", expected 0 to " + (shape.classes() - 1)
                    + ", or " + shape.classes() + " for none");
        }
        float[] row = Arrays.copyOfRange(table, label * hiddenSize, (label + 1) * hiddenSize);
        float[] rows = new float[shape.rows() * hiddenSize];
        for (int r = 0; r < shape.rows(); r++) {
            System.arraycopy(row, 0, rows, r * hiddenSize, hiddenSize);
        }
        return new Prompt.Embeddings(rows, shape.rows(), 0);
    }

    /// `fc2(gelu_tanh(fc1 x))`: features of `[rows, caption_width]` to embeddings `[rows, hidden_size]`.
    public float[] project(float[] features) {
        Linear in = first;
        Linear out = second;
        if (in == null || out == null) {
            throw new IllegalArgumentException("this model takes classes, not captions");
        }
        int rows = features.length / in.nIn();
        float[] result = new float[rows * out.nOut()];
        try (Arena arena = Arena.ofShared()) {
            Tensor x = backend.allocate(arena, DType.F32, 1, rows, in.nIn());
            backend.upload(x, MemorySegment.ofArray(features));
            Tensor hidden = backend.allocate(arena, DType.F32, 1, rows, in.nOut());
            Tensor active = backend.allocate(arena, DType.F32, 1, rows, in.nOut());
            Tensor y = backend.allocate(arena, DType.F32, 1, rows, out.nOut());
            backend.kernels().matmul(hidden, x, in.weight(), in.bias(), null, false);
            backend.kernels().gelu(active, hidden, null, true);
            backend.kernels().matmul(y, active, out.weight(), out.bias(), null, false);
            backend.download(MemorySegment.ofArray(result), y);
        }
        return result;
    }
}
