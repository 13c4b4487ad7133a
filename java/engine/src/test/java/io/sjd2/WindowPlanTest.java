package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.sjd2.io.Json;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;

/// What a plan predicts and says, from given measurements.
class WindowPlanTest {
    private static WindowPlan plan(int window, WindowPlan.Point... points) {
        return new WindowPlan(
                "sjd2-mc",
                true,
                1,
                256,
                window,
                List.of(points),
                true,
                WindowPlan.Origin.MEASURED,
                Instant.EPOCH,
                Path.of("c.json"));
    }

    private static WindowPlan.Point point(int window, double millis, double tokens) {
        return new WindowPlan.Point(window, millis, tokens);
    }

    @Test
    void thePredictionIsPassesTimesTheirCost() {
        WindowPlan plan = plan(32, point(1, 10, 1), point(16, 12, 4), point(32, 15, 6.4));
        // 256 / 6.4 = 40 passes of 15 ms, against 256 of 10 ms.
        assertThat(plan.predictedSeconds()).isCloseTo(0.6, within(1e-12));
        assertThat(plan.predictedSeconds(plan.oneRow())).isCloseTo(2.56, within(1e-12));
        assertThat(plan.predictedSpeedup()).isCloseTo(2.56 / 0.6, within(1e-12));
        assertThat(plan.reason()).contains("32 rows takes 1.50 times", "6.4 tokens");
    }

    @Test
    void oneRowIsExplainedByTheBestOtherWindow() {
        WindowPlan plan = plan(1, point(1, 1, 1), point(8, 4, 2.5), point(32, 20, 6));
        assertThat(plan.predictedSpeedup()).isEqualTo(1);
        assertThat(plan.reason())
                .startsWith("plain autoregression, because rows are not cheap here")
                .contains("8 rows takes 4.00 times", "2.5 tokens", "0.63 times as fast");
    }

    @Test
    void jsonHoldsTheWholeCurve() throws IOException {
        Json json = Json.parse(
                Reports.json(plan(16, point(1, 10, 1), point(16, 12, 4)).toJson()), "plan");
        assertThat(json.get("window").int32()).isEqualTo(16);
        assertThat(json.get("source").string()).isEqualTo("measured");
        assertThat(json.get("predicted_seconds").number()).isEqualTo(0.768);
        assertThat(json.get("predicted_speedup").number()).isEqualTo(3.333333);
        Json last = json.get("points").items().getLast();
        assertThat(last.get("window").int32()).isEqualTo(16);
        assertThat(last.get("ms_per_pass").number()).isEqualTo(12);
        assertThat(last.get("tokens_per_pass").number()).isEqualTo(4);
        assertThat(last.keys())
                .containsExactly("window", "ms_per_pass", "tokens_per_pass", "predicted_seconds", "predicted_speedup");
    }
}
