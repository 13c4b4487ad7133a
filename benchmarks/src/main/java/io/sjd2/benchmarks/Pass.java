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
import java.util.Collections;

/// One image's pass at a model's shape, half-way through the picture, that can be repeated.
///
/// Owns backend, weights and cache; confined to one thread.
final class Pass implements AutoCloseable {
    private static final int PROMPT = 8;

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
    private final int rows;
    private final int committed;

    /// @param rows   rows per sequence
    /// @param batch  1, or 2 for guidance
    Pass(String backend, int threads, Shape shape, int layers, DType dtype, int rows, int batch) {
        int length = shape.grid * shape.grid;
        this.rows = rows;
        this.committed = (length - rows) / 2;
        this.backend = Backends.open(backend, threads);
        this.kernels = this.backend.kernels();
        this.model = SyntheticWeights.load(this.backend, shape, layers, dtype);
        this.forward = new TransformerForward(model, batch, rows, PROMPT + length);
        int[] prompt = new int[PROMPT];
        prompt[0] = 1;
        prompt[PROMPT - 1] = 2;
        forward.prefill(Collections.nCopies(batch, new Prompt.Tokens(prompt)));
        this.state = new StateBlock(this.backend, arena, batch, 1, rows);
        state.set(0, ImageField.LENGTH, length);
        state.set(0, ImageField.WINDOW, rows);
        state.set(0, ImageField.DECODER, DecoderKind.MAXIMAL.ordinal());
        state.setFloat(0, ImageField.TEMPERATURE, 1);
        state.setFloat(0, ImageField.TOP_P, 1);
        state.setFloat(0, ImageField.GUIDANCE, batch == 1 ? 1 : 3);
        state.set(0, ImageField.UNCOND, batch - 2);
        state.set(0, ImageField.COND, batch - 1);
        this.window =
                WindowState.allocate(this.backend, arena, 1, rows, length, shape.codes, shape.hidden, false, false);
        this.embeddings = forward.embeddings(0);
        this.input = this.backend.allocate(arena, DType.F32, 1, rows, shape.hidden);
        this.logits = this.backend.allocate(arena, DType.F32, batch, rows, shape.codes);
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

    /// The model alone, and the wait for it.
    void forward() {
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

    /// Logits of the first row of each sequence.
    float[] firstLogits() {
        int codes = Math.toIntExact(logits.dim(2));
        float[] out = new float[Math.toIntExact(logits.dim(0)) * codes];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(logits.bytes(), 64);
            backend.download(bytes, logits);
            Tensor copy = Tensor.of(bytes, DType.F32, logits.shape());
            for (int i = 0; i < out.length; i++) {
                out[i] = copy.getFloat((long) (i / codes) * rows * codes + i % codes);
            }
        }
        return out;
    }

    /// Bytes and operations of a pass, attention over the middle of the picture included.
    static Cost cost(Shape shape, int layers, DType dtype, int rows, int batch) {
        double weights = layers * (double) shape.layerWeights() + (double) shape.codes * shape.hidden;
        double width = (double) shape.heads * shape.headDim;
        int kvLen = PROMPT + (shape.grid * shape.grid - rows) / 2;
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
