package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.Pass;
import io.sjd2.benchmarks.Shape;
import io.sjd2.benchmarks.SyntheticWeights;
import io.sjd2.tensor.BFloat16;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/// The pass of {@link Pass} as a PyTorch user would write it for speed: queries, keys and values in one product, gate
/// and up in one, `scaled_dot_product_attention` over a preallocated cache that is written in place, no gradients.
final class PytorchDecoder implements AutoCloseable {
    /// Arguments that every layer has, in this order.
    private static final List<String> PER_LAYER =
            List.of("norm1", "qkv", "out", "norm2", "gateUp", "down", "keys", "values");

    private final Arena arena = Arena.ofShared();
    private final Shape shape;
    private final int layers;
    private final int codes;
    private final DType dtype;
    private final int batch;
    private final Torch torch;
    private final MemorySegment block;
    private final List<List<MemorySegment>> weights = new ArrayList<>();
    private final MemorySegment finalNorm;
    private final MemorySegment head;

    /// Allocates weights and caches and fills the cache with the prompt.
    ///
    /// @param input  what enters the first layer, `[rows, hidden]`, the same for every sequence
    PytorchDecoder(Shape shape, int layers, int codes, DType dtype, int rows, int batch, int threads, float[] input)
            throws IOException {
        this.shape = shape;
        this.layers = layers;
        this.codes = codes;
        this.dtype = dtype;
        this.batch = batch;
        this.torch = Torch.open(dtype, threads);
        try (Arena filling = Arena.ofConfined()) {
            this.block = filling.allocate(2 * SyntheticWeights.blockElements(shape), 64);
            SyntheticWeights.fill(block, shape);
            for (int i = 0; i < layers; i++) {
                weights.add(layer());
            }
            this.finalNorm = ones();
            this.head = matrix(1, codes, shape.hidden);
            int[] prompt = Pass.cachedPrompt();
            float[] embedded = new float[prompt.length * shape.hidden];
            for (int i = 0; i < embedded.length; i++) {
                embedded[i] = number((long) prompt[i / shape.hidden] * shape.hidden + i % shape.hidden);
            }
            prepare(prompt.length, 0, embedded);
            torch.run();
        }
        prepare(rows, Pass.kvLength(shape, rows), input);
    }

    private float number(long index) {
        return BFloat16.toFloat(block.getAtIndex(ValueLayout.JAVA_SHORT, index));
    }

    private List<MemorySegment> layer() {
        int attention = shape.heads * shape.headDim;
        long cache = (long) batch * attention * Pass.capacity(shape) * dtype.bytes();
        return List.of(
                ones(),
                matrix(3, attention, shape.hidden),
                matrix(1, shape.hidden, attention),
                ones(),
                matrix(2, shape.intermediate, shape.hidden),
                matrix(1, shape.hidden, shape.intermediate),
                arena.allocate(cache, 64),
                arena.allocate(cache, 64));
    }

    private MemorySegment ones() {
        MemorySegment segment = arena.allocate((long) shape.hidden * dtype.bytes(), 64);
        for (int i = 0; i < shape.hidden; i++) {
            put(segment, i, 1);
        }
        return segment;
    }

    private void put(MemorySegment segment, long index, float value) {
        if (dtype == DType.F32) {
            segment.setAtIndex(ValueLayout.JAVA_FLOAT, index, value);
        } else {
            segment.setAtIndex(ValueLayout.JAVA_SHORT, index, BFloat16.fromFloat(value));
        }
    }

    /// `times` matrices of the block, one below the other.
    private MemorySegment matrix(int times, long rows, long columns) {
        long elements = rows * columns;
        MemorySegment segment = arena.allocate(times * elements * dtype.bytes(), 64);
        for (int t = 0; t < times; t++) {
            if (dtype == DType.BF16) {
                MemorySegment.copy(block, 0, segment, 2 * t * elements, 2 * elements);
            } else {
                for (long i = 0; i < elements; i++) {
                    put(segment, t * elements + i, number(i));
                }
            }
        }
        return segment;
    }

    /// Makes the program for so many rows behind `past` cache entries, and its arguments.
    private void prepare(int rows, int past, float[] input) throws IOException {
        torch.clearArguments();
        Path program = Files.createTempFile("sjd2-peer-", ".pt");
        try {
            TorchScript.write(program, argumentNames(), "Tensor", body(rows, past));
            torch.load(program);
        } finally {
            Files.deleteIfExists(program);
        }
        torch.argument(repeated(input), dtype, batch, rows, shape.hidden);
        torch.argument(angles(rows, past, true), dtype, rows, shape.headDim);
        torch.argument(angles(rows, past, false), dtype, rows, shape.headDim);
        torch.argument(mask(rows, past), dtype, rows, past + rows);
        int attention = shape.heads * shape.headDim;
        long[] cache = {batch, shape.heads, Pass.capacity(shape), shape.headDim};
        for (List<MemorySegment> layer : weights) {
            torch.argument(layer.get(0), dtype, shape.hidden);
            torch.argument(layer.get(1), dtype, shape.qkvSize(), shape.hidden);
            torch.argument(layer.get(2), dtype, shape.hidden, attention);
            torch.argument(layer.get(3), dtype, shape.hidden);
            torch.argument(layer.get(4), dtype, 2L * shape.intermediate, shape.hidden);
            torch.argument(layer.get(5), dtype, shape.hidden, shape.intermediate);
            torch.argument(layer.get(6), dtype, cache);
            torch.argument(layer.get(7), dtype, cache);
        }
        torch.argument(finalNorm, dtype, shape.hidden);
        torch.argument(head, dtype, codes, shape.hidden);
    }

