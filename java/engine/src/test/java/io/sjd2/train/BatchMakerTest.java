package io.sjd2.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// Which tokens a batch holds, which of them are noisy, and how noisy.
class BatchMakerTest {
    private static final Vocabulary VOCABULARY = new Vocabulary(600, 1, 2, 88, 512, 16, 16);
    private static final int IMAGES = 97;

    private static final class Numbered implements TrainingData {
        @Override
        public long size() {
            return IMAGES;
        }

        @Override
        public Example example(long index) {
            int[] codes = new int[256];
            java.util.Arrays.setAll(codes, i -> (int) ((index + i) % 512));
            return new Example(new int[] {50, 51, 52}, codes);
        }
    }

    private static TrainOptions options(Objective objective) {
        return TrainOptions.defaults(objective).withSeed(3).withBatch(8, 8);
    }

    @Test
    void aSequenceIsBosCaptionBeginAndAllCodesButTheLast() {
        try (Arena arena = Arena.ofConfined()) {
            BatchMaker maker = new BatchMaker(options(Objective.PRETRAIN), new Numbered(), VOCABULARY, 320);
            SequenceBatch batch = new SequenceBatch(arena, 1, 320);
            batch.clear();
            int firstImageRow = maker.add(batch, new Numbered().example(4), true);
            assertThat(firstImageRow).isEqualTo(5);
            assertThat(batch.rows()).isEqualTo(5 + 255);
            assertThat(batch.losses()).isEqualTo(256);
            int[] head = {1, 50, 51, 52, 2, 88 + 4, 88 + 5};
            for (int i = 0; i < head.length; i++) {
                assertThat(batch.ids().getInt(i)).isEqualTo(head[i]);
                assertThat(batch.positions().getInt(i)).isEqualTo(i);
            }
            // The row of the begin token predicts code 0 at cell (0, 0); the one behind it predicts cell (0, 1).
            assertThat(batch.lossRows().getInt(0)).isEqualTo(4);
            assertThat(batch.targets().getInt(0)).isEqualTo(4);
            assertThat(batch.targetRow().getInt(3)).isEqualTo(-1);
            assertThat(batch.targetRow().getInt(4)).isZero();
            assertThat(batch.targetColumn().getInt(5)).isEqualTo(1);
            assertThat(batch.targetRow().getInt(4 + 255)).isEqualTo(15);
            assertThat(batch.targetColumn().getInt(4 + 255)).isEqualTo(15);
        }
    }

    @Test
    void everyEpochSeesEveryExampleOnceAndOrdersDiffer() {
        try (Arena arena = Arena.ofConfined()) {
            TrainOptions options = options(Objective.PRETRAIN).withBatch(1, 1);
            BatchMaker maker = new BatchMaker(options, new Numbered(), VOCABULARY, 320);
            SequenceBatch batch = new SequenceBatch(arena, 1, 320);
            StringBuilder[] orders = {new StringBuilder(), new StringBuilder(), new StringBuilder()};
            for (int epoch = 0; epoch < 3; epoch++) {
                Map<Integer, Integer> seen = new HashMap<>();
                for (int i = 0; i < IMAGES; i++) {
                    maker.fill(batch, (long) epoch * IMAGES + i, 0, 1);
                    int code = batch.targets().getInt(0);
                    seen.merge(code, 1, Integer::sum);
                    orders[epoch].append(code).append(' ');
                }
                assertThat(seen).hasSize(IMAGES);
            }
            assertThat(orders[1].toString()).isNotEqualTo(orders[0].toString()).isNotEqualTo(orders[2].toString());
        }
    }

