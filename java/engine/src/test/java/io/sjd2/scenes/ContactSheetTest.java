package io.sjd2.scenes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.sjd2.tensor.RgbImage;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;

class ContactSheetTest {
    private static RgbImage dot(int value) {
        return new RgbImage(2, 1, new byte[] {(byte) value, 0, 0, 0, (byte) value, 0});
    }

    @Test
    void laysPicturesOutRowByRowAndScalesThem() {
        RgbImage sheet = ContactSheet.of(List.of(dot(10), dot(20), dot(30)), 2, 3);
        int gutter = ContactSheet.GUTTER;
        assertThat(sheet.width()).isEqualTo(3 * gutter + 2 * 6);
        assertThat(sheet.height()).isEqualTo(3 * gutter + 2 * 3);
        assertThat(sheet.channel(gutter, gutter, 0)).isEqualTo(10);
        assertThat(sheet.channel(gutter + 5, gutter + 2, 1)).isEqualTo(10);
        assertThat(sheet.channel(2 * gutter + 6, gutter, 0)).isEqualTo(20);
        assertThat(sheet.channel(gutter + 2, 2 * gutter + 3, 0)).isEqualTo(30);
        assertThat(sheet.channel(0, 0, 0)).isEqualTo(sheet.channel(2 * gutter + 6, 2 * gutter + 3, 2));
    }

    @Test
    void refusesWhatDoesNotFit() {
        assertThatIllegalArgumentException().isThrownBy(() -> ContactSheet.of(List.of(), 1, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> ContactSheet.of(List.of(dot(1)), 0, 1));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ContactSheet.of(List.of(dot(1), RgbImage.blank(1, 1)), 1, 1))
                .withMessageContaining("1 x 1");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ContactSheet.of(Collections.nCopies(9, dot(1)), 1, 20_000))
                .withMessageContaining("smaller scale");
    }
}
