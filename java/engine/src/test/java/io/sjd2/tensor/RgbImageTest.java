package io.sjd2.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class RgbImageTest {
    @Test
    void readsUnsignedChannelsInRowMajorOrder() {
        byte[] rgb = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, (byte) 255};
        RgbImage image = new RgbImage(2, 2, rgb);
        assertThat(image.channel(1, 0, 0)).isEqualTo(4);
        assertThat(image.channel(0, 1, 2)).isEqualTo(9);
        assertThat(image.channel(1, 1, 2)).isEqualTo(255);
    }

    @Test
    void refusesPixelsOutsideAndNamesThem() {
        RgbImage image = RgbImage.blank(3, 2);
        assertThatThrownBy(() -> image.channel(3, 0, 0))
                .isInstanceOf(IndexOutOfBoundsException.class)
                .hasMessageContaining("(3, 0)")
                .hasMessageContaining("3 x 2");
        assertThatThrownBy(() -> image.channel(0, 2, 0)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> image.channel(0, -1, 0)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> image.channel(0, 0, 3)).isInstanceOf(IndexOutOfBoundsException.class);
    }

    @Test
    void refusesSizesThatDoNotFit() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new RgbImage(2, 2, new byte[11]))
                .withMessageContaining("11 bytes");
        assertThatIllegalArgumentException().isThrownBy(() -> RgbImage.blank(0, 5));
        assertThatIllegalArgumentException().isThrownBy(() -> RgbImage.blank(5, 65_536));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> RgbImage.blank(60_000, 60_000))
                .withMessageContaining("10800000000");
    }

    @Test
    void comparesByContent() {
        RgbImage image = new RgbImage(1, 1, new byte[] {1, 2, 3});
        assertThat(image).isEqualTo(new RgbImage(1, 1, new byte[] {1, 2, 3}));
        assertThat(image).hasSameHashCodeAs(new RgbImage(1, 1, new byte[] {1, 2, 3}));
        assertThat(image).isNotEqualTo(new RgbImage(1, 1, new byte[] {1, 2, 4}));
        assertThat(RgbImage.blank(2, 3)).isNotEqualTo(RgbImage.blank(3, 2));
    }
}
