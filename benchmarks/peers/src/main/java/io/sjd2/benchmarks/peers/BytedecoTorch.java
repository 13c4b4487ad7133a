package io.sjd2.benchmarks.peers;

import io.sjd2.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TupleElements;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/// PyTorch through JavaCPP: bf16 products by oneDNN.
final class BytedecoTorch implements Torch {
    private final IValueVector arguments = new IValueVector();
    /// What native memory the arguments lie in.
    private final List<BytePointer> memory = new ArrayList<>();
    private @Nullable JitModule module;

    BytedecoTorch(int threads) {
        torch.set_num_threads(threads);
    }

    @Override
    public String name() {
        return "pytorch-2.10.0";
    }

    @Override
    public void argument(MemorySegment values, DType dtype, long... shape) {
        BytePointer pointer = new BytePointer(values.asByteBuffer());
        memory.add(pointer);
        TensorOptions options = new TensorOptions(dtype == DType.F32 ? ScalarType.Float : ScalarType.BFloat16);
        arguments.push_back(new IValue(torch.from_blob(pointer, shape, options)));
    }

    @Override
    public void clearArguments() {
        arguments.clear();
        memory.clear();
    }

    @Override
    public void load(Path program) {
        JitModule loaded = torch.load(program.toString(), new DeviceOptional(), true);
        loaded.eval();
        module = loaded;
    }

    private JitModule module() {
        if (module == null) {
            throw new IllegalStateException("no program has been loaded");
        }
        return module;
    }

    @Override
    @SuppressWarnings("try") // The mode is left, not used.
    public void run() {
        try (InferenceMode mode = new InferenceMode(true);
                IValue result = module().forward(arguments)) {
            if (result.isNone()) {
                throw new AssertionError("a program returns something");
            }
        }
    }

    @Override
    @SuppressWarnings("try") // The mode is left, not used.
    public float[][] results() {
        try (InferenceMode mode = new InferenceMode(true)) {
            IValue result = module().forward(arguments);
            if (result.isTensor()) {
                return new float[][] {floats(result.toTensor())};
            }
            TupleElements elements = result.toTuple().elements();
            float[][] all = new float[(int) elements.size()][];
            for (int i = 0; i < all.length; i++) {
                all[i] = floats(elements.get(i).toTensor());
            }
            return all;
        }
    }

    private static float[] floats(Tensor tensor) {
        Tensor dense = tensor.to(ScalarType.Float).contiguous();
        float[] values = new float[Math.toIntExact(dense.numel())];
        FloatBuffer buffer =
                new FloatPointer(dense.data_ptr()).capacity(values.length).asBuffer();
        buffer.get(values);
        return values;
    }

    @Override
    public void close() {
        clearArguments();
    }
}
