package io.sjd2.train;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.TrainingKernels;
import io.sjd2.model.NoiseAdapter;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.vq.PatchTokenizer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// Trains a network: batches, forward and backward passes, updates, checkpoints.
///
/// One run is one instance, used by one thread. The kernels must be those of a backend whose memory the host can use;
/// the trainer owns its own memory and gives it back in {@link #close()}.
public final class Trainer implements AutoCloseable {
    /// High word of the noise streams, above the purposes that decoding uses.
    private static final int NOISE_PURPOSE = 64;

    private static final int STEP_BITS = 24;
    private static final double SPEED_MEMORY = 0.95;
    private static final float EMBEDDING_STD = 0.5f;
    private static final float POSITION_STD = 0.2f;
    private static final float HEAD_STD = 0.02f;
    private static final int INIT_PURPOSE = 9;

    private final CountingArena arena = new CountingArena(Arena.ofShared());
    private final TrainingKernels kernels;
    private final NetworkShape shape;
    private final TrainOptions options;
    private final Vocabulary vocabulary;
    private final Parameters params;
    private final Optimizer optimizer;
    private final Network network;
    private final BatchMaker batches;
    private final SequenceBatch batch;
    private final Noise noise;
    private long step;

    /// Noise of the fine-tuning, and the statistics of the image embeddings it is mixed under.
    private final class Noise implements Network.NoiseSource {
        private final Tensor mean;
        private final Tensor std;
        private final Tensor tokens;
        private final Tensor rows;

        Noise() {
            int codes = vocabulary.picture() == null ? 0 : vocabulary.codes();
            tokens = Parameters.host(arena, DType.I32, codes);
            for (int code = 0; code < codes; code++) {
                tokens.setInt(code, vocabulary.token(code));
            }
            rows = Parameters.host(arena, DType.F32, codes, shape.hiddenSize());
            mean = Parameters.host(arena, DType.F32, shape.hiddenSize());
            std = Parameters.host(arena, DType.F32, shape.hiddenSize());
        }

        /// Takes the statistics of the image codes' rows as they are now.
        void measure() {
            float[][] statistics = of(params.values());
            mean.fill(statistics[0]);
            std.fill(statistics[1]);
        }

        private float[][] of(Tensor flat) {
            Tensor table = params.view(flat, "model.embed_tokens.weight");
            CodeNetwork codes = network.codeNetwork();
            if (codes != null) {
                codes.table(rows, flat);
                return EmbeddingStatistics.of(rows);
            }
            if (vocabulary.picture() == null) {
                return EmbeddingStatistics.of(table.rows(vocabulary.firstImageToken(), vocabulary.codes()));
            }
            kernels.gatherRows(rows, table, tokens, false);
            return EmbeddingStatistics.of(rows);
        }

        @Override
        public void fill(Tensor out, SequenceBatch b) {
            int streamHigh = (NOISE_PURPOSE << STEP_BITS) | (int) (step & ((1 << STEP_BITS) - 1));
            kernels.philoxNormal(out, b.drawHigh(), b.drawLow(), options.seed(), streamHigh);
        }

        @Override
        public Tensor mean() {
            return mean;
        }

        @Override
        public Tensor std() {
            return std;
        }
    }

