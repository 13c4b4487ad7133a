package io.sjd2.benchmarks;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.DecoderKind;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.model.Prompt;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerForward;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Collections;

/// One image's pass at a model's shape, half-way through the picture, that can be repeated: behind a short prompt lie
/// cache entries of zeros, as many as half a picture's tokens less the window.
///
/// Owns backend, weights and cache; confined to one thread.
public final class Pass implements AutoCloseable {
    /// Ids of the prompt. All but the last are in the cache.
    private static final int[] PROMPT = {1, 0, 0, 0, 0, 0, 0, 2};

    /// Codes of the smallest head, for timing layers alone.
    public static final int FEW_CODES = 64;

    private final Arena arena = Arena.ofShared();
    private final Backend backend;
    private final Transformer model;
    private final TransformerForward forward;
    private final Kernels kernels;
    private final StateBlock state;
    private final WindowState window;
    private final DraftEmbeddings embeddings;
    private final Tensor input;
    private final Tensor logits;
    private final Shape shape;
    private final int rows;
    private final int committed;

    /// @param codes  of the head: those of the shape, or fewer
    /// @param rows   rows per sequence
    /// @param batch  1, or 2 for guidance
    public Pass(String backend, int threads, Shape shape, int layers, int codes, DType dtype, int rows, int batch) {
        int length = shape.grid * shape.grid;
        this.shape = shape;
        this.rows = rows;
        this.committed = committed(shape, rows);
        this.backend = Backends.open(backend, threads);
        this.kernels = this.backend.kernels();
        this.model = SyntheticWeights.load(this.backend, shape, layers, codes, dtype);
        this.forward = new TransformerForward(model, batch, rows, PROMPT.length + length, PROMPT.length);
        forward.prefill(Collections.nCopies(batch, new Prompt.Tokens(PROMPT)));
        this.state = new StateBlock(this.backend, arena, batch, 1, rows);
        state.set(0, ImageField.LENGTH, length);
        state.set(0, ImageField.WINDOW, rows);
        state.set(0, ImageField.DECODER, DecoderKind.MAXIMAL.ordinal());
        state.setFloat(0, ImageField.TEMPERATURE, 1);
        state.setFloat(0, ImageField.TOP_P, 1);
        state.setFloat(0, ImageField.GUIDANCE, batch == 1 ? 1 : 3);
        state.set(0, ImageField.UNCOND, batch - 2);
        state.set(0, ImageField.COND, batch - 1);
        this.window = WindowState.allocate(this.backend, arena, 1, rows, length, codes, shape.hidden, false, false);
        this.embeddings = forward.embeddings(0);
        this.input = this.backend.allocate(arena, DType.F32, 1, rows, shape.hidden);
        this.logits = this.backend.allocate(arena, DType.F32, batch, rows, codes);
        place();
        kernels.windowInput(input, window, embeddings, state);
        this.backend.synchronize();
    }

    /// Back to the middle of the picture.
    private void place() {
        state.set(0, ImageField.COMMITTED, committed);
        for (int sequence = 0; sequence < state.batch(); sequence++) {
            state.set(sequence, SequenceField.KV_LEN, forward.promptLength(sequence) + committed);
            state.set(sequence, SequenceField.POSITION, forward.promptPosition(sequence) + committed);
            state.set(sequence, SequenceField.ROWS, rows);
            state.set(sequence, SequenceField.IMAGE, 0);
        }
        state.push();
    }

    private static int committed(Shape shape, int rows) {
        return (shape.grid * shape.grid - rows) / 2;
    }

    /// Cache entries before a pass.
    public static int kvLength(Shape shape, int rows) {
        return PROMPT.length - 1 + committed(shape, rows);
    }

    /// Cache entries that a sequence may grow to.
    public static int capacity(Shape shape) {
        return PROMPT.length + shape.grid * shape.grid;
    }

    /// Ids whose embeddings, run from position 0 on, fill the first entries of the cache; those behind are zeros.
    public static int[] cachedPrompt() {
        return Arrays.copyOf(PROMPT, PROMPT.length - 1);
    }

    /// What enters the first layer, `[rows, hidden]`: the drafts' embeddings, and those of the cells that they are
    /// for. Every sequence has the same.
    public float[] layerInput() {
        float[] out = new float[rows * shape.hidden];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(input.bytes(), 64);
            backend.download(bytes, input);
            MemorySegment block = host.allocate(2 * SyntheticWeights.blockElements(shape), 64);
            SyntheticWeights.fill(block, shape);
            Tensor drafts = Tensor.of(bytes, DType.F32, input.shape());
            Tensor cells = Tensor.of(block, DType.BF16, SyntheticWeights.blockElements(shape));
            for (int i = 0; i < out.length; i++) {
                int cell = committed + i / shape.hidden;
                int column = i % shape.hidden;
                out[i] = drafts.getFloat(i)
                        + cells.getFloat((long) cell / shape.grid * shape.hidden + column)
                        + cells.getFloat((long) cell % shape.grid * shape.hidden + column);
            }
        }
        return out;
    }

    /// The model alone, and the wait for it.
    public void forward() {
        forward.run(input, logits, window, state);
        backend.synchronize();
    }

    /// A whole iteration of the decode loop: drafts to inputs, the model, targets, verification, and what the host
    /// reads.
    void step() {
        place();
        kernels.windowInput(input, window, embeddings, state);
        forward.run(input, logits, window, state);
        kernels.targetProbs(window, logits, state);
        kernels.verify(window, state);
        state.pull();
    }

    /// Positions that the last step committed.
    int accepted() {
        return state.get(0, ImageField.ACCEPTED);
    }

    /// Logits of the last pass, `[batch, rows, codes]`.
    public float[] logits() {
        float[] out = new float[Math.toIntExact(logits.elements())];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(logits.bytes(), 64);
            backend.download(bytes, logits);
            MemorySegment.copy(bytes, ValueLayout.JAVA_FLOAT, 0, out, 0, out.length);
        }
        return out;
    }

    /// Bytes and operations of a pass, attention over the middle of the picture included.
    static Cost cost(Shape shape, int layers, int codes, DType dtype, int rows, int batch) {
        double weights = layers * (double) shape.layerWeights() + (double) codes * shape.hidden;
        double width = (double) shape.heads * shape.headDim;
        int kvLen = kvLength(shape, rows);
        double cache = 2.0 * layers * batch * (kvLen + rows) * width;
        double attention = 4.0 * layers * batch * rows * width * (kvLen + (rows + 1) / 2.0);
        return Cost.of(dtype.bytes() * (weights + cache), 2.0 * batch * rows * weights + attention, dtype, rows);
    }

    @Override
    public void close() {
        forward.close();
        model.close();
        backend.close();
        arena.close();
    }
}
