package io.sjd2.train;

import io.sjd2.model.Prompt;
import org.jspecify.annotations.Nullable;

/// Turns examples into batches: which example, with or without caption, which tokens noisy and how much.
final class BatchMaker {
    private static final int PURPOSE_ORDER = 1;
    private static final int PURPOSE_CAPTION = 2;
    private static final int PURPOSE_SEGMENTS = 3;
    private static final int PURPOSE_THINNING = 4;
    /// Examples that code frequencies are counted over.
    private static final int COUNTED = 1000;

    private final TrainOptions options;
    private final TrainingData data;
    private final Vocabulary vocabulary;
    private final int maxPositions;
    private final int maxCaption;
    /// Probability that a code as target gives a loss, while losses are thinned.
    private double @Nullable [] keep;

    /// @param maxPositions longest sequence; longer captions are cut
    BatchMaker(TrainOptions options, TrainingData data, Vocabulary vocabulary, int maxPositions) {
        this.options = options;
        this.data = data;
        this.vocabulary = vocabulary;
        this.maxPositions = maxPositions;
        if (vocabulary.picture() != null) {
            maxCaption = 0;
            return;
        }
        this.maxCaption = maxPositions - vocabulary.cells() - 1;
        if (maxCaption < 1) {
            throw new IllegalArgumentException("a network of " + maxPositions
                    + " positions leaves no room for captions beside " + vocabulary.cells() + " image tokens");
        }
    }

    /// Rows of the largest sequence.
    int maxRows() {
        return vocabulary.picture() == null ? maxCaption + 1 + vocabulary.cells() : maxPositions;
    }

    /// Sequences `[first, first + count)` of a step.
    void fill(SequenceBatch batch, long step, int first, int count) {
        batch.clear();
        for (int i = first; i < first + count; i++) {
            TrainingData.Example example = data.example(order(step * options.batch() + i));
            boolean blind =
                    new CounterRandom(options.seed(), step, i, PURPOSE_CAPTION).uniform() < options.captionDropout();
            CounterRandom thinning =
                    options.thins(step) ? new CounterRandom(options.seed(), step, i, PURPOSE_THINNING) : null;
            int firstImageRow = add(batch, example, !blind, thinning);
            if (options.objective() == Objective.SJD2_FINETUNE) {
                addNoise(batch, firstImageRow, step, i);
            }
        }
    }

    /// One clean sequence, with its caption.
    ///
    /// @return the row of the first image token
    int add(SequenceBatch batch, TrainingData.Example example, boolean withCaption) {
        return add(batch, example, withCaption, null);
    }

    private int add(
            SequenceBatch batch, TrainingData.Example example, boolean withCaption, @Nullable CounterRandom thinning) {
        int[] codes = example.codes();
        if (codes.length != vocabulary.cells()) {
            throw new IllegalArgumentException(
                    "an image has " + codes.length + " codes, expected " + vocabulary.cells());
        }
        addPrompt(batch, example, withCaption);
        int first = batch.rows();
        int length = vocabulary.length();
        for (int p = 0, t = 0; p < length; p++) {
            int token = vocabulary.structural(p);
            boolean code = token < 0;
            if (code) {
                if (thinning == null || thinning.uniform() < keep()[codes[t]]) {
                    batch.addTarget(codes[t]);
                }
                batch.setTargetPosition(t / vocabulary.gridWidth(), t % vocabulary.gridWidth());
                token = vocabulary.token(codes[t++]);
            }
            if (p + 1 < length) {
                if (code && vocabulary.apart()) {
                    batch.addCode(token);
                } else {
                    batch.addInput(token);
                }
            }
        }
        return first;
    }