    /// A trainer with zero weights; {@link #initialise}, {@link #load} or {@link #resume} comes next.
    ///
    /// @throws IllegalArgumentException if network, vocabulary and data do not fit each other
    public Trainer(
            TrainingKernels kernels,
            NetworkShape shape,
            TrainOptions options,
            Vocabulary vocabulary,
            TrainingData data) {
        if (shape.vocabSize() != vocabulary.size() || shape.headRows() != vocabulary.codes()) {
            throw new IllegalArgumentException("training: a network for " + shape.vocabSize() + " ids and "
                    + shape.headRows() + " codes cannot learn a vocabulary of " + vocabulary.size() + " ids and "
                    + vocabulary.codes() + " codes");
        }
        boolean tall = shape.gridHeight() > 0 && shape.gridHeight() != vocabulary.gridHeight();
        if (tall || shape.gridWidth() > 0 && shape.gridWidth() != vocabulary.gridWidth()) {
            throw new IllegalArgumentException("training: the network's grid " + shape.gridHeight() + "x"
                    + shape.gridWidth() + " is not the image tokeniser's " + vocabulary.gridHeight() + "x"
                    + vocabulary.gridWidth());
        }
        this.kernels = Objects.requireNonNull(kernels, "kernels");
        this.shape = shape;
        this.options = options;
        this.vocabulary = vocabulary;
        this.params = new Parameters(shape, arena);
        this.optimizer = new Optimizer(kernels, params, options, arena);
        this.batches = new BatchMaker(options, data, vocabulary, shape.maxPositions());
        int maxRows = options.microBatch() * batches.maxRows();
        int maxLosses = options.microBatch() * vocabulary.cells();
        NetworkShape.Plane plane = shape.plane();
        this.batch = new SequenceBatch(
                arena,
                options.microBatch(),
                maxRows,
                plane == null ? 0 : options.microBatch() * plane.conditionRows(),
                plane == null ? 0 : shape.hiddenSize());
        int[] codeTokens =
                vocabulary.picture() == null ? new int[0] : vocabulary.picture().tokens();
        this.network = new Network(kernels, params, options.dtype(), arena, maxRows, maxLosses, codeTokens);
        this.noise = new Noise();
    }

    /// Random weights, a function of the seed.
    ///
    /// @param images if not null, image embeddings start as random projections of its codebook, so that similar patches
    ///     start with similar embeddings
    public void initialise(@Nullable PatchTokenizer images) {
        int index = 0;
        for (Parameters.Slot slot : params.slots()) {
            Tensor t = params.value(slot.entry().name());
            CounterRandom random = new CounterRandom(options.seed(), 0, index++, INIT_PURPOSE);
            String name = slot.entry().name();
            switch (slot.entry().kind()) {
                case MATRIX -> {
                    double std = 1 / Math.sqrt(slot.entry().shape()[1]);
                    boolean writesStream = name.endsWith("o_proj.weight") || name.endsWith("down_proj.weight");
                    fillNormal(t, random, writesStream ? std / Math.sqrt(2.0 * shape.layers()) : std);
                }
                case EMBEDDING ->
                    fillNormal(
                            t,
                            random,
                            name.equals(shape.headName())
                                    ? HEAD_STD
                                    : name.contains("target_") ? POSITION_STD : EMBEDDING_STD);
                case VECTOR -> kernels.fill(t, name.endsWith(".bias") ? 0 : 1);
                case LEVEL -> {
                    if (name.endsWith("fc1.weight")) {
                        fillNormal(t, random, 1 / Math.sqrt(shape.levelInputs()));
                    } else {
                        kernels.fill(t, 0);
                    }
                }
            }
        }
        if (images != null) {
            projectCodebook(images);
        }
        optimizer.resetAverage();
        step = 0;
    }

    private static void fillNormal(Tensor t, CounterRandom random, double std) {
        for (long i = 0; i < t.elements(); i++) {
            t.setFloat(i, (float) (std * random.normal()));
        }
    }

    private void projectCodebook(PatchTokenizer images) {
        float[] codebook = images.codebook();
        int codes = vocabulary.codes();
        int inputs = codebook.length / codes;
        int hidden = shape.hiddenSize();
        CounterRandom random = new CounterRandom(options.seed(), 0, 1_000_000, INIT_PURPOSE);
        double[] projection = new double[inputs * hidden];
        for (int i = 0; i < projection.length; i++) {
            projection[i] = random.normal();
        }
        double[] rows = new double[codes * hidden];
        double squares = 0;
        for (int c = 0; c < codes; c++) {
            for (int d = 0; d < hidden; d++) {
                double sum = 0;
                for (int i = 0; i < inputs; i++) {
                    sum += codebook[c * inputs + i] * projection[i * hidden + d];
                }
                rows[c * hidden + d] = sum;
                squares += sum * sum;
            }
        }
        // Half of each embedding is its own: codes that look alike must still be told apart.
        double scale = EMBEDDING_STD * Math.sqrt(0.5) / Math.sqrt(squares / rows.length);
        Tensor t = params.value("model.embed_tokens.weight").rows(vocabulary.firstImageToken(), codes);
        for (int i = 0; i < rows.length; i++) {
            t.setFloat(i, (float) (scale * rows[i] + Math.sqrt(0.5) * t.getFloat(i)));
        }
    }

