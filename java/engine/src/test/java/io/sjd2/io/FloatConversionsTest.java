package io.sjd2.io;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.math.BigDecimal;
import java.util.Random;
import org.junit.jupiter.api.Test;

class FloatConversionsTest {
    @Test
    void everyBf16SurvivesTheWayThroughF32() {
        for (int bits = 0; bits < 1 << 16; bits++) {
            float value = FloatConversions.bf16ToFloat((short) bits);
            short back = FloatConversions.floatToBf16(value);
            if (Float.isNaN(value)) {
                assertThat(FloatConversions.bf16ToFloat(back)).isNaN();
            } else {
                assertThat(back).isEqualTo((short) bits);
            }
        }
    }

    @Test
    void everyF16SurvivesTheWayThroughF32() {
        for (int bits = 0; bits < 1 << 16; bits++) {
            float value = FloatConversions.f16ToFloat((short) bits);
            if (!Float.isNaN(value)) {
                assertThat(FloatConversions.floatToF16(value)).isEqualTo((short) bits);
            }
        }
    }

    @Test
    void bf16IsTheNearestAndEvenOnTies() {
        Random random = new Random(51);
        for (int i = 0; i < 200_000; i++) {
            // Half of the cases lie exactly between two neighbours.
            int bits = i % 2 == 0 ? random.nextInt() : random.nextInt() & 0xffff0000 | 0x8000;
            float value = Float.intBitsToFloat(bits);
            if (!Float.isFinite(value)) {
                continue;
            }
            short down = (short) (bits >>> 16);
            float near = FloatConversions.bf16ToFloat(down);
            float far = FloatConversions.bf16ToFloat((short) (down + 1)); // away from zero
            if (Float.isInfinite(far)) {
                continue;
            }
            int toNear = distance(value, near).compareTo(distance(value, far));
            short expected = toNear < 0 || toNear == 0 && (down & 1) == 0 ? down : (short) (down + 1);
            assertThat(FloatConversions.floatToBf16(value)).as("%a", value).isEqualTo(expected);
        }
        assertThat(FloatConversions.floatToBf16(Float.MAX_VALUE)).isEqualTo((short) 0x7f80);
        assertThat(FloatConversions.floatToBf16(-0f)).isEqualTo((short) 0x8000);
        float quietest = Float.intBitsToFloat(0x7f800001);
        assertThat(FloatConversions.bf16ToFloat(FloatConversions.floatToBf16(quietest)))
                .isNaN();
    }

    private static BigDecimal distance(float a, float b) {
        return new BigDecimal(a).subtract(new BigDecimal(b)).abs();
    }

    @Test
    void bulkConversionsTouchOnlyTheirElements() {
        int count = 1_003;
        Random random = new Random(52);
        try (Arena arena = Arena.ofConfined()) {
            // One byte off, so that nothing is aligned, with a guard after each segment.
            MemorySegment f32 = arena.allocate(4L * count + 9, 8).asSlice(1);
            MemorySegment half = arena.allocate(2L * count + 9, 8).asSlice(1);
            MemorySegment back = arena.allocate(4L * count + 9, 8).asSlice(1);
            for (int i = 0; i < count; i++) {
                f32.set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * i, (float) random.nextGaussian());
            }
            for (boolean bf16 : new boolean[] {true, false}) {
                half.fill((byte) 0x5a);
                back.fill((byte) 0x5a);
                if (bf16) {
                    FloatConversions.f32ToBf16(half, f32, count);
                    FloatConversions.bf16ToF32(back, half, count);
                } else {
                    FloatConversions.f32ToF16(half, f32, count);
                    FloatConversions.f16ToF32(back, half, count);
                }
                for (int i = 0; i < count; i++) {
                    float value = f32.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * i);
                    float expected = bf16
                            ? FloatConversions.bf16ToFloat(FloatConversions.floatToBf16(value))
                            : FloatConversions.f16ToFloat(FloatConversions.floatToF16(value));
                    assertThat(back.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * i))
                            .isEqualTo(expected);
                }
                for (long guard = 0; guard < 8; guard++) {
                    assertThat(half.get(ValueLayout.JAVA_BYTE, 2L * count + guard))
                            .isEqualTo((byte) 0x5a);
                    assertThat(back.get(ValueLayout.JAVA_BYTE, 4L * count + guard))
                            .isEqualTo((byte) 0x5a);
                }
            }
        }
    }
}
