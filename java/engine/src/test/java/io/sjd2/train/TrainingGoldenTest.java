package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.TrainingKernels;
import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.kernel.ffm.NativeLibrary;
import io.sjd2.kernel.ffm.NativeStream;
import io.sjd2.kernel.ffm.NativeTrainingKernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// The f32 columns of the training fixtures, on every instruction set of this machine, with one thread and with two.
class TrainingGoldenTest {
    private static final double LOSS = 1e-5;
    private static final double GRADIENT = 1e-5;
    private static final double PARAMETER = 1e-4;

    static List<Arguments> cases() {
        List<Arguments> cases = new ArrayList<>();
        for (String isa : CpuLibrary.get().availableIsas()) {
            for (String c : new String[] {
                "llama clean", "llama noise", "llama noise_normalised", "chameleon clean", "chameleon noise_normalised"
            }) {
                cases.add(Arguments.of(isa, c.split(" ")[0], c.split(" ")[1]));
            }
        }
        return cases;
    }

    @AfterEach
    void restoreInstructionSet() {
        CpuLibrary.get().selectIsa("");
    }

    @ParameterizedTest
    @MethodSource("cases")
    void reproducesTheFixture(String isa, String family, String mode) throws IOException {
        reproduces(isa, Golden.load(family, mode));
    }

    /// Biases, and norms of queries and keys with different numbers of rows, against the f64 oracle.
    @ParameterizedTest
    @MethodSource("cases")
    void reproducesTheOracleWithBiases(String isa, String family, String mode) throws IOException {
        reproduces(isa, Golden.load(family, mode).varied());
    }

    private static void reproduces(String isa, Golden golden) throws IOException {
        Map<String, float[]> one = run(isa, golden, 1);
        Map<String, float[]> two = run(isa, golden, 2);
        for (var entry : one.entrySet()) {
            assertThat(two.get(entry.getKey()))
                    .as(entry.getKey() + " with two threads")
                    .isEqualTo(entry.getValue());
        }
        for (int step = 0; step < 3; step++) {
            assertThat((double) one.get("loss")[step]).isCloseTo(golden.losses32[step], within(LOSS));
        }
        int compared = 0;
        for (var entry : golden.expected.entrySet()) {
            String name = entry.getKey();
            double tolerance;
            String key;
            if (name.startsWith("f32.grad.")) {
                key = name.substring("f32.".length());
                tolerance = GRADIENT;
            } else if (name.startsWith("f64.after_step_")) {
                key = name.substring("f64.".length());
                tolerance = PARAMETER;
            } else {
                continue;
            }
            assertClose(name, one.get(key), entry.getValue(), tolerance);
            compared++;
        }
        assertThat(compared).isGreaterThan(20);
    }

    private static org.assertj.core.data.Offset<Double> within(double tolerance) {
        return org.assertj.core.data.Offset.offset(tolerance);
    }

    private static void assertClose(String name, float[] actual, double[] expected, double tolerance) {
        assertThat(actual).as(name).hasSameSizeAs(expected);
        for (int i = 0; i < expected.length; i++) {
            assertThat((double) actual[i]).as(name + "[" + i + "]").isCloseTo(expected[i], within(tolerance));
        }
    }

    /// Three steps on the same batch; everything worth comparing, by name.
    private static Map<String, float[]> run(String isa, Golden golden, int threads) throws IOException {
        NativeLibrary library = CpuLibrary.get();
        library.selectIsa(isa);
        try (NativeStream stream = library.openStream(threads, MemorySegment.NULL);
                Arena arena = Arena.ofConfined()) {
            TrainingKernels kernels = new NativeTrainingKernels(stream, isa);
            NetworkShape shape = golden.shape();
            Parameters params = new Parameters(shape, arena);
            golden.init.forEach((name, values) -> params.value(name).fill(narrow(values)));
            int sequences = golden.number("B");
            int length = golden.number("T");
            int rows = sequences * length;
            Network network = new Network(kernels, params, DType.F32, arena, rows, rows);
            SequenceBatch batch = batch(golden, arena, sequences, length);
            double[][] norm = golden.normalisation();
            int hidden = shape.hiddenSize();
            float[] noise = narrow(golden.batch.get("noise"));
            Tensor mean = Parameters.host(arena, DType.F32, hidden).fill(narrow(norm[0]));
            Tensor std = Parameters.host(arena, DType.F32, hidden).fill(narrow(norm[1]));
            var source = new Network.NoiseSource() {
                @Override
                public void fill(Tensor out, SequenceBatch b) {
                    for (int i = 0; i < b.noisy(); i++) {
                        int row = b.noisyRows().getInt(i);
                        for (int d = 0; d < hidden; d++) {
                            out.setFloat((long) i * hidden + d, noise[row * hidden + d]);
                        }
                    }
                }

                @Override
                public Tensor mean() {
                    return mean;
                }

                @Override
                public Tensor std() {
                    return std;
                }
            };
            Map<String, float[]> results = new LinkedHashMap<>();
            Tensor first = params.flat(arena);
            Tensor second = params.flat(arena);
            float[] losses = new float[3];
            for (int step = 1; step <= 3; step++) {
                network.weightsChanged();
                kernels.fill(params.grads(), 0);
                Tensor each = network.train(batch, source, 1f / batch.losses());
                double total = 0;
                for (float l : each.toFloats()) {
                    total += l;
                }
                losses[step - 1] = (float) (total / batch.losses());
                if (step == 1) {
                    params.slots()
                            .forEach(s -> results.put(
                                    "grad." + s.entry().name(),
                                    params.grad(s.entry().name()).toFloats()));
                }
                kernels.adamw(
                        params.values(),
                        first,
                        second,
                        params.grads(),
                        step,
                        (float) golden.adamw.get("lr").number(),
                        (float) golden.adamw.get("beta1").number(),
                        (float) golden.adamw.get("beta2").number(),
                        (float) golden.adamw.get("eps").number(),
                        (float) golden.adamw.get("weight_decay").number(),
                        1);
                String prefix = "after_step_" + step + ".";
                params.slots()
                        .forEach(s -> results.put(
                                prefix + s.entry().name(),
                                params.value(s.entry().name()).toFloats()));
            }
            results.put("loss", losses);
            return results;
        }
    }

    private static SequenceBatch batch(Golden golden, Arena arena, int sequences, int length) {
        SequenceBatch batch = new SequenceBatch(arena, sequences, sequences * length);
        batch.clear();
        double[] ids = golden.batch.get("ids");
        double[] mask = golden.batch.get("target_mask");
        double[] noisy = golden.batch.get("noisy");
        for (int s = 0; s < sequences; s++) {
            batch.beginSequence();
            for (int t = 0; t < length; t++) {
                int at = s * length + t;
                int row = batch.addInput((int) ids[at]);
                if (t + 1 < length && mask[at + 1] != 0) {
                    batch.addTarget((int) ids[at + 1]);
                }
                if (golden.noisy() && noisy[at] != 0) {
                    batch.addNoise(
                            row,
                            (float) golden.batch.get("alpha")[at],
                            (float) golden.batch.get("sigma")[at],
                            golden.batch.get("timestep")[at],
                            0,
                            0);
                }
            }
        }
        return batch;
    }

    static float[] narrow(double[] values) {
        float[] out = new float[values.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = (float) values[i];
        }
        return out;
    }
}
