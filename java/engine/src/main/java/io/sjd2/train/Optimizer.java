package io.sjd2.train;

import io.sjd2.kernel.TrainingKernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/// Updates the weights from the gradients: Muon or AdamW for the matrices of the blocks, AdamW for everything else.
final class Optimizer {
    private static final float BETA1 = 0.9f;
    private static final float BETA2 = 0.95f;
    private static final float EPS = 1e-8f;
    private static final float MUON_MOMENTUM = 0.95f;
    private static final float MUON_RMS = 0.2f;
    private static final int NEWTON_SCHULZ_STEPS = 5;

    private final TrainingKernels kernels;
    private final Parameters params;
    private final TrainOptions options;
    private final Tensor first;
    private final Tensor second;
    private final Tensor average;
    private final Tensor offsets;
    private final Tensor rows;
    private final Tensor cols;
    private final List<long[]> adamRuns = new ArrayList<>();

    Optimizer(TrainingKernels kernels, Parameters params, TrainOptions options, Arena arena) {
        this.kernels = kernels;
        this.params = params;
        this.options = options;
        this.first = params.flat(arena);
        this.second = params.flat(arena);
        this.average = options.emaDecay() > 0 ? params.flat(arena) : Parameters.host(arena, DType.F32, 0);
        List<Parameters.Slot> matrices = new ArrayList<>();
        boolean muon = options.optimizer() == OptimizerKind.MUON;
        for (Parameters.Slot slot : params.slots()) {
            if (muon && slot.entry().kind() == NetworkShape.Kind.MATRIX) {
                matrices.add(slot);
            } else {
                adamRuns.add(new long[] {slot.offset(), slot.entry().elements(), decays(slot) ? 1 : 0});
            }
        }
        int n = matrices.size();
        offsets = Parameters.host(arena, DType.I64, n);
        rows = Parameters.host(arena, DType.I64, n);
        cols = Parameters.host(arena, DType.I64, n);
        for (int i = 0; i < n; i++) {
            offsets.data().setAtIndex(ValueLayout.JAVA_LONG, i, matrices.get(i).offset());
            rows.data()
                    .setAtIndex(
                            ValueLayout.JAVA_LONG, i, matrices.get(i).entry().shape()[0]);
            cols.data()
                    .setAtIndex(
                            ValueLayout.JAVA_LONG, i, matrices.get(i).entry().shape()[1]);
        }
    }

    private static boolean decays(Parameters.Slot slot) {
        return slot.entry().kind() == NetworkShape.Kind.MATRIX;
    }

    /// One step.
    ///
    /// @param step      counted from 0
    /// @param gradScale multiplies the gradients
    void step(long step, float gradScale) {
        float rate = options.rateAt(step);
        if (offsets.elements() > 0) {
            kernels.muon(
                    params.values(),
                    first,
                    params.grads(),
                    offsets,
                    rows,
                    cols,
                    rate,
                    MUON_MOMENTUM,
                    options.weightDecay(),
                    MUON_RMS,
                    gradScale,
                    NEWTON_SCHULZ_STEPS,
                    options.dtype());
        }
        for (long[] run : adamRuns) {
            kernels.adamw(
                    part(params.values(), run),
                    part(first, run),
                    part(second, run),
                    part(params.grads(), run),
                    step + 1,
                    rate,
                    BETA1,
                    BETA2,
                    EPS,
                    run[2] == 1 ? options.weightDecay() : 0,
                    gradScale);
        }
        if (options.emaDecay() > 0) {
            // A short memory at first: the average must not remember the initial weights.
            float decay = (float) Math.min(options.emaDecay(), (step + 1.0) / (step + 10.0));
            kernels.ema(average, params.values(), decay);
        }
    }

    /// Starts the average at the current weights.
    void resetAverage() {
        if (options.emaDecay() > 0) {
            average.data().copyFrom(params.values().data());
        }
    }

    private static Tensor part(Tensor flat, long[] run) {
        return Tensor.of(flat.data().asSlice(run[0] * Float.BYTES), DType.F32, run[1]);
    }

    Tensor first() {
        return first;
    }

    Tensor second() {
        return second;
    }

    /// The averaged weights; empty if none are kept.
    Tensor average() {
        return average;
    }
}
