package io.sjd2.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class SinusoidTest {
    @Test
    void featuresAreTheRecordedOnes() throws IOException {
        JsonObject c;
        try (InputStream in = SinusoidTest.class.getResourceAsStream("/golden/sampling/timestep_embedding.json")) {
            c = JsonParser.parseReader(new InputStreamReader(in, StandardCharsets.UTF_8))
                    .getAsJsonObject();
        }
        assertThat(c.get("max_period").getAsDouble()).isEqualTo(10000);
        JsonArray steps = c.getAsJsonArray("timesteps");
        for (int i = 0; i < steps.size(); i++) {
            JsonArray expected = c.getAsJsonArray("values").get(i).getAsJsonArray();
            double[] actual = NoiseAdapter.sinusoid(
                    steps.get(i).getAsDouble(), c.get("dim").getAsInt());
            for (int d = 0; d < actual.length; d++) {
                assertThat(actual[d]).isCloseTo(expected.get(d).getAsDouble(), within(1e-10));
            }
        }
    }
}
