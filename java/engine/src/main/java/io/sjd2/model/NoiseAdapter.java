package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.RandomTensors;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// What next-clean-token fine-tuning adds to a checkpoint: normalisation of image-token embeddings, the grid of noise
/// levels, and the small network that turns a level into an embedding.
///
/// Read from `sjd2.json` and `sjd2.safetensors` beside the weights; a model without them decodes with random drafts
/// only.
public final class NoiseAdapter {
    /// Settings of the adapter.
    public static final String SETTINGS_FILE = "sjd2.json";
    /// Tensors of the adapter.
    public static final String TENSORS_FILE = "sjd2.safetensors";

    private static final String MEAN = "sjd2.embedding_mean";
    private static final String STD = "sjd2.embedding_std";
    private static final String FIRST_BIAS = "sjd2.time_embed.fc1.bias";
    /// Of the hidden layer of a made-up adapter.
    private static final int RANDOM_WIDTH = 256;

    private static final double MOST_LAMBDA = 1e9;
    private static final int MOST_LEVELS = 1024;
    /// A positive number that fits 31 bits.
    private static final Pattern WINDOW = Pattern.compile("[1-9][0-9]{0,8}");

    private final int hiddenSize;
    private final float[] mean;
    private final float[] std;
    private final float[] firstWeight;
    private final float[] firstBias;
    private final float[] secondWeight;
    private final float[] secondBias;
    private final int sinusoidDim;
    private final double timestepScale;
    private final double timestepShift;
    private final double rho;
    private final double lambdaMin;
    private final double lambdaMax;
    private final int defaultLevels;
    private final NavigableMap<Integer, Integer> levelsFromWindow;
    private final int restart;

    private static final int NO_RESTART = -1;

    /// Where an adapter's numbers come from.
    private interface Numbers {
        float[] read(String name, long... shape) throws ModelFormatException;
    }

    /// @param width  of the hidden layer of the network
    /// @param source of the numbers, for messages
    private NoiseAdapter(int hiddenSize, int width, Json settings, Numbers numbers, String source)
            throws ModelFormatException {
        this.hiddenSize = hiddenSize;
        this.sinusoidDim = settings.int32("sinusoid_dim", 64);
        this.timestepScale = settings.number("timestep_scale", 100);
        this.timestepShift = settings.number("timestep_shift", 500);
        this.rho = settings.number("rho", 7);
        this.lambdaMin = settings.number("inference_lambda_min", 0.5);
        this.lambdaMax = settings.number("inference_lambda_max", 30);
        this.defaultLevels = settings.int32("levels", 2);
        String parametrisation = settings.string("parametrisation", "vp");
        if (!parametrisation.equals("vp")) {
            throw settings.get("parametrisation").unexpected("vp");
        }
        if (sinusoidDim < 2 || sinusoidDim % 2 != 0 || sinusoidDim > 4096) {
            throw settings.get("sinusoid_dim").unexpected("an even number from 2 to 4096");
        }
        if (!(lambdaMin > 0 && lambdaMax >= lambdaMin && lambdaMax < MOST_LAMBDA && rho > 0)
                || defaultLevels < 1
                || defaultLevels > MOST_LEVELS) {
            throw settings.unexpected("0 < inference_lambda_min <= inference_lambda_max < " + MOST_LAMBDA
                    + ", rho > 0 and 1 to " + MOST_LEVELS + " levels");
        }
        this.levelsFromWindow = levelsFromWindow(settings);
        this.restart = settings.int32("restart", NO_RESTART);
        if (settings.has("restart") && restart < 0) {
            throw settings.get("restart").unexpected("0 (never), or the failed passes to wait for");
        }
        this.mean = numbers.read(MEAN, hiddenSize);
        this.std = numbers.read(STD, hiddenSize);
        for (float s : std) {
            if (!(s > 0)) {
                throw new ModelFormatException(source, STD + " holds " + s, "standard deviations must be positive");
            }
        }
        this.firstWeight = numbers.read("sjd2.time_embed.fc1.weight", width, sinusoidDim);
        this.firstBias = numbers.read(FIRST_BIAS, width);
        this.secondWeight = numbers.read("sjd2.time_embed.fc2.weight", hiddenSize, width);
        this.secondBias = numbers.read("sjd2.time_embed.fc2.bias", hiddenSize);
    }

    private static NavigableMap<Integer, Integer> levelsFromWindow(Json settings) throws ModelFormatException {
        NavigableMap<Integer, Integer> levels = new TreeMap<>();
        if (settings.has("levels_from_window")) {
            Json table = settings.get("levels_from_window");
            for (String window : table.keys()) {
                int value = table.get(window).int32();
                if (!WINDOW.matcher(window).matches() || value < 1 || value > MOST_LEVELS) {
                    throw table.unexpected("windows, each with 1 to " + MOST_LEVELS + " levels");
                }
                levels.put(Integer.valueOf(window), value);
            }
        }
        return levels;
    }

