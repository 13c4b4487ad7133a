package io.sjd2.train;

import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsFile;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

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
                family.equals("chameleon") ? number("qk_norm_rows") : 0,
                "lm_head.weight",
                number("V"),
                0,
                0,
                16,
                20,
                "time_embed.");
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
