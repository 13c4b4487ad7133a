package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;

import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The f64 columns of the training fixtures: they fix what the network and its optimiser mean.
class DoubleOracleTest {
    private static final double LOSS = 1e-12;
    private static final double GRADIENT = 1e-11;
    private static final double PARAMETER = 1e-10;
    /// Of differences, and what their curvature and rounding leave.
    private static final double STEP = 1e-4;

    private static final double SLOPE = 1e-7;

    @ParameterizedTest
    @CsvSource({
        "llama, clean",
        "llama, noise",
        "llama, noise_normalised",
        "chameleon, clean",
        "chameleon, noise_normalised"
    })
    void reproducesTheFixture(String family, String mode) throws IOException {
        Golden golden = Golden.load(family, mode);
        double[][] norm = golden.normalisation();
        DoubleOracle oracle =
                new DoubleOracle(golden.shape(), golden.spec.get("eps").number(), golden.init, norm[0], norm[1]);
        DoubleOracle.Batch batch = golden.oracleBatch();
        int compared = 0;
        for (int step = 1; step <= 3; step++) {
            assertThat(oracle.pass(batch)).isCloseTo(golden.losses64[step - 1], offset(LOSS));
            if (step == 1) {
                compared += compare(golden, "f64.grad.", oracle.grads(), GRADIENT);
            }
            oracle.adamw(
                    golden.adamw.get("lr").number(),
                    golden.adamw.get("beta1").number(),
                    golden.adamw.get("beta2").number(),
                    golden.adamw.get("eps").number(),
                    golden.adamw.get("weight_decay").number());
            compared += compare(golden, "f64.after_step_" + step + ".", oracle.params(), PARAMETER);
        }
        assertThat(compared).isGreaterThan(2 * 20);
    }

    /// No fixture holds biases and norms of different numbers of rows: their gradients are slopes of the loss.
    @ParameterizedTest
    @ValueSource(strings = {"llama", "chameleon"})
    void gradientsOfWhatNoFixtureHoldsAreSlopes(String family) throws IOException {
        Golden golden = Golden.load(family, "noise_normalised").varied();
        double[][] norm = golden.normalisation();
        double eps = golden.spec.get("eps").number();
        DoubleOracle oracle = new DoubleOracle(golden.shape(), eps, golden.init, norm[0], norm[1]);
        DoubleOracle.Batch batch = golden.oracleBatch();
        oracle.pass(batch);
        Map<String, double[]> gradients = new LinkedHashMap<>();
        oracle.grads().forEach((name, values) -> gradients.put(name, values.clone()));
        int checked = 0;
        for (Map.Entry<String, double[]> entry : gradients.entrySet()) {
            if (!entry.getKey().contains(".layers.") || !entry.getKey().matches(".*(bias|_norm.weight)")) {
                continue;
            }
            double[] values = oracle.params().get(entry.getKey());
            for (int i = 0; i < values.length; i += Math.max(1, values.length / 5)) {
                double kept = values[i];
                values[i] = kept + STEP;
                double above = oracle.pass(batch);
                values[i] = kept - STEP;
                double below = oracle.pass(batch);
                values[i] = kept;
                assertThat(entry.getValue()[i])
                        .as(entry.getKey() + "[" + i + "]")
                        .isCloseTo((above - below) / (2 * STEP), offset(SLOPE));
                checked++;
            }
        }
        assertThat(checked).isGreaterThan(60);
    }

    private static int compare(Golden golden, String prefix, Map<String, double[]> actual, double tolerance) {
        int compared = 0;
        for (var entry : golden.expected.entrySet()) {
            if (!entry.getKey().startsWith(prefix)) {
                continue;
            }
            double[] values = actual.get(entry.getKey().substring(prefix.length()));
            for (int i = 0; i < values.length; i++) {
                assertThat(values[i])
                        .as(entry.getKey() + "[" + i + "]")
                        .isCloseTo(entry.getValue()[i], offset(tolerance));
            }
            compared++;
        }
        return compared;
    }
}
