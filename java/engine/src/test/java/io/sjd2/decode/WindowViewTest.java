package io.sjd2.decode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftKind;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// What a listener sees of the windows fits together from pass to pass, and with what comes out.
class WindowViewTest {
    private static final String NAMES = "io.sjd2.decode.DecodeBackends#names";
    private static final int WIDTH = 8;
    private static final int LENGTH = WIDTH * WIDTH;
    private static final int WINDOW = 10;
    private static final int LEVELS = 3;
    private static final int IMAGES = 2;
    private static final TableModel MODEL = TableModel.grid(16, WIDTH, 1.2, 4);
    private static final DecodeRequest PLAIN = new DecodeRequest(
            LENGTH, null, List.of(new DecodeRequest.Image(3, 0, 0, -1), new DecodeRequest.Image(3, 1, 1, -1)));

    /// Every eighth position is structural.
    private static DecodeRequest structured() {
        int[] forced = new int[LENGTH];
        Arrays.setAll(forced, i -> i % WIDTH == WIDTH - 1 ? MODEL.codes() : -1);
        return new DecodeRequest(LENGTH, forced, PLAIN.images());
    }

    /// Follows every slot from pass to pass.
    private static final class Follower implements DecodeListener {
        private final int levels;
        private final int[][] tokens = new int[IMAGES][LENGTH];
        private final int[][] next = new int[IMAGES][LENGTH];
        private final int[][] nextLevel = new int[IMAGES][LENGTH];
        private final int[] committed = new int[IMAGES];
        private int tested;
        private int kept;
        private boolean sawNoise;

        Follower(int levels) {
            this.levels = levels;
            Arrays.stream(next).forEach(row -> Arrays.fill(row, WindowView.NO_TOKEN));
        }

        @Override
        public boolean watchesWindows() {
            return true;
        }

        @Override
        public boolean onIteration(Progress progress) {
            WindowView windows = progress.windows();
            for (int image = 0; image < IMAGES; image++) {
                assertThat(windows.first(image)).isEqualTo(committed[image]);
                assertThat(windows.rows(image)).isEqualTo(Math.min(WINDOW, LENGTH - committed[image]));
                assertThat(windows.accepted(image)).isEqualTo(progress.accepted(image));
                for (int row = 0; row < windows.rows(image); row++) {
                    follow(windows, image, row);
                }
                committed[image] += windows.accepted(image);
                assertThat(committed[image]).isEqualTo(progress.committed(image));
            }
            assertThat(progress.forwardNanos()).isNotNegative();
            assertThat(progress.verifyNanos()).isNotNegative();
            return true;
        }

        private void follow(WindowView windows, int image, int row) {
            int position = windows.first(image) + row;
            DraftKind kind = windows.kind(image, row);
            if (next[image][position] == WindowView.NO_TOKEN) {
                assertThat(kind).isNotEqualTo(DraftKind.ROW);
                assertThat(windows.level(image, row)).isEqualTo(kind == DraftKind.FORCED ? 0 : levels);
            } else {
                assertThat(windows.draft(image, row)).isEqualTo(next[image][position]);
                assertThat(windows.level(image, row)).isEqualTo(nextLevel[image][position]);
            }
            sawNoise |= windows.level(image, row) > 0;
            next[image][position] = windows.token(image, row);
            nextLevel[image][position] = windows.levelAfter(image, row);
            if (row < windows.accepted(image)) {
                tokens[image][position] = windows.token(image, row);
                boolean wasTested = kind != DraftKind.NONE && kind != DraftKind.FORCED;
                tested += wasTested ? 1 : 0;
                kept += wasTested && windows.draft(image, row) == windows.token(image, row) ? 1 : 0;
            } else if (windows.token(image, row) == WindowView.NO_TOKEN) {
                assertThat(windows.levelAfter(image, row)).isEqualTo(levels);
            } else if (kind == DraftKind.ROW) {
                assertThat(windows.levelAfter(image, row)).isEqualTo(Math.max(0, windows.level(image, row) - 1));
            }
        }
    }

    private static DecodeResult decode(Backend backend, DecoderSpec decoder, DecodeRequest request, DecodeListener to) {
        try (Arena arena = Arena.ofConfined()) {
            TableForward forward = new TableForward(backend, arena, MODEL, IMAGES, IMAGES, LENGTH);
            DecodeOptions options = new DecodeOptions(decoder, SamplingOptions.PLAIN, WINDOW, LEVELS);
            return new Decoder(forward).decode(request, options, to);
        }
    }

    @ParameterizedTest
    @MethodSource(NAMES)
    void windowsFollowEachOtherAndEndInTheTokens(String name) {
        try (Backend backend = DecodeBackends.open(name)) {
            for (DecoderSpec decoder : List.of(DecoderSpec.SJD, DecoderSpec.SJD_MC, DecoderSpec.SJD2_MC)) {
                for (DecodeRequest request : List.of(PLAIN, structured())) {
                    Follower follower = new Follower(decoder.noise() ? LEVELS : 0);
                    DecodeResult watched = decode(backend, decoder, request, follower);
                    assertThat(watched.tokens())
                            .as("%s: watching changes nothing", decoder)
                            .isEqualTo(decode(backend, decoder, request, DecodeListener.NONE)
                                    .tokens());
                    assertThat(follower.tokens).isEqualTo(watched.tokens());
                    assertThat(follower.sawNoise).isEqualTo(decoder.noise());
                    List<DecodeResult.ImageStatistics> images =
                            watched.statistics().images();
                    assertThat(follower.tested)
                            .isEqualTo(images.stream()
                                    .mapToInt(DecodeResult.ImageStatistics::tested)
                                    .sum());
                    assertThat(follower.kept)
                            .isPositive()
                            .isEqualTo(images.stream()
                                    .mapToInt(DecodeResult.ImageStatistics::kept)
                                    .sum());
                }
            }
        }
    }

    @Test
    void windowsAreOnlyThereForThoseWhoAskedBefore() {
        try (Backend backend = DecodeBackends.open("reference")) {
            assertThatIllegalStateException()
                    .isThrownBy(() -> decode(
                            backend,
                            DecoderSpec.SJD,
                            PLAIN,
                            progress -> progress.windows().rows(0) > 0))
                    .withMessageContaining("watchesWindows");
        }
    }
}