    /// The adapter of a model folder, if it has one.
    ///
    /// @throws ModelFormatException if one of the two files is there without the other, or they do not fit
    /// the model
    static Optional<NoiseAdapter> find(Path folder, int hiddenSize) throws IOException {
        Path settings = folder.resolve(SETTINGS_FILE);
        Path tensors = folder.resolve(TENSORS_FILE);
        if (!Files.exists(settings) && !Files.exists(tensors)) {
            return Optional.empty();
        }
        try (SafetensorsFile file = SafetensorsFile.open(tensors)) {
            int width = (int) file.tensor(FIRST_BIAS).elementCount();
            return Optional.of(new NoiseAdapter(
                    hiddenSize, width, Json.read(settings), (name, shape) -> read(file, name, shape), file.source()));
        }
    }

    /// An adapter for a made-up model: passes take what they would take, levels mean nothing.
    static NoiseAdapter random(int hiddenSize, RandomTensors random, String source) throws ModelFormatException {
        return new NoiseAdapter(
                hiddenSize,
                RANDOM_WIDTH,
                Json.parse("{}", source),
                (name, shape) -> {
                    try (Arena arena = Arena.ofShared()) {
                        boolean ones = name.equals(STD);
                        boolean matrix = shape.length > 1;
                        return (ones
                                        ? random.ones(name, arena, shape)
                                        : matrix ? random.matrix(name, arena, shape) : random.zeros(name, arena, shape))
                                .toFloats();
                    }
                },
                source);
    }

    private static float[] read(SafetensorsFile file, String name, long... shape) throws ModelFormatException {
        TensorEntry entry = file.tensor(name);
        if (!Arrays.equals(entry.shape(), shape)) {
            throw new ModelFormatException(
                    file.source(),
                    "tensor " + entry + " should be " + Arrays.toString(shape),
                    "the adapter belongs to another model");
        }
        if (entry.firstNonFinite() >= 0) {
            throw new ModelFormatException(
                    file.source(), "tensor " + entry + " holds a number that is not finite", "train the adapter again");
        }
        return entry.toFloats();
    }

    /// Levels to use in narrow windows when nothing else is asked for.
    public int defaultLevels() {
        return defaultLevels;
    }

    /// Levels to use in a window when nothing else is asked for: those of the widest window in `levels_from_window`
    /// that is not wider, or {@link #defaultLevels} where all are.
    ///
    /// A slot takes some window / (tokens per pass) passes to reach the front. With few levels it is clean for most
    /// of them, and in a wide window a wrong token far from the front misleads all that is drafted behind it; with
    /// many it stays noisy until the front is near (`docs/decoding.md`, "Levels and the window").
    public int defaultLevels(int window) {
        Map.Entry<Integer, Integer> entry = levelsFromWindow.floorEntry(window);
        return entry == null ? defaultLevels : entry.getValue();
    }

    /// Failed passes in a row behind which a window starts again, if the model's record says what is best for it.
    public OptionalInt restart() {
        return restart == NO_RESTART ? OptionalInt.empty() : OptionalInt.of(restart);
    }

    /// The inference grid of `levels` noise levels.
    public NoiseSchedule schedule(int levels) {
        return NoiseSchedule.karras(levels, lambdaMin, lambdaMax, rho);
    }

    /// The inference grid with other bounds than the model's own.
    public NoiseSchedule schedule(int levels, @Nullable Double min, @Nullable Double max) {
        return NoiseSchedule.karras(levels, min == null ? lambdaMin : min, max == null ? lambdaMax : max, rho);
    }

    float[] mean() {
        return mean.clone();
    }

    float[] std() {
        return std.clone();
    }

    /// `[levels + 1, hidden_size]`: embedding of each level; row 0 is zero, so that clean slots stay as they are.
    float[] levelTable(NoiseSchedule schedule) {
        float[] table = new float[(schedule.levels() + 1) * hiddenSize];
        for (int l = 1; l <= schedule.levels(); l++) {
            double t = timestepScale * Math.log(schedule.lambda(l)) + timestepShift;
            double[] row = embed(t);
            for (int d = 0; d < hiddenSize; d++) {
                table[l * hiddenSize + d] = (float) row[d];
            }
        }
        return table;
    }

    private double[] embed(double t) {
        double[] x = sinusoid(t, sinusoidDim);
        double[] hidden = new double[firstBias.length];
        for (int j = 0; j < hidden.length; j++) {
            double sum = firstBias[j];
            for (int i = 0; i < x.length; i++) {
                sum += firstWeight[j * x.length + i] * x[i];
            }
            hidden[j] = sum / (1 + Math.exp(-sum));
        }
        double[] out = new double[hiddenSize];
        for (int d = 0; d < hiddenSize; d++) {
            double sum = secondBias[d];
            for (int j = 0; j < hidden.length; j++) {
                sum += secondWeight[d * hidden.length + j] * hidden[j];
            }
            out[d] = sum;
        }
        return out;
    }

    /// `[cos(t f), sin(t f)]` with `f_i = 10000^(-i / half)`.
    static double[] sinusoid(double t, int dim) {
        int half = dim / 2;
        double[] x = new double[dim];
        for (int i = 0; i < half; i++) {
            double f = Math.pow(10000, -(double) i / half);
            x[i] = Math.cos(t * f);
            x[half + i] = Math.sin(t * f);
        }
        return x;
    }
}
