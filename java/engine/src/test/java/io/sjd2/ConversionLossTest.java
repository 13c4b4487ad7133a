package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;

class ConversionLossTest {
    private static final Offset<Double> EXACT = Offset.offset(1e-12);

    /// Four passes of 2 + 1 + 1 each; then two of 5 + 2 + 3.
    private static final ConversionLoss.Cost BASELINE = new ConversionLoss.Cost(4, 8, 4, 16);

    private static final ConversionLoss.Cost WINDOW = new ConversionLoss.Cost(2, 10, 4, 20);

    @Test
    void partsAndConversionAddUpToOne() {
        ConversionLoss lost = ConversionLoss.between(BASELINE, WINDOW);
        assertThat(lost.passGrowth()).isCloseTo(0.3, EXACT);
        assertThat(lost.verification()).isCloseTo(0.1, EXACT);
        assertThat(lost.host()).isCloseTo(0.2, EXACT);
        // Half as many passes, and 16 / 20 of the speed.
        double conversion = 16.0 / 20 / (4.0 / 2);
        assertThat(lost.passGrowth() + lost.verification() + lost.host()).isCloseTo(1 - conversion, EXACT);
    }

    @Test
    void theBaselineLosesNothing() {
        assertThat(ConversionLoss.between(BASELINE, BASELINE)).isEqualTo(new ConversionLoss(0, 0, 0));
    }
}
