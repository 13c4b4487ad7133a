package io.sjd2.train;

import com.sun.management.OperatingSystemMXBean;
import io.sjd2.kernel.TrainingKernels;
import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/// Speed of the trainer at the demo model's shape: images/s, GFLOP/s, where the time goes, and the best that the same
/// products reach on operands in cache. Not a test; run `main` with threads, dtype, micro-batch and steps.
///
/// FLOP count two per multiply-add of the products and of causal attention, forward once and backward twice
/// (attention: five products to two); norms, activations and the optimiser count nothing. On a shared machine only
/// the rate per second of processor time means something, best with one thread.
final class TrainingThroughput {
    private static final int CODES = 512;
    private static final int CAPTION = 18;

    private TrainingThroughput() {}

    public static void main(String[] args) throws IOException {
        int threads = args.length > 0 ? Integer.parseInt(args[0]) : 2;
        DType dtype = DType.valueOf(args.length > 1 ? args[1].toUpperCase(Locale.ROOT) : "BF16");
        int micro = args.length > 2 ? Integer.parseInt(args[2]) : 4;
        int steps = args.length > 3 ? Integer.parseInt(args[3]) : 8;
        Vocabulary vocabulary = new Vocabulary(895, 1, 2, 383, CODES, 16, 16);
        NetworkShape shape = NetworkShape.demo(895, CODES, 16, 256, 768, 6, 4, 320);
        TrainOptions options = TrainOptions.defaults(Objective.PRETRAIN)
                .withSteps(2L * steps, 1, 1)
                .withBatch(32, micro)
                .withDtype(dtype);
        Map<String, long[]> profile = new TreeMap<>();
        try (Native n = new Native("", threads);
                Trainer trainer = new Trainer(timed(n.kernels, profile), shape, options, vocabulary, data())) {
            double best = product(n, dtype);
            trainer.initialise(null);
            trainer.run(p -> p.step() < steps);
            profile.clear();
            OperatingSystemMXBean system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
            long cpu = system.getProcessCpuTime();
            long start = System.nanoTime();
            trainer.run(p -> true);
            double cpuSeconds = (system.getProcessCpuTime() - cpu) * 1e-9;
            double seconds = (System.nanoTime() - start) * 1e-9;
            double images = 32.0 * steps / seconds;
            double rate = images * flopPerImage(shape) * 1e-9;
            System.out.printf(
                    Locale.ROOT,
                    "%s, %d threads, %s, micro-batch %d: %.1f images/s, %.0f GFLOP/s = %.0f %% of the products in"
                            + " cache (%.0f); per second of a core %.0f GFLOP%n",
                    CpuLibrary.get().isa(),
                    threads,
                    dtype.label(),
                    micro,
                    images,
                    rate,
                    100 * rate / best,
                    best,
                    32.0 * steps * flopPerImage(shape) * 1e-9 / cpuSeconds);
            profile.entrySet().stream()
                    .sorted(Comparator.comparingLong((Map.Entry<String, long[]> e) -> -e.getValue()[0]))
                    .limit(16)
                    .forEach(e -> System.out.printf(
                            Locale.ROOT,
                            "  %-18s %5.1f %%  %8.1f us each%n",
                            e.getKey(),
                            e.getValue()[0] * 1e-7 / seconds,
                            e.getValue()[0] * 1e-3 / e.getValue()[1]));
        }
    }

    private static TrainingData data() {
        return new TrainingData() {
            @Override
            public long size() {
                return 1024;
            }

            @Override
            public Example example(long index) {
                CounterRandom random = new CounterRandom(1, index, 0, 0);
                int[] caption = new int[CAPTION];
                Arrays.setAll(caption, i -> random.between(260, 380));
                int[] codes = new int[256];
                Arrays.setAll(codes, i -> random.between(0, CODES - 1));
                return new Example(caption, codes);
            }
        };
    }

    private static double flopPerImage(NetworkShape s) {
        double rows = CAPTION + 2 + 255;
        double block = (double) s.hiddenSize() * s.qkvColumns()
                + (double) s.attentionColumns() * s.hiddenSize()
                + 3.0 * s.hiddenSize() * s.intermediateSize();
        double attention = 2 * 7 * rows * rows / 2 * s.attentionColumns();
        return s.layers() * (6 * rows * block + attention) + 6.0 * 256 * s.hiddenSize() * s.headRows();
    }

    /// GFLOP/s of one product of the shape 1024 x 512 x 512, warm.
    private static double product(Native n, DType dtype) {
        Tensor a = Parameters.host(n.arena, dtype, 1024, 512);
        Tensor c = Parameters.host(n.arena, DType.F32, 1024, 512);
        Tensor w = Parameters.host(n.arena, DType.F32, 512, 512);
        Tensor packed = Parameters.host(n.arena, DType.U8, n.kernels.packedBytes(512, 512, dtype));
        n.kernels.pack(packed, w, true, dtype);
        double best = 0;
        for (int i = 0; i < 200; i++) {
            long start = System.nanoTime();
            n.kernels.gemmPacked(c, null, a, packed, dtype);
            best = Math.max(best, 2.0 * 1024 * 512 * 512 / (System.nanoTime() - start));
        }
        return best;
    }

    /// The same operations, with the time spent in each.
    private static TrainingKernels timed(TrainingKernels kernels, Map<String, long[]> profile) {
        return (TrainingKernels) Proxy.newProxyInstance(
                TrainingKernels.class.getClassLoader(),
                new Class<?>[] {TrainingKernels.class},
                (proxy, method, values) -> {
                    long start = System.nanoTime();
                    try {
                        return method.invoke(kernels, values);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    } finally {
                        long[] sum = profile.computeIfAbsent(method.getName(), k -> new long[2]);
                        sum[0] += System.nanoTime() - start;
                        sum[1]++;
                    }
                });
    }
}
