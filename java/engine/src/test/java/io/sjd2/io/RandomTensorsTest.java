package io.sjd2.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RandomTensorsTest {
    private static byte[] bytes(long seed, String name, long... shape) {
        try (Arena arena = Arena.ofShared()) {
            return new RandomTensors(seed).matrix(name, arena, shape).data().toArray(ValueLayout.JAVA_BYTE);
        }
    }

    @Test
    void dependOnSeedAndNameAlone() {
        byte[] once = bytes(7, "a.weight", 1031, 1029);
        assertThat(bytes(7, "a.weight", 1031, 1029)).isEqualTo(once);
        assertThat(bytes(8, "a.weight", 1031, 1029)).isNotEqualTo(once);
        assertThat(bytes(7, "b.weight", 1031, 1029)).isNotEqualTo(once);
    }

    /// Mean and variance of a million numbers: their standard errors are 0.001 of the deviation and of the variance, so
    /// that 6 of them stand for a false alarm rate below 1e-8.
    @Test
    void keepTheSizeOfWhatPassesThrough() {
        int in = 1024;
        try (Arena arena = Arena.ofShared()) {
            float[] values = new RandomTensors(1).matrix("w", arena, 1024, in).toFloats();
            double sum = 0;
            double squares = 0;
            for (float v : values) {
                sum += v;
                squares += (double) v * v;
            }
            double n = values.length;
            assertThat(sum / n * Math.sqrt(in)).isCloseTo(0, within(6e-3));
            assertThat(squares / n * in).isCloseTo(1, within(6e-3));
        }
    }

    @Test
    void normsStartAtOneAndBiasesAtZero() {
        try (Arena arena = Arena.ofShared()) {
            RandomTensors random = new RandomTensors(1);
            assertThat(random.ones("n", arena, 5).toFloats()).containsOnly(1f).hasSize(5);
            assertThat(random.zeros("b", arena, 5).toFloats()).containsOnly(0f).hasSize(5);
        }
    }

    @Test
    void namesSpellPresetSeedAndLayers() {
        assertThat(SyntheticName.of(Path.of("synthetic:emu3-8b"))).isEqualTo(new SyntheticName("emu3-8b", 0, 0));
        assertThat(SyntheticName.of(Path.of("synthetic:emu3-8b?layers=2&seed=-7")))
                .isEqualTo(new SyntheticName("emu3-8b", -7, 2));
        assertThat(SyntheticName.of(Path.of("models/demo"))).isNull();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "synthetic:", "synthetic:emu4", "synthetic:emu3-8b?layers=0",
                "synthetic:emu3-8b?layers=99999", "synthetic:emu3-8b?layers=two", "synthetic:emu3-8b?size=4"
            })
    void namesThatSpellNothingSayWhatMayStandThere(String name) {
        assertThatThrownBy(() -> SyntheticName.of(Path.of(name)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("synthetic:")
                .hasMessageMatching("(?s).*(there are|expected|not one of).*");
    }
}
