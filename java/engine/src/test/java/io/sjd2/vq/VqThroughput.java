package io.sjd2.vq;

import io.sjd2.io.SyntheticName;
import io.sjd2.kernel.cpu.CpuBackend;
import io.sjd2.kernel.cpu.CpuPeak;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.util.Locale;
import java.util.Random;

/// What share of the measured roof whole pictures reach, the first of a process apart from later ones: `generate`
/// decodes one picture in a process. Not a test; run `main` with `decode` or `encode`, dtype, pictures, codes a side
/// and threads.
///
/// A picture of Lumina-mGPT's shape, 48 x 48 codes, by default. Time is that of the call, with all memory and copies;
/// what passes up to the end of the first layer and behind the last is told apart. The roof is measured behind the
/// pictures, so that nothing is warm before the first.
final class VqThroughput {
    private VqThroughput() {}

    public static void main(String[] args) throws IOException {
        boolean encode = args.length > 0 && args[0].equals("encode");
        DType dtype = DType.valueOf(args.length > 1 ? args[1].toUpperCase(Locale.ROOT) : "BF16");
        int pictures = args.length > 2 ? Integer.parseInt(args[2]) : 2;
        int side = args.length > 3 ? Integer.parseInt(args[3]) : 48;
        int threads = args.length > 4 ? Integer.parseInt(args[4]) : 0;
        String preset = args.length > 5 ? args[5] : "lumina-mgpt-7b-768";
        VqConfig config = SyntheticVq.config(new SyntheticName(preset, 1, 0));
        try (CpuBackend backend = new CpuBackend(threads)) {
            int pixels = side * config.factor();
            VqTokenizer.Expected expected =
                    encode ? VqTokenizer.Expected.encoding(pixels, pixels) : VqTokenizer.Expected.decoding(side, side);
            long opening = System.nanoTime();
            try (VqTokenizer tokenizer =
                    VqTokenizer.open(config, new SyntheticVq("made up", 1), backend, dtype, expected)) {
                System.out.printf(
                        Locale.ROOT,
                        "%s, %s, %d threads, %s %s, %d x %d codes; opened in %.2f s%n",
                        preset,
                        backend.name(),
                        backend.threads(),
                        encode ? "encode" : "decode",
                        dtype.label(),
                        side,
                        side,
                        (System.nanoTime() - opening) * 1e-9);
                double[] seconds = new double[pictures];
                double[] before = new double[pictures];
                double[] behind = new double[pictures];
                long[] flop = new long[1];
                Random random = new Random(1);
                int[] codes = random.ints(side * side, 0, config.codes()).toArray();
                float[] picture = new float[encode ? 3 * pixels * pixels : 0];
                for (int i = 0; i < picture.length; i++) {
                    picture[i] = random.nextFloat() * 2 - 1;
                }
                for (int p = 0; p < pictures; p++) {
                    long start = System.nanoTime();
                    long[] first = new long[1];
                    long[] last = new long[1];
                    VqListener listener = new VqListener() {
                        @Override
                        public void advanced(long done, long total) {
                            if (first[0] == 0) {
                                first[0] = System.nanoTime();
                            }
                            last[0] = System.nanoTime();
                            flop[0] = total;
                        }
                    };
                    if (encode) {
                        tokenizer.encode(picture, pixels, pixels, listener);
                    } else {
                        tokenizer.decode(codes, side, side, listener);
                    }
                    seconds[p] = (System.nanoTime() - start) * 1e-9;
                    before[p] = (first[0] - start) * 1e-9;
                    behind[p] = (System.nanoTime() - last[0]) * 1e-9;
                }
                double roof = backend.measurePeak(dtype == DType.F32 ? CpuPeak.F32 : CpuPeak.BF16);
                for (int p = 0; p < pictures; p++) {
                    System.out.printf(
                            Locale.ROOT,
                            "picture %d: %.2f s (%.2f to the first layer, %.2f behind the last), %.0f of %.0f GFLOP/s, %.0f %% of the roof%n",
                            p + 1,
                            seconds[p],
                            before[p],
                            behind[p],
                            flop[0] / seconds[p] * 1e-9,
                            roof * 1e-9,
                            100 * flop[0] / seconds[p] / roof);
                }
            }
        }
    }
}