    /// Takes the weights of a model folder. What a fine-tuning adds and the folder lacks is initialised.
    ///
    /// @throws ModelFormatException if a tensor is missing or has another shape
    public void load(Path folder) throws IOException {
        initialise(null);
        try (SafetensorsFolder weights = SafetensorsFolder.open(folder)) {
            for (Parameters.Slot slot : params.slots()) {
                if (slot.entry().kind() != NetworkShape.Kind.LEVEL) {
                    copy(weights.tensor(slot.entry().name()), slot, folder);
                }
            }
        }
        loadLevels(folder);
        optimizer.resetAverage();
    }

    private void loadLevels(Path folder) throws IOException {
        Path adapter = folder.resolve(NoiseAdapter.TENSORS_FILE);
        if (Files.exists(adapter) && shape.levelInputs() > 0) {
            try (SafetensorsFile file = SafetensorsFile.open(adapter)) {
                for (Parameters.Slot slot : params.slots()) {
                    if (slot.entry().kind() == NetworkShape.Kind.LEVEL) {
                        copy(file.tensor(slot.entry().name()), slot, folder);
                    }
                }
            }
        }
    }

    /// Takes the weights of a published checkpoint. What fine-tuning adds and the folder lacks is initialised.
    ///
    /// @throws ModelFormatException if a tensor is missing or has another shape
    public void load(PublishedWeights weights) throws IOException {
        initialiseLevels();
        weights.read(params);
        loadLevels(weights.folder());
        optimizer.resetAverage();
        step = 0;
    }

    private void initialiseLevels() {
        CounterRandom random = new CounterRandom(options.seed(), 0, 0, INIT_PURPOSE);
        for (Parameters.Slot slot : params.slots()) {
            if (slot.entry().name().equals(shape.levelPrefix() + "fc1.weight")) {
                fillNormal(params.value(slot.entry().name()), random, 1 / Math.sqrt(shape.levelInputs()));
            }
        }
    }

    /// Mean and standard deviation of the image codes' embeddings.
    ///
    /// @param flat weights or their average
    float[][] statistics(Tensor flat) {
        return noise.of(flat);
    }

    /// Takes the weights, or their average, from a checkpoint of another run over the same network.
    ///
    /// @throws ModelFormatException if it is of another network
    public void loadCheckpoint(Path file, boolean average) throws IOException {
        initialise(null);
        try (SafetensorsFile f = SafetensorsFile.open(file)) {
            TensorEntry entry = f.tensor(average ? "average" : "values");
            if (entry.elementCount() != params.size()) {
                throw new ModelFormatException(
                        f.source(), "holds " + entry + ", this network has " + params.size(), "give the same shape");
            }
            params.values().data().copyFrom(entry.data());
        }
        optimizer.resetAverage();
    }

    private void copy(TensorEntry entry, Parameters.Slot slot, Path folder) throws ModelFormatException {
        if (!Arrays.equals(entry.shape(), slot.entry().shape())) {
            throw new ModelFormatException(
                    folder.toString(),
                    "tensor " + entry + " should be "
                            + Arrays.toString(slot.entry().shape()),
                    "the weights belong to another network");
        }
        params.value(slot.entry().name()).fill(entry.toFloats());
    }

    /// Continues from the checkpoint file of the options, if it exists.
    ///
    /// @return whether it did
    public boolean resume() throws IOException {
        Path file = options.checkpoint();
        if (file == null || !Files.exists(file)) {
            return false;
        }
        step = Checkpoint.read(file, params, optimizer, options);
        return true;
    }

    /// Steps done so far.
    public long step() {
        return step;
    }

