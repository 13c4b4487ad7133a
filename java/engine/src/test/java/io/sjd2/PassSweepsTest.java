package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Map;
import org.junit.jupiter.api.Test;

class PassSweepsTest {
    private static final long SECOND = 1_000_000_000L;

    private static PassSweeps of(double... millis) {
        PassSweeps sweeps = new PassSweeps();
        for (double value : millis) {
            sweeps.add(Map.of(1, value, 4, 2 * value));
        }
        return sweeps;
    }

    @Test
    void aLargeModelIsMeasuredTwiceAndTheFasterTimeCounts() {
        assertThat(of(100).wantsMore(90 * SECOND)).isTrue();
        assertThat(of(100, 110).wantsMore(180 * SECOND)).isFalse();
        assertThat(of(100, 110).points()).isEqualTo(Map.of(1, 100.0, 4, 200.0));
        assertThat(of(110, 100).points()).isEqualTo(Map.of(1, 100.0, 4, 200.0));
    }

    @Test
    void whatJavaHadNotCompiledYetDoesNotCount() {
        PassSweeps falling = of(9, 5, 3, 2);
        assertThat(falling.wantsMore(SECOND)).isTrue();
        for (double value : new double[] {2.1, 2.2, 2.3}) {
            falling.add(Map.of(1, value, 4, 2 * value));
            assertThat(falling.wantsMore(SECOND)).isTrue();
        }
        falling.add(Map.of(1, 2.2, 4, 4.4));
        assertThat(falling.wantsMore(SECOND)).isFalse();
        assertThat(falling.points()).isEqualTo(Map.of(1, 2.2, 4, 4.4));
        assertThat(falling.count()).isEqualTo(8);
    }

    @Test
    void oneUndisturbedSweepDoesNotDecide() {
        assertThat(of(2, 2, 2, 1.9, 2).points()).containsEntry(1, 2.0);
    }

    @Test
    void aMachineThatNeverSettlesIsNotWaitedFor() {
        PassSweeps falling = of(9, 8, 7, 6);
        assertThat(falling.wantsMore(2 * SECOND)).isTrue();
        assertThat(falling.wantsMore(3 * SECOND)).isFalse();
        assertThat(falling.points()).isEqualTo(Map.of(1, 6.0, 4, 12.0));
    }
}