    private List<String> argumentNames() {
        List<String> names = new ArrayList<>(List.of("x", "cos", "sin", "mask"));
        for (int i = 0; i < layers; i++) {
            for (String name : PER_LAYER) {
                names.add(name + i);
            }
        }
        names.add("norm");
        names.add("head");
        return names;
    }

    private List<String> body(int rows, int past) {
        String norm =
                String.format(Locale.ROOT, "torch.rms_norm(x, [%d], %%s, %s)", shape.hidden, SyntheticWeights.NORM_EPS);
        int half = shape.headDim / 2;
        String[] layer = """
            h = @norm1
            qkv = torch.view(torch.linear(h, qkv@), [@batch, @rows, 3, @heads, @dim])
            q = torch.transpose(torch.select(qkv, 2, 0), 1, 2)
            k = torch.transpose(torch.select(qkv, 2, 1), 1, 2)
            v = torch.transpose(torch.select(qkv, 2, 2), 1, 2)
            qr = torch.cat([torch.neg(torch.narrow(q, 3, @half, @half)), torch.narrow(q, 3, 0, @half)], 3)
            kr = torch.cat([torch.neg(torch.narrow(k, 3, @half, @half)), torch.narrow(k, 3, 0, @half)], 3)
            q = torch.add(torch.mul(q, cos), torch.mul(qr, sin))
            k = torch.add(torch.mul(k, cos), torch.mul(kr, sin))
            _k = torch.copy_(torch.narrow(keys@, 2, @past, @rows), k)
            _v = torch.copy_(torch.narrow(values@, 2, @past, @rows), v)
            ks = torch.narrow(keys@, 2, 0, @all)
            vs = torch.narrow(values@, 2, 0, @all)
            a = torch.scaled_dot_product_attention(q, ks, vs, @mask, 0., False)
            a = torch.reshape(torch.transpose(a, 1, 2), [@batch, @rows, @width])
            x = torch.add(x, torch.linear(a, out@))
            h = @norm2
            gate, up, = torch.chunk(torch.linear(h, gateUp@), 2, 2)
            x = torch.add(x, torch.linear(torch.mul(torch.silu(gate), up), down@))
            """.replace("@batch", Integer.toString(batch))
                .replace("@rows", Integer.toString(rows))
                .replace("@heads", Integer.toString(shape.heads))
                .replace("@dim", Integer.toString(shape.headDim))
                .replace("@half", Integer.toString(half))
                .replace("@past", Integer.toString(past))
                .replace("@all", Integer.toString(past + rows))
                .replace("@width", Integer.toString(shape.heads * shape.headDim))
                // One row sees everything; without a mask the attention of a row is the faster one.
                .replace("@mask", rows == 1 ? "None" : "mask")
                .replace("@norm1", String.format(norm, "norm1@"))
                .replace("@norm2", String.format(norm, "norm2@"))
                .split("\n");
        List<String> body = new ArrayList<>();
        for (int i = 0; i < layers; i++) {
            for (String statement : layer) {
                body.add(statement.replace("@", Integer.toString(i)));
            }
        }
        body.add("return torch.linear(" + String.format(norm, "norm") + ", head)");
        return body;
    }

    private MemorySegment repeated(float[] input) {
        MemorySegment segment = arena.allocate((long) batch * input.length * dtype.bytes(), 64);
        for (int i = 0; i < batch * input.length; i++) {
            put(segment, i, input[i % input.length]);
        }
        return segment;
    }

    /// `[rows, head_dim]`: of each element's pair.
    private MemorySegment angles(int rows, int past, boolean cosine) {
        MemorySegment segment = arena.allocate((long) rows * shape.headDim * dtype.bytes(), 64);
        int half = shape.headDim / 2;
        for (int row = 0; row < rows; row++) {
            for (int i = 0; i < shape.headDim; i++) {
                double rate = Math.pow(SyntheticWeights.ROPE_THETA, -2.0 * (i % half) / shape.headDim);
                double angle = (past + row) * rate;
                put(segment, (long) row * shape.headDim + i, (float) (cosine ? Math.cos(angle) : Math.sin(angle)));
            }
        }
        return segment;
    }

    /// `[rows, past + rows]`, added to scores: rows see the cache, themselves and rows before them.
    private MemorySegment mask(int rows, int past) {
        int all = past + rows;
        MemorySegment segment = arena.allocate((long) rows * all * dtype.bytes(), 64);
        for (int row = 0; row < rows; row++) {
            for (int i = past + row + 1; i < all; i++) {
                put(segment, (long) row * all + i, Float.NEGATIVE_INFINITY);
            }
        }
        return segment;
    }

    String name() {
        return torch.name();
    }

    void run() {
        torch.run();
    }

    /// `[batch, rows, codes]`.
    float[] logits() {
        return torch.results()[0];
    }

    @Override
    public void close() {
        torch.close();
        arena.close();
    }
}