    @Test
    void onlyImageTokensAreNoisyInSegmentsOfTheRightLengthAndShare() {
        try (Arena arena = Arena.ofConfined()) {
            TrainOptions options = options(Objective.SJD2_FINETUNE);
            NoiseOptions noise = options.noise();
            BatchMaker maker = new BatchMaker(options, new Numbered(), VOCABULARY, 320);
            SequenceBatch batch = new SequenceBatch(arena, 8, 8 * maker.maxRows());
            int sequences = 0;
            int withNoise = 0;
            int blind = 0;
            long noisyTokens = 0;
            for (int step = 0; step < 250; step++) {
                maker.fill(batch, step, 0, 8);
                boolean[] noisy = new boolean[batch.rows()];
                for (int i = 0; i < batch.noisy(); i++) {
                    int row = batch.noisyRows().getInt(i);
                    assertThat(noisy[row]).isFalse();
                    noisy[row] = true;
                    assertThat(batch.ids().getInt(row)).isGreaterThanOrEqualTo(VOCABULARY.firstImageToken());
                    double alpha = batch.alpha().getFloat(i);
                    double sigma = batch.sigma().getFloat(i);
                    assertThat(Math.abs(alpha * alpha + sigma * sigma - 1)).isLessThan(1e-6);
                    double lambda = sigma / alpha;
                    assertThat(lambda).isBetween(noise.lambdaMin() * 0.999, noise.lambdaMax() * 1.001);
                    double t = batch.timestep().data().getAtIndex(ValueLayout.JAVA_DOUBLE, i);
                    assertThat(Math.abs(t - (100 * Math.log(lambda) + 500))).isLessThan(1e-3);
                    assertThat(batch.embedScale().getFloat(row))
                            .isEqualTo(batch.alpha().getFloat(i));
                }
                noisyTokens += batch.noisy();
                for (int s = 0; s < 8; s++) {
                    int from = batch.offsets().getInt(s);
                    int to = batch.offsets().getInt(s + 1);
                    blind += to - from == 2 + 255 ? 1 : 0;
                    sequences++;
                    withNoise += segmentsFit(noisy, to - 255, to, noise) ? 1 : 0;
                }
            }
            // Binomial: standard deviations 0.008 and 0.007; five of them.
            assertThat((double) withNoise / sequences).isBetween(0.85 - 0.04, 0.85 + 0.04);
            assertThat((double) blind / sequences).isBetween(0.1 - 0.035, 0.1 + 0.035);
            assertThat((double) noisyTokens / withNoise / 255).isBetween(0.45, 0.55);
        }
    }

    /// Half of all tokens are code 0, the others spread evenly over 256 codes.
    private static final class Papered implements TrainingData {
        @Override
        public long size() {
            return IMAGES;
        }

        @Override
        public Example example(long index) {
            int[] codes = new int[256];
            for (int i = 1; i < codes.length; i += 2) {
                codes[i] = 1 + (i + (int) index) % 256;
            }
            return new Example(new int[] {50}, codes);
        }
    }

    @Test
    void thinningDropsLossesOfFrequentCodesUntilTheRateFalls() {
        try (Arena arena = Arena.ofConfined()) {
            double thinning = 0.02;
            TrainOptions options =
                    options(Objective.PRETRAIN).withSteps(200, 10, 50).withThinning(thinning);
            BatchMaker maker = new BatchMaker(options, new Papered(), VOCABULARY, 320);
            BatchMaker same = new BatchMaker(options, new Papered(), VOCABULARY, 320);
            SequenceBatch batch = new SequenceBatch(arena, 8, 8 * maker.maxRows());
            SequenceBatch twin = new SequenceBatch(arena, 8, 8 * maker.maxRows());
            long paper = 0;
            long rest = 0;
            for (int step = 0; step <= 150; step++) {
                maker.fill(batch, step, 0, 8);
                same.fill(twin, step, 0, 8);
                assertThat(batch.targets().data().mismatch(twin.targets().data()))
                        .isEqualTo(-1);
                assertThat(batch.lossRows().data().mismatch(twin.lossRows().data()))
                        .isEqualTo(-1);
                for (int i = 0; i < batch.losses(); i++) {
                    int target = batch.targets().getInt(i);
                    paper += target == 0 ? 1 : 0;
                    rest += target == 0 ? 0 : 1;
                    // A loss that is kept still belongs to the row before its code.
                    int row = batch.lossRows().getInt(i);
                    int cell = 16 * batch.targetRow().getInt(row)
                            + batch.targetColumn().getInt(row);
                    assertThat(target == 0).isEqualTo(cell % 2 == 0);
                }
            }
            double all = 151 * 8 * 128;
            double keep = Math.sqrt(thinning / 0.5);
            assertThat(Math.abs(paper / all - keep)).isLessThan(5 * Math.sqrt(keep * (1 - keep) / all));
            assertThat((double) rest).isEqualTo(all);
            for (int step = 151; step < 200; step++) {
                maker.fill(batch, step, 0, 8);
                assertThat(batch.losses()).isEqualTo(8 * 256);
            }
        }
    }

    /// Whether the sequence has noise; checks the length of all runs but those at the ends.
    private static boolean segmentsFit(boolean[] noisy, int from, int to, NoiseOptions noise) {
        boolean any = false;
        int start = from;
        for (int i = from; i < to; i++) {
            any |= noisy[i];
            if (i + 1 == to || noisy[i + 1] != noisy[i]) {
                if (i + 1 < to) {
                    assertThat(i + 1 - start).isBetween(noise.segmentMin(), noise.segmentMax());
                }
                start = i + 1;
            }
        }
        return any;
    }
}