    /// Trains until the last step of the options, or until the listener says stop.
    ///
    /// @throws TrainingDivergedException if the loss is no longer finite; the last checkpoint stays
    public void run(TrainListener listener) throws IOException {
        network.weightsChanged();
        double speed = 0;
        boolean goOn = true;
        while (step < options.steps() && goOn) {
            long start = System.nanoTime();
            double loss = gradients();
            double norm = Math.sqrt(kernels.sumSquares(params.grads()));
            if (!Double.isFinite(loss) || !Double.isFinite(norm)) {
                throw new TrainingDivergedException(step, loss, norm, remedy());
            }
            float clip = options.gradientClip();
            optimizer.step(step, clip > 0 && norm > clip ? (float) (clip / norm) : 1);
            network.weightsChanged();
            float rate = options.rateAt(step);
            step++;
            double now = options.batch() * 1e9 / (System.nanoTime() - start);
            speed = speed == 0 ? now : 1 / (SPEED_MEMORY / speed + (1 - SPEED_MEMORY) / now);
            double left = (options.steps() - step) * options.batch() / speed;
            goOn = listener.onStep(new TrainListener.Progress(step, options.steps(), loss, norm, rate, speed, left));
            boolean last = step == options.steps() || !goOn;
            if (options.checkpoint() != null && (last || step % options.checkpointInterval() == 0)) {
                Checkpoint.write(options.checkpoint(), params, optimizer, options, step);
            }
        }
    }

    private String remedy() {
        return options.checkpoint() == null
                ? "lower the learning rate"
                : "the checkpoint " + options.checkpoint() + " is from before; continue it with a lower learning rate";
    }

    /// Gradients of one step's batch, summed over its micro-batches.
    ///
    /// @return the mean of the losses taken, in nats per image token
    private double gradients() {
        if (options.objective() == Objective.SJD2_FINETUNE) {
            measure();
        }
        return pass();
    }

    /// Takes the statistics of the codes' embeddings as they are now; they count as constants.
    void measure() {
        noise.measure();
    }

    /// Packs the weights after they were changed from outside.
    void weightsChanged() {
        network.weightsChanged();
    }

    /// Loss and gradients of the step's batch.
    double pass() {
        kernels.fill(params.grads(), 0);
        // Divided by all cells, not by the losses kept: no step's gradient depends on how many another step dropped.
        long cells = (long) options.batch() * vocabulary.cells();
        long losses = 0;
        double total = 0;
        for (int first = 0; first < options.batch(); first += options.microBatch()) {
            batches.fill(batch, step, first, options.microBatch());
            total += sum(network.train(batch, noise, 1f / cells));
            losses += batch.losses();
        }
        return total / losses;
    }

    private static double sum(Tensor losses) {
        double total = 0;
        for (long i = 0; i < losses.elements(); i++) {
            total += losses.getFloat(i);
        }
        return total;
    }

    /// Mean loss of clean sequences with their captions, in nats per image token.
    ///
    /// @param examples the first this many of `data`
    /// @param average  use the averaged weights instead of the current ones
    public double evaluate(TrainingData data, int examples, boolean average) {
        Tensor kept = Parameters.host(arena, DType.F32, 0);
        boolean swap = average && optimizer.average().elements() > 0;
        try (Arena local = Arena.ofConfined()) {
            if (swap) {
                kept = params.flat(local);
                kept.data().copyFrom(params.values().data());
                params.values().data().copyFrom(optimizer.average().data());
            }
            network.weightsChanged();
            double total = 0;
            long count = 0;
            for (int first = 0; first < examples; first += options.microBatch()) {
                batch.clear();
                for (int i = first; i < Math.min(examples, first + options.microBatch()); i++) {
                    batches.add(batch, data.example(i), true);
                }
                total += sum(network.evaluate(batch, noise));
                count += batch.losses();
            }
            if (swap) {
                params.values().data().copyFrom(kept.data());
            }
            network.weightsChanged();
            return total / count;
        }
    }

    /// What to save: the weights or their average.
    ///
    /// @return values by tensor name, f32
    Tensor weights(boolean average) {
        return average && optimizer.average().elements() > 0 ? optimizer.average() : params.values();
    }

    Parameters parameters() {
        return params;
    }

    /// Bytes of memory taken so far.
    long allocatedBytes() {
        return arena.bytes();
    }

    NetworkShape shape() {
        return shape;
    }

    Vocabulary vocabulary() {
        return vocabulary;
    }

    TrainOptions options() {
        return options;
    }

    @Override
    public void close() {
        arena.close();
    }
}
