package io.sjd2.benchmarks.peers;

import ai.djl.MalformedModelException;
import ai.djl.Model;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.engine.PtNDManager;
import ai.djl.pytorch.engine.PtSymbolBlock;
import ai.djl.pytorch.jni.IValue;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// PyTorch through DJL: f32 products by MKL. DJL runs programs without gradients.
final class DjlTorch implements Torch {
    private final NDManager manager;
    private @Nullable Model model;
    private final List<IValue> list = new ArrayList<>();
    private IValue[] arguments = {};
    private @Nullable PtSymbolBlock block;

    DjlTorch(int threads) {
        // Read once, when the library is loaded.
        System.setProperty("ai.djl.pytorch.num_threads", Integer.toString(threads));
        this.manager = NDManager.newBaseManager("PyTorch");
    }

    @Override
    public String name() {
        return "pytorch-" + ai.djl.engine.Engine.getEngine("PyTorch").getVersion();
    }

    @Override
    public void argument(MemorySegment values, DType dtype, long... shape) {
        if (dtype != DType.F32) {
            throw new IllegalArgumentException("dtype is " + dtype + ", expected F32: this PyTorch aborts in bf16");
        }
        var buffer = values.asByteBuffer().order(ByteOrder.nativeOrder());
        list.add(IValue.from((PtNDArray) manager.create(buffer, new Shape(shape), DataType.FLOAT32)));
        arguments = list.toArray(IValue[]::new);
    }

    @Override
    public void clearArguments() {
        list.forEach(IValue::close);
        list.clear();
        arguments = new IValue[0];
    }

    @Override
    public void load(Path program) throws IOException {
        // A model that has a program would take another file for its parameters.
        Model loaded = Model.newInstance("peer", "PyTorch");
        try {
            loaded.load(
                    program.toAbsolutePath().getParent(), program.getFileName().toString());
        } catch (MalformedModelException e) {
            throw new IOException(program + ": PyTorch does not take it: " + e.getMessage(), e);
        }
        closeModel();
        model = loaded;
        block = (PtSymbolBlock) loaded.getBlock();
    }

    private void closeModel() {
        if (model != null) {
            model.close();
            model = null;
            block = null;
        }
    }

    private PtSymbolBlock block() {
        if (block == null) {
            throw new IllegalStateException("no program has been loaded");
        }
        return block;
    }

    @Override
    public void run() {
        block().forward(arguments).close();
    }

    @Override
    public float[][] results() {
        try (NDManager own = manager.newSubManager();
                IValue result = block().forward(arguments)) {
            NDList tensors = result.toNDList((PtNDManager) own);
            return tensors.stream().map(ai.djl.ndarray.NDArray::toFloatArray).toArray(float[][]::new);
        }
    }

    @Override
    public void close() {
        clearArguments();
        closeModel();
        manager.close();
    }
}
