package io.sjd2.model;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.model.TransformerConfig.NormPlacement;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The KV cache and workspace of one batch of sequences, and the pass over them.
///
/// Sized once: a pass allocates nothing. The cache is appended in place and rolled back by its length, which lives in
/// the state block. Confined to the backend's thread; owns its memory until {@link #close()}.
public final class TransformerForward implements ForwardPass, AutoCloseable {
    /// Rows per sequence that a prefill feeds at once; bounds the workspace, not the prompt.
    private static final int PREFILL_CHUNK = 256;

    private final Transformer model;
    private final TransformerConfig config;
    private final Backend backend;
    private final Kernels kernels;
    private final Arena arena;
    private final int batch;
    private final int window;
    private final int capacity;
    private final Tensor rope;
    private final List<Tensor> keys;
    private final List<Tensor> values;
    private final Tensor lastPrompt;
    private final Workspace decodeSpace;
    private final Workspace prefillSpace;
    private final StateBlock prefillState;
    private final Tensor promptIds;
    private final int[] promptLengths;
    private final int[] promptPositions;
    private final @Nullable HeadSpace headSpace;
    private final float scale;

    /// Views of one block of memory for a number of rows per sequence; made once, so that a pass allocates nothing.
    private record Workspace(
            Tensor x,
            Tensor normed,
            Tensor qkv,
            Tensor q,
            Tensor attention,
            Tensor attentionRows,
            Tensor gateUp,
            Tensor mlp,
            Tensor delta) {}

    /// What a head with a hidden layer needs beside.
    private record HeadSpace(Tensor hidden, Tensor active) {}

    /// Sees the residual stream behind every block.
    @FunctionalInterface
    interface LayerListener {
        void after(int layer, Tensor x);
    }

    /// @param batch     sequences: one or two per image
    /// @param window    most rows per sequence of a decoding pass
    /// @param capacity  most cached positions of a sequence, prompt and picture together
    /// @throws IllegalArgumentException if `capacity` is beyond the model's positions
    public TransformerForward(Transformer model, int batch, int window, int capacity) {
        this(model, batch, window, capacity, capacity);
    }

