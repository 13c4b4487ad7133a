package io.sjd2.model;

import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// One sequence, fed in pieces of any size over its KV cache, with everything that other implementations can be
/// compared by: the residual stream behind every block, the last norm, logits of every token.
///
/// Takes a model loaded with {@link Transformer.Heads#ALL} where logits of tokens are wanted. Confined to one thread.
public final class Probe implements AutoCloseable {
    private final Transformer model;
    private final Backend backend;
    private final TransformerForward forward;
    private final int width;

    /// Bounds what a head over a whole vocabulary takes.
    private static final int FED_AT_ONCE = 64;

    /// What a piece gave.
    ///
    /// @param hidden      `[layers][rows, hidden_size]`: the residual stream behind each block
    /// @param finalNorm   `[rows, hidden_size]`
    /// @param codeLogits  `[rows, codes]`: the head that pictures are drawn from
    /// @param textLogits  `[rows, vocab_size]`, or null where tokens have no head of their own or it is not loaded
    public record Pass(float[][] hidden, float[] finalNorm, float[] codeLogits, float @Nullable [] textLogits) {}

    /// @param capacity  most cached entries
    public Probe(Transformer model, int capacity) {
        this.model = model;
        this.backend = model.backend();
        this.width = model.config().hiddenSize();
        this.forward = new TransformerForward(model, 1, 1, capacity, FED_AT_ONCE + 1);
    }

    /// Embeddings of tokens, `[ids.length, hidden_size]`.
    ///
    /// @throws IllegalArgumentException if an id is outside of the vocabulary
    public float[] embedTokens(int[] ids) {
        return embedded(model.table(), ids, "token id");
    }

    /// Embeddings of codes as inputs of the blocks, `[codes.length, hidden_size]`.
    ///
    /// @throws IllegalArgumentException if there is no such code
    public float[] embedCodes(int[] codes) {
        for (int code : codes) {
            if (code < 0 || code >= model.description().codes()) {
                throw new IllegalArgumentException("code " + code + " is out of range, expected 0 to "
                        + (model.description().codes() - 1));
            }
        }
        return embedded(
                model.codeTable(), Arrays.stream(codes).map(model::tableRow).toArray(), "code");
    }

    private float[] embedded(Tensor table, int[] rows, String what) {
        for (int row : rows) {
            if (row < 0 || row >= table.dim(0)) {
                throw new IllegalArgumentException(
                        what + " " + row + " is out of range, expected 0 to " + (table.dim(0) - 1));
            }
        }
        float[] values = new float[rows.length * width];
        if (rows.length == 0) {
            return values;
        }
        try (Arena arena = Arena.ofShared()) {
            Tensor ids = backend.allocate(arena, DType.I32, rows.length);
            backend.upload(ids, MemorySegment.ofArray(rows));
            Tensor out = backend.allocate(arena, DType.F32, rows.length, width);
            backend.kernels().embed(out, table, ids);
            backend.download(MemorySegment.ofArray(values), out);
        }
        return values;
    }

    /// Runs rows over the cache and appends them to it.
    ///
    /// @param embeddings  `[rows, hidden_size]`, at least one row
    /// @param kvLen       entries of the cache that count; those behind are dropped first
    /// @param position    of the first row, in the table of rotary positions
    public Pass run(float[] embeddings, int kvLen, int position) {
        int rows = embeddings.length / width;
        int layers = model.config().layers();
        float[][] hidden = new float[layers][rows * width];
        float[] finalNorm = new float[rows * width];
        float[] codeLogits =
                new float[Math.multiplyExact(rows, model.description().codes())];
        Linear text = model.textHead();
        float[] textLogits = text == null ? null : new float[Math.multiplyExact(rows, text.nOut())];
        for (int start = 0; start < rows; start += forward.feedRows()) {
            int from = start;
            int n = Math.min(forward.feedRows(), rows - start);
            Tensor normed = forward.feed(
                    0,
                    Arrays.copyOfRange(embeddings, start * width, (start + n) * width),
                    n,
                    kvLen + start,
                    position + start,
                    (layer, x) -> download(x, hidden[layer], from * width));
            download(normed, finalNorm, start * width);
            try (Arena arena = Arena.ofShared()) {
                Tensor in = normed.view(1, n, width);
                Transformer.Head head = model.head();
                Linear first = head.hidden();
                Tensor last = first == null ? in : activated(arena, first, in);
                download(
                        product(arena, head.out(), last),
                        codeLogits,
                        start * head.out().nOut());
                if (text != null) {
                    download(product(arena, text, in), textLogits, start * text.nOut());
                }
            }
        }
        return new Pass(hidden, finalNorm, codeLogits, textLogits);
    }

    private Tensor activated(Arena arena, Linear layer, Tensor in) {
        Tensor out = backend.allocate(arena, model.dtype(), 1, in.dim(1), layer.nOut());
        backend.kernels().gelu(out, product(arena, layer, in), null, false);
        return out;
    }

    private Tensor product(Arena arena, Linear layer, Tensor in) {
        Tensor out = backend.allocate(arena, DType.F32, 1, in.dim(1), layer.nOut());
        backend.kernels().matmul(out, in, layer.weight(), layer.bias(), null, false);
        return out;
    }

    private void download(Tensor from, float[] to, int at) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(from.bytes(), 64);
            backend.download(host, from);
            float[] values = Tensor.of(host, from.dtype(), from.shape()).toFloats();
            System.arraycopy(values, 0, to, at, values.length);
        }
    }

    @Override
    public void close() {
        forward.close();
    }
}