    private void addPrompt(SequenceBatch batch, TrainingData.Example example, boolean withCaption) {
        TrainingData.Prompts prompts = example.prompts();
        if (prompts != null) {
            Prompt prompt = withCaption ? prompts.conditional() : prompts.unconditional();
            batch.beginSequence(prompt.position());
            switch (prompt) {
                case Prompt.Tokens tokens -> {
                    for (int id : tokens.ids()) {
                        batch.addInput(id);
                    }
                }
                case Prompt.Embeddings rows -> {
                    int width = rows.values().length / rows.length();
                    for (int r = 0; r < rows.length(); r++) {
                        batch.addCondition(rows.values(), r * width);
                    }
                }
            }
            return;
        }
        batch.beginSequence();
        batch.addInput(vocabulary.bosToken());
        if (withCaption) {
            int[] caption = example.caption();
            for (int i = 0; i < Math.min(caption.length, maxCaption); i++) {
                batch.addInput(caption[i]);
            }
        }
        batch.addInput(vocabulary.imageBeginToken());
    }

    /// Frequent codes are thinned as frequent words are in word2vec (Mikolov et al., 2013, section 2.3).
    private double[] keep() {
        if (keep == null) {
            long[] counts = new long[vocabulary.codes()];
            long examples = Math.min(COUNTED, data.size());
            for (long i = 0; i < examples; i++) {
                for (int code : data.example(i).codes()) {
                    counts[code]++;
                }
            }
            double all = (double) examples * vocabulary.cells();
            keep = new double[counts.length];
            for (int code = 0; code < counts.length; code++) {
                keep[code] = counts[code] == 0 ? 1 : Math.min(1, Math.sqrt(options.thinning() * all / counts[code]));
            }
        }
        return keep;
    }

    /// Which example the n-th draw takes: the first pass in order, later ones shuffled by a random affine map.
    private long order(long n) {
        long size = data.size();
        long epoch = n / size;
        long at = n % size;
        if (epoch == 0) {
            return at;
        }
        CounterRandom random = new CounterRandom(options.seed(), epoch, 0, PURPOSE_ORDER);
        long shift = Math.floorMod(random.next(), size);
        long stride;
        do {
            stride = 1 + Math.floorMod(random.next(), size);
        } while (gcd(stride, size) != 1);
        return (Math.multiplyHigh(at, stride) == 0 && at * stride >= 0)
                ? (at * stride % size + shift) % size
                : Math.floorMod(at + shift, size);
    }

    private static long gcd(long a, long b) {
        return b == 0 ? a : gcd(b, a % b);
    }

    /// Noisy segments alternate with clean gaps. Source: docs/decoding.md, "Fine-tuning that worked".
    private void addNoise(SequenceBatch batch, int firstRow, long step, int index) {
        NoiseOptions noise = options.noise();
        CounterRandom random = new CounterRandom(options.seed(), step, index, PURPOSE_SEGMENTS);
        if (random.uniform() >= noise.noisyShare()) {
            return;
        }
        int length = vocabulary.length() - 1;
        boolean noisy = random.uniform() < 0.5;
        int at = 0;
        while (at < length) {
            int size = Math.min(random.between(noise.segmentMin(), noise.segmentMax()), length - at);
            if (noisy) {
                double kind = random.uniform();
                double low = random.uniform();
                double high = random.uniform();
                for (int t = 0; t < size; t++) {
                    double share;
                    if (kind < noise.constantShare()) {
                        share = low;
                    } else if (kind < noise.constantShare() + noise.risingShare()) {
                        double along = size == 1 ? 0 : (double) t / (size - 1);
                        share = Math.min(low, high) + along * Math.abs(high - low);
                    } else {
                        share = random.uniform();
                    }
                    if (vocabulary.structural(at + t) >= 0) {
                        // Decoding fills these in clean.
                        continue;
                    }
                    double lambda = noise.lambda(share);
                    double alpha = 1 / Math.sqrt(1 + lambda * lambda);
                    batch.addNoise(
                            firstRow + at + t,
                            (float) alpha,
                            (float) (lambda * alpha),
                            noise.timestepScale() * Math.log(lambda) + noise.timestepShift(),
                            index,
                            at + t);
                }
            }
            at += size;
            noisy = !noisy;
        }
    }
}
