package io.sjd2.benchmarks.peers;

import io.sjd2.benchmarks.Pass;
import io.sjd2.tensor.DType;
import java.io.IOException;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Param;

/// What the benchmarks of passes share: logits of all rows are held against our own engine's, which its own benchmark
/// holds against the reference.
public abstract class PytorchPassBenchmark extends PeerBenchmark {
    /// Relative error in the norm of logits in f32.
    private static final double F32_ERROR = 1e-3;

    /// PyTorch keeps the residual stream in bf16, too, and rounds it twice a layer.
    private static final double BF16_ERROR = 1e-1;

    /// Layers of the model's shape; 0: as many as the model has.
    @Param("2")
    public int layers = 2;

    /// Sequences of the one image: 2 with guidance.
    @Param({"1", "2"})
    public int batch = 1;

    private @Nullable PytorchDecoder decoder;

    /// Of the head.
    abstract int codes();

    @Override
    final void open() throws IOException {
        int depth = layers == 0 ? shape().layers : layers;
        float[] input;
        float[] want;
        // Closed before the peer allocates its weights: a machine need not hold both.
        try (Pass own = new Pass("cpu", threads, shape(), depth, codes(), type(), rows, batch)) {
            own.forward();
            input = own.layerInput();
            want = own.logits();
        }
        PytorchDecoder opened = new PytorchDecoder(shape(), depth, codes(), type(), rows, batch, threadCount(), input);
        decoder = opened;
        check(opened.name(), opened.logits(), want);
    }

    private void check(String peer, float[] got, float[] want) {
        if (got.length != want.length) {
            throw new IllegalStateException(peer + ": " + got.length + " logits, expected " + want.length);
        }
        double error = 0;
        double norm = 0;
        for (int i = 0; i < want.length; i++) {
            error += ((double) got[i] - want[i]) * ((double) got[i] - want[i]);
            norm += (double) want[i] * want[i];
        }
        double allowed = type() == DType.F32 ? F32_ERROR : BF16_ERROR;
        // Written so that NaN fails.
        if (!(Math.sqrt(error) <= allowed * Math.sqrt(norm)) || norm == 0) {
            throw new IllegalStateException(peer + ", " + model + ", " + dtype + ", " + rows
                    + " rows: logits differ from ours by " + Math.sqrt(error / norm) + " of their norm, expected at"
                    + " most " + allowed + "; a wrong result is not worth timing");
        }
    }

    @Override
    final void call() {
        if (decoder == null) {
            throw new IllegalStateException("the benchmark has not been set up");
        }
        decoder.run();
    }

    @Override
    final void shut() {
        if (decoder != null) {
            decoder.close();
            decoder = null;
        }
    }
}
