package io.sjd2.benchmarks.peers;

import com.github.tjake.jlama.math.VectorMath;
import com.github.tjake.jlama.tensor.AbstractTensor;
import com.github.tjake.jlama.tensor.BFloat16BufferTensor;
import com.github.tjake.jlama.tensor.FloatBufferTensor;
import com.github.tjake.jlama.tensor.TensorShape;
import com.github.tjake.jlama.tensor.operations.TensorOperations;
import com.github.tjake.jlama.tensor.operations.TensorOperationsProvider;
import com.github.tjake.jlama.util.PhysicalCoreExecutor;
import io.sjd2.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The four products of a layer as Jlama's own models compute them: chunks of the output over its cores.
///
/// The chunks are ours. Jlama 0.8.4 cuts an output into 128 and forgets the rest where 128 does not divide its width; and
/// its kernel, which works in tiles of at most 5 x 5, leaves the corner out where neither the rows nor the columns of a
/// chunk are full tiles: of 16 rows and 48 columns the last row's last three. Chunks of whole tiles, and a narrower one
/// for what is left, have no such corner.
public class JlamaLayerProductsBenchmark extends PeerBenchmark {
    private static final int TILE = 5;
    /// As many as Jlama takes.
    private static final int CHUNKS = 128;

    private @Nullable PeerProducts numbers;
    private final List<AbstractTensor<?, ?>> inputs = new ArrayList<>();
    private final List<AbstractTensor<?, ?>> outputs = new ArrayList<>();
    private final List<List<AbstractTensor<?, ?>>> layers = new ArrayList<>();
    private @Nullable TensorOperations operations;
    private int turn;

    @Override
    void open() {
        PhysicalCoreExecutor.overrideThreadCount(threadCount());
        operations = TensorOperationsProvider.get();
        if (!operations.name().toLowerCase(java.util.Locale.ROOT).contains("native")) {
            throw new IllegalStateException("Jlama chose " + operations.name()
                    + ", expected its native operations: jlama-native has none for this machine");
        }
        PeerProducts opened = new PeerProducts(shape(), type(), rows);
        numbers = opened;
        for (int i = 0; i < opened.products().size(); i++) {
            var product = opened.products().get(i);
            inputs.add(tensor(opened.input(i), rows, product.nIn(shape())));
            outputs.add(new FloatBufferTensor(TensorShape.of(rows, (int) product.nOut(shape()))));
        }
        for (int layer = 0; layer < opened.ring(); layer++) {
            List<AbstractTensor<?, ?>> weights = new ArrayList<>();
            for (int i = 0; i < opened.products().size(); i++) {
                var product = opened.products().get(i);
                weights.add(tensor(opened.weights(layer, i), product.nOut(shape()), product.nIn(shape())));
            }
            layers.add(weights);
        }
        call();
        for (int i = 0; i < outputs.size(); i++) {
            int nOut = (int) opened.products().get(i).nOut(shape());
            float[] got = new float[rows * nOut];
            for (int at = 0; at < got.length; at++) {
                got[at] = outputs.get(i).get(at / nOut, at % nOut);
            }
            opened.check("jlama", i, got);
        }
        turn = 0;
    }

    private AbstractTensor<?, ?> tensor(MemorySegment values, long height, long width) {
        TensorShape extents = TensorShape.of((int) height, (int) width);
        ByteBuffer bytes = values.asByteBuffer().order(ByteOrder.nativeOrder());
        return type() == DType.F32
                ? new FloatBufferTensor("weights", bytes.asFloatBuffer(), extents, true)
                : new BFloat16BufferTensor("weights", bytes.asShortBuffer(), extents, true);
    }

    @Override
    void call() {
        List<AbstractTensor<?, ?>> weights = layers.get(turn);
        TensorOperations ops = operations;
        if (ops == null) {
            throw new IllegalStateException("the benchmark has not been set up");
        }
        for (int i = 0; i < outputs.size(); i++) {
            AbstractTensor<?, ?> out = outputs.get(i);
            AbstractTensor<?, ?> in = inputs.get(i);
            AbstractTensor<?, ?> w = weights.get(i);
            int width = in.shape().last();
            int all = w.shape().first();
            int chunk = Math.ceilDiv(all, CHUNKS * TILE) * TILE;
            VectorMath.pfor(0, Math.ceilDiv(all, chunk), c -> {
                int start = c * chunk;
                int length = Math.min(chunk, all - start);
                int tiled = length / TILE * TILE;
                if (tiled > 0) {
                    ops.dotProductChunk(out, in, w, 0, width, start, tiled);
                }
                if (tiled < length) {
                    ops.dotProductChunk(out, in, w, 0, width, start + tiled, length - tiled);
                }
            });
        }
        turn = (turn + 1) % layers.size();
    }

    @Override
    void shut() {
        inputs.clear();
        outputs.clear();
        layers.clear();
        if (numbers != null) {
            numbers.close();
            numbers = null;
        }
    }
}
