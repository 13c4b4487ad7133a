package io.sjd2.testing;

import io.sjd2.Engine;
import io.sjd2.EngineOptions;
import io.sjd2.GeneratedImage;
import io.sjd2.GenerationListener;
import io.sjd2.GenerationRequest;
import io.sjd2.kernel.KernelException;
import io.sjd2.tensor.DType;
import io.sjd2.testing.GpuCheck.Verdict;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/// The same picture on a backend and on the CPU, from the same seed with the decoder `exact`: the same tokens, or
/// where they part and by how little.
final class GenerationCheck {
    private static final String PROMPT = "a large red circle above a small blue square";
    private static final GenerationRequest REQUEST = GenerationRequest.of(PROMPT)
            .withSeed(5)
            .withDecoder("exact")
            .withWindow(16)
            .withGuidance(1.0);

    /// In f32 tokens may part only where two of them are this close, in nats: what a sum over a few hundred terms may
    /// differ by when it is taken in another order.
    private static final double ROUNDING = 1e-3;

    private GenerationCheck() {}

    static List<Verdict> run(Path model, String backend) throws IOException {
        List<Verdict> verdicts = new ArrayList<>();
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            String name = "generation " + dtype.label();
            try {
                verdicts.add(compare(name, model, backend, dtype));
            } catch (KernelException | IllegalStateException e) {
                verdicts.add(new Verdict(name, Verdict.Outcome.WRONG, String.valueOf(e.getMessage()), e.toString()));
            }
        }
        return verdicts;
    }

    private static Verdict compare(String name, Path model, String backend, DType dtype) throws IOException {
        EngineOptions options = EngineOptions.defaults().withDtype(dtype);
        try (Engine device = Engine.open(model, options.withBackend(backend));
                Engine cpu = Engine.open(model, options.withBackend("cpu"))) {
            GeneratedImage got =
                    device.generate(REQUEST, GenerationListener.NONE).getFirst();
            GeneratedImage want = cpu.generate(REQUEST, GenerationListener.NONE).getFirst();
            String passes = got.statistics().passes() + " passes for " + got.tokens().length + " tokens";
            int position = Arrays.mismatch(want.tokens(), got.tokens());
            if (position < 0) {
                return new Verdict(name, Verdict.Outcome.RIGHT, passes + ", those of the CPU", null);
            }
            double gap = gap(cpu, want.codes(), got.codes(), position);
            // In bf16 a rounding may go either way, and nothing follows from it.
            boolean near = dtype == DType.BF16 || gap < ROUNDING;
            return new Verdict(
                    name,
                    near ? Verdict.Outcome.RIGHT : Verdict.Outcome.WRONG,
                    passes
                            + String.format(
                                    Locale.ROOT,
                                    ", parts from the CPU's at position %d, logit gap %.3g",
                                    position,
                                    gap),
                    null);
        }
    }

    /// By how much the CPU's model tells apart the two tokens of the position where two pictures part: the difference
    /// of their logits behind the prefix that both share.
    private static double gap(Engine cpu, int[][] want, int[][] got, int position) {
        double[] ours = cpu.logLikelihood(PROMPT, false, want);
        double[] theirs = cpu.logLikelihood(PROMPT, false, got);
        return Math.abs(ours[position] - theirs[position]);
    }
}