    /// As the other one, with no more workspace than prompts of `longest` entries need; longer ones are fed in smaller
    /// pieces.
    public TransformerForward(Transformer model, int batch, int window, int capacity, int longest) {
        if (batch < 1 || window < 1 || capacity < 1) {
            throw new IllegalArgumentException("forward pass: batch " + batch + ", window " + window + " and capacity "
                    + capacity + " must be at least 1");
        }
        TransformerConfig c = model.config();
        if (capacity > c.maxPositions()) {
            throw new IllegalArgumentException("the prompt and the picture take " + capacity
                    + " positions, the model has " + c.maxPositions() + "; shorten the prompt");
        }
        this.model = model;
        this.config = c;
        this.backend = model.backend();
        this.kernels = backend.kernels();
        this.batch = batch;
        this.window = window;
        this.capacity = capacity;
        this.scale = (float) (1 / Math.sqrt(c.headDim()));
        this.arena = Arena.ofShared();
        try {
            this.rope = uploaded(RopeTable.of(c, capacity), RopeTable.rows(c, capacity), c.headDim() / 2, 2);
            this.keys = new ArrayList<>(c.layers());
            this.values = new ArrayList<>(c.layers());
            for (int i = 0; i < c.layers(); i++) {
                keys.add(backend.allocate(arena, model.dtype(), batch, capacity, c.kvHeads(), c.headDim()));
                values.add(backend.allocate(arena, model.dtype(), batch, capacity, c.kvHeads(), c.headDim()));
            }
            this.lastPrompt = backend.allocate(arena, DType.F32, batch, c.hiddenSize());
            int chunk = promptRows(capacity, longest);
            Workspace whole = allocateWorkspace(Math.max(window, chunk));
            this.decodeSpace = viewed(whole, window);
            this.prefillSpace = viewed(whole, chunk);
            this.prefillState = StateBlock.forPrompts(backend, arena, batch, chunk);
            this.promptIds = backend.allocate(arena, DType.I32, chunk);
            this.promptLengths = new int[batch];
            this.promptPositions = new int[batch];
            this.headSpace = headSpace(window);
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    /// Rows per sequence that prompts are fed by. The last entry of a prompt is not fed. The number follows from the
    /// longest prompt, yet a sequence's pieces do not: all of it is one, or each but the last has as many rows as are
    /// ever fed.
    ///
    /// @param capacity  most cached positions of a sequence
    /// @param longest   entries of the longest prompt
    public static int promptRows(int capacity, int longest) {
        return Math.max(1, Math.min(PREFILL_CHUNK, Math.min(capacity, longest - 1)));
    }

    /// Bytes of the backend's memory that a forward pass of these extents takes, but for what an allocator rounds up.
    ///
    /// @param dtype    f32 or bf16: what the cache and the products' inputs are stored as
    /// @param longest  entries of the longest prompt
    public static long bytes(Transformer model, DType dtype, long batch, int window, int capacity, int longest) {
        TransformerConfig c = model.config();
        long t = dtype.bytes();
        long rows = batch * Math.max(window, promptRows(capacity, longest));
        long cache = 2L * c.layers() * batch * capacity * c.kvHeads() * c.headDim() * t;
        long rope = (long) RopeTable.rows(c, capacity) * c.headDim() * Float.BYTES;
        long floats = 2L * c.hiddenSize() + c.qkvSize() + 2L * c.intermediateSize();
        long narrow = c.hiddenSize() + 2L * c.attentionSize() + c.intermediateSize();
        Linear hidden = model.head().hidden();
        long head = hidden == null ? 0 : batch * window * hidden.nOut() * (Float.BYTES + t);
        return cache + rope + rows * (floats * Float.BYTES + narrow * t) + head + batch * c.hiddenSize() * Float.BYTES;
    }

    private Tensor uploaded(float[] values, long... shape) {
        Tensor t = backend.allocate(arena, DType.F32, shape);
        backend.upload(t, MemorySegment.ofArray(values));
        return t;
    }

    private Workspace allocateWorkspace(int rows) {
        TransformerConfig c = config;
        DType t = model.dtype();
        Tensor attention = backend.allocate(arena, t, batch, rows, c.heads(), c.headDim());
        return new Workspace(
                backend.allocate(arena, DType.F32, batch, rows, c.hiddenSize()),
                backend.allocate(arena, t, batch, rows, c.hiddenSize()),
                backend.allocate(arena, DType.F32, batch, rows, c.qkvSize()),
                backend.allocate(arena, t, batch, rows, c.heads(), c.headDim()),
                attention,
                attention.view(batch, rows, c.attentionSize()),
                backend.allocate(arena, DType.F32, batch, rows, 2L * c.intermediateSize()),
                backend.allocate(arena, t, batch, rows, c.intermediateSize()),
                backend.allocate(arena, DType.F32, batch, rows, c.hiddenSize()));
    }

    private @Nullable HeadSpace headSpace(int rows) {
        Linear hidden = model.head().hidden();
        return hidden == null
                ? null
                : new HeadSpace(
                        backend.allocate(arena, DType.F32, batch, rows, hidden.nOut()),
                        backend.allocate(arena, model.dtype(), batch, rows, hidden.nOut()));
    }

    /// The same memory for fewer rows per sequence.
    private static Workspace viewed(Workspace w, int rows) {
        return new Workspace(
                first(w.x, rows),
                first(w.normed, rows),
                first(w.qkv, rows),
                first(w.q, rows),
                first(w.attention, rows),
                first(w.attentionRows, rows),
                first(w.gateUp, rows),
                first(w.mlp, rows),
                first(w.delta, rows));
    }

    private static Tensor first(Tensor t, int rows) {
        long[] shape = t.shape();
        shape[1] = rows;
        return Tensor.of(t.data(), t.dtype(), shape);
    }

    @Override
    public Backend backend() {
        return backend;
    }

    @Override
    public int codes() {
        return model.description().codes();
    }

    @Override
    public int hiddenSize() {
        return config.hiddenSize();
    }

    @Override
    public boolean fineTuned() {
        return model.noiseAdapter() != null;
    }

    @Override
    public DraftEmbeddings embeddings(int levels) {
        if (levels == 0) {
            return new DraftEmbeddings(model.codeTable(), model.tokenRows(), null);
        }
        NoiseAdapter adapter = model.noiseAdapter();
        if (adapter == null) {
            throw new IllegalArgumentException("levels is " + levels
                    + ", but the model is not fine-tuned for noisy inputs; use a decoder without sjd2"
                    + " or fine-tune it with `sjd2 finetune`");
        }
        NoiseSchedule schedule = adapter.schedule(levels);
        return new DraftEmbeddings(
                model.codeTable(),
                model.tokenRows(),
                new DraftEmbeddings.Noise(
                        uploaded(adapter.mean(), config.hiddenSize()),
                        uploaded(adapter.std(), config.hiddenSize()),
                        uploaded(adapter.levelTable(schedule), levels + 1, config.hiddenSize()),
                        uploaded(schedule.lambdas(), levels + 1),
                        uploaded(schedule.alphas(), levels + 1)));
    }

    @Override
    public int promptLength(int sequence) {
        return promptLengths[sequence];
    }

    @Override
    public int promptPosition(int sequence) {
        return promptPositions[sequence];
    }

    /// Fills the cache with the prompts, all but the last entry of each, and keeps the last ones' embeddings.
    ///
    /// @param prompts  of each sequence, at least one entry each; lengths may differ
    /// @throws IllegalArgumentException if a prompt is empty or leaves no room for a picture
    public void prefill(List<? extends Prompt> prompts) {
        if (prompts.size() != batch) {
            throw new IllegalArgumentException("prefill: " + prompts.size() + " prompts for a batch of " + batch);
        }
        int longest = 0;
        for (Prompt prompt : prompts) {
            check(prompt);
            longest = Math.max(longest, prompt.length() - 1);
        }
        int chunk = prefillState.maxWindow();
        for (int start = 0; start < longest; start += chunk) {
            for (int b = 0; b < batch; b++) {
                Prompt prompt = prompts.get(b);
                int rows = Math.clamp(prompt.length() - 1 - start, 0, chunk);
                place(b, rows, start, prompt.position() + start);
                if (rows > 0) {
                    embed(inputRows(b, rows), prompt, start);
                }
            }
            prefillState.push();
            blocks(prefillSpace, prefillState, null);
        }
        for (int b = 0; b < batch; b++) {
            Prompt prompt = prompts.get(b);
            embed(lastPrompt.rows(b, 1), prompt, prompt.length() - 1);
            promptLengths[b] = prompt.length() - 1;
            promptPositions[b] = prompt.position() + prompt.length() - 1;
        }
        backend.synchronize();
    }

    private void check(Prompt prompt) {
        if (prompt.length() < 1 || prompt.length() > capacity) {
            throw new IllegalArgumentException(
                    "prefill: a prompt has " + prompt.length() + " tokens, expected 1 to " + capacity);
        }
        switch (prompt) {
            case Prompt.Tokens tokens -> {
                for (int id : tokens.ids()) {
                    if (id < 0 || id >= config.vocabSize()) {
                        throw new IllegalArgumentException(
                                "prefill: token id " + id + " is outside of the vocabulary of " + config.vocabSize());
                    }
                }
            }
            case Prompt.Embeddings embeddings -> {
                int length = embeddings.length();
                int numbers = embeddings.values().length;
                if (numbers != (long) length * config.hiddenSize()) {
                    throw new IllegalArgumentException("prefill: " + length + " embeddings have " + numbers
                            + " numbers, expected [" + length + ", " + config.hiddenSize() + "]");
                }
            }
        }
    }

    private void place(int sequence, int rows, int kvLen, int position) {
        prefillState.set(sequence, SequenceField.KV_LEN, kvLen);
        prefillState.set(sequence, SequenceField.POSITION, position);
        prefillState.set(sequence, SequenceField.ROWS, rows);
        prefillState.set(sequence, SequenceField.IMAGE, -1);
    }

    private Tensor inputRows(int sequence, int rows) {
        return prefillSpace
                .x()
                .rows(sequence, 1)
                .view(prefillState.maxWindow(), config.hiddenSize())
                .rows(0, rows);
    }

    private void embed(Tensor out, Prompt prompt, int from) {
        int count = Math.toIntExact(out.dim(0));
        switch (prompt) {
            case Prompt.Tokens tokens -> {
                Tensor slice = promptIds.rows(0, count);
                // The upload is ordered behind the kernels that read the buffer's last contents.
                backend.upload(slice, MemorySegment.ofArray(tokens.ids()).asSlice(4L * from, 4L * count));
                kernels.embed(out, model.table(), slice);
            }
            case Prompt.Embeddings embeddings -> {
                long width = 4L * config.hiddenSize();
                backend.upload(out, MemorySegment.ofArray(embeddings.values()).asSlice(from * width, count * width));
            }
        }
        backend.synchronize();
    }

    /// Most rows that {@link #feed} takes at once.
    int feedRows() {
        return prefillState.maxWindow();
    }

    /// Runs given embeddings of one sequence over its cache, and appends them to it. For comparing with other
    /// implementations; decoding goes through {@link #run}.
    ///
    /// @param embeddings  `[rows, hidden_size]`, at most {@link #feedRows} rows
    /// @param kvLen       cache entries before; those behind are forgotten
    /// @param position    of the first row
    /// @return `[rows, hidden_size]` T: the residual stream after the last norm, valid until the next call
    Tensor feed(int sequence, float[] embeddings, int rows, int kvLen, int position, LayerListener listener) {
        for (int b = 0; b < batch; b++) {
            place(b, b == sequence ? rows : 0, kvLen, position);
        }
        backend.upload(inputRows(sequence, rows), MemorySegment.ofArray(embeddings));
        prefillState.push();
        blocks(prefillSpace, prefillState, (layer, x) -> listener.after(layer, inputRows(sequence, rows)));
        kernels.rmsNorm(prefillSpace.normed(), prefillSpace.x(), model.finalNorm(), prefillState, config.normEps());
        backend.synchronize();
        return prefillSpace
                .normed()
                .rows(sequence, 1)
                .view(prefillState.maxWindow(), config.hiddenSize())
                .rows(0, rows);
    }

    @Override
    public void run(Tensor windowInput, Tensor logits, WindowState windowState, StateBlock state) {
        kernels.sequenceInput(decodeSpace.x(), windowInput, lastPrompt, model.rowEmbed(), model.columnEmbed(), state);
        blocks(decodeSpace, state, null);
        kernels.rmsNorm(decodeSpace.normed(), decodeSpace.x(), model.finalNorm(), state, config.normEps());
        head(logits, decodeSpace.normed(), state);
    }

    private void head(Tensor logits, Tensor normed, @Nullable StateBlock state) {
        Transformer.Head head = model.head();
        Tensor in = normed;
        if (head.hidden() != null) {
            in = hiddenOf(head.hidden(), normed, state);
        }
        kernels.matmul(logits, in, head.out().weight(), head.out().bias(), state, false);
    }

    private Tensor hiddenOf(Linear layer, Tensor normed, @Nullable StateBlock state) {
        HeadSpace space = headSpace;
        if (space == null) {
            throw new AssertionError("a head with a hidden layer has its workspace");
        }
        kernels.matmul(space.hidden(), normed, layer.weight(), layer.bias(), state, false);
        kernels.gelu(space.active(), space.hidden(), state, false);
        return space.active();
    }

    private void blocks(Workspace w, StateBlock state, @Nullable LayerListener listener) {
        boolean pre = config.placement() == NormPlacement.PRE;
        float eps = config.normEps();
        for (int i = 0; i < config.layers(); i++) {
            Transformer.Layer layer = model.layers().get(i);
            if (pre) {
                kernels.rmsNorm(w.normed(), w.x(), layer.inputNorm(), state, eps);
            } else {
                kernels.round(w.normed(), w.x(), state);
            }
            kernels.matmul(
                    w.qkv(), w.normed(), layer.qkv().weight(), layer.qkv().bias(), state, false);
            kernels.ropeAppend(
                    w.q(),
                    keys.get(i),
                    values.get(i),
                    w.qkv(),
                    layer.qkNorm(),
                    rope,
                    state,
                    config.rope().pairs());
            kernels.attention(w.attention(), w.q(), keys.get(i), values.get(i), state, scale);
            branch(w, w.attentionRows(), layer.attentionOut(), layer.inputNorm(), state, pre);
            if (pre) {
                kernels.rmsNorm(w.normed(), w.x(), layer.postNorm(), state, eps);
            } else {
                kernels.round(w.normed(), w.x(), state);
            }
            kernels.matmul(
                    w.gateUp(),
                    w.normed(),
                    layer.gateUp().weight(),
                    layer.gateUp().bias(),
                    state,
                    false);
            kernels.swiglu(w.mlp(), w.gateUp(), state);
            branch(w, w.mlp(), layer.down(), layer.postNorm(), state, pre);
            if (listener != null) {
                listener.after(i, w.x());
            }
        }
    }

    /// Projects a branch back and adds it to the residual stream, normalised behind the projection where the model
    /// does.
    private void branch(Workspace w, Tensor in, Linear out, Tensor norm, StateBlock state, boolean pre) {
        if (pre) {
            kernels.matmul(w.x(), in, out.weight(), out.bias(), state, true);
        } else {
            kernels.matmul(w.delta(), in, out.weight(), out.bias(), state, false);
            kernels.rmsNormAdd(w.x(), w.delta(), norm, state, config.normEps());
        }
    }

    /// Most rows per sequence of a pass.
    public int window() {
        return window;
    }

    /// Frees cache and workspace, once everything enqueued has ended. Idempotent.
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            try {
                backend.synchronize();
            } finally {
                arena.close();
            }
        }
    }
}
