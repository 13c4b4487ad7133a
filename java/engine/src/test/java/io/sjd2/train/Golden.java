package io.sjd2.train;

import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsFile;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;

/// The training fixtures: batch, initial weights and expected values, as doubles.
final class Golden {
    private static final Path FOLDER = folder();

    final Json spec;
    final Json adamw;
    final String family;
    final String mode;
    final Map<String, double[]> init;
    final Map<String, double[]> batch;
    final Map<String, double[]> expected;
    final double[] losses64;
    final double[] losses32;
    private final boolean varied;

    private Golden(Json root, Json goldenCase) throws IOException {
        spec = root.get("spec");
        adamw = root.get("adamw");
        family = goldenCase.get("family").string();
        mode = goldenCase.get("mode").string();
        init = read(family + "_init.safetensors");
        batch = read("batch.safetensors");
        expected = read(goldenCase.get("file").string());
        losses64 = numbers(goldenCase.get("losses_f64"));
        losses32 = numbers(goldenCase.get("losses_f32"));
        varied = false;
    }

    /// The same case with a bias in every product of a block and, where heads are normalised, a row for every query
    /// head and
    /// one for all keys: what no fixture holds, and so the oracle, which the fixtures fix, makes what is expected.
    private Golden(Golden from) throws IOException {
        spec = from.spec;
        adamw = from.adamw;
        family = from.family;
        mode = from.mode;
        batch = from.batch;
        init = new LinkedHashMap<>(from.init);
        varied = true;
        Random random = new Random(5);
        for (NetworkShape.Entry entry : shape().entries()) {
            double[] values = init.get(entry.name());
            if (values == null || values.length != entry.elements()) {
                double center = entry.name().endsWith("norm.weight") ? 1 : 0;
                double[] drawn = new double[(int) entry.elements()];
                // As f32 holds them.
                Arrays.setAll(drawn, i -> (float) (center + 0.3 * random.nextGaussian()));
                init.put(entry.name(), drawn);
            }
        }
        double[][] norm = from.normalisation();
        DoubleOracle oracle = new DoubleOracle(shape(), spec.get("eps").number(), init, norm[0], norm[1]);
        expected = new LinkedHashMap<>();
        expected.put("f64.embedding_mean", norm[0]);
        expected.put("f64.embedding_std", norm[1]);
        losses64 = new double[3];
        for (int step = 0; step < losses64.length; step++) {
            losses64[step] = oracle.pass(oracleBatch());
            if (step == 0) {
                oracle.grads().forEach((name, values) -> expected.put("f32.grad." + name, values.clone()));
            }
            oracle.adamw(
                    adamw.get("lr").number(),
                    adamw.get("beta1").number(),
                    adamw.get("beta2").number(),
                    adamw.get("eps").number(),
                    adamw.get("weight_decay").number());
        }
        losses32 = losses64;
    }

    /// This case with biases and unequal norms.
    Golden varied() throws IOException {
        return new Golden(this);
    }

    DoubleOracle.Batch oracleBatch() throws IOException {
        return new DoubleOracle.Batch(
                number("B"),
                number("T"),
                batch.get("ids"),
                batch.get("target_mask"),
                noisy() ? batch.get("noisy") : new double[batch.get("noisy").length],
                batch.get("alpha"),
                batch.get("sigma"),
                batch.get("timestep"),
                batch.get("noise"));
    }

    static Golden load(String family, String mode) throws IOException {
        Json root = Json.read(FOLDER.resolve("golden.json"));
        for (Json c : root.get("cases").items()) {
            if (c.get("family").string().equals(family)
                    && c.get("mode").string().equals(mode)) {
                return new Golden(root, c);
            }
        }
        throw new IOException("no case " + family + " " + mode);
    }

    private static Path folder() {
        try {
            return Path.of(Golden.class.getResource("/golden/training").toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    private static double[] numbers(Json list) throws IOException {
        return list.items().stream()
                .mapToDouble(j -> {
                    try {
                        return j.number();
                    } catch (IOException e) {
                        throw new java.io.UncheckedIOException(e);
                    }
                })
                .toArray();
    }

    private static Map<String, double[]> read(String file) throws IOException {
        Map<String, double[]> values = new LinkedHashMap<>();
        try (SafetensorsFile f = SafetensorsFile.open(FOLDER.resolve(file))) {
            for (String name : f.names()) {
                var entry = f.tensor(name);
                long[] integers = entry.dtype().startsWith("I") ? entry.toLongs() : null;
                values.put(
                        name,
                        integers == null
                                ? entry.toDoubles()
                                : java.util.Arrays.stream(integers)
                                        .asDoubleStream()
                                        .toArray());
            }
        }
        return values;
    }

    boolean noisy() {
        return !mode.equals("clean");
    }

    int number(String key) throws IOException {
        return spec.get(key).int32();
    }

    NetworkShape shape() throws IOException {
        int hidden = number("D");
        int heads = number("H");
        boolean norms = family.equals("chameleon");
        return new NetworkShape(
                number("V"),
                hidden,
                number("I"),
                number("L"),
                heads,
                number("KV"),
                hidden / heads,
                (float) spec.get("eps").number(),
                spec.get("theta").number(),
                number("T"),
                !norms ? 0 : varied ? heads : number("qk_norm_rows"),
                !norms ? 0 : varied ? 1 : number("qk_norm_rows"),
                "lm_head.weight",
                number("V"),
                0,
                0,
                16,
                20,
                "time_embed.",
                false,
                new NetworkShape.Biases(varied, varied),
                null,
                null);
    }

    /// Mean and standard deviation of the table's columns, or 0 and 1.
    double[][] normalisation() {
        double[] mean = expected.get("f64.embedding_mean");
        if (mean != null) {
            return new double[][] {mean, expected.get("f64.embedding_std")};
        }
        int hidden = init.get("model.norm.weight").length;
        double[] ones = new double[hidden];
        java.util.Arrays.fill(ones, 1);
        return new double[][] {new double[hidden], ones};
    }
}
