package io.sjd2.model;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.RandomTensors;
import io.sjd2.io.TensorEntry;
import io.sjd2.model.WeightNames.Affine;
import io.sjd2.model.WeightNames.ImagePath;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Random weights at the shapes that a description states, under the first of its names. Each is made when it is read
/// and goes with the arena it was made in, so that loading takes the memory of the packed weights and one tensor more.
final class SyntheticWeights implements TensorSource {
    /// Width of Janus' embedding of codes, and the layers behind the first one of its aligner.
    private static final int CODE_WIDTH = 8;

    private static final int ALIGNER_LAYERS = 1;

    private enum Kind {
        MATRIX,
        TABLE,
        ONES,
        ZEROS
    }

    private record Tensor(Kind kind, long[] shape) {}

    private final String source;
    private final RandomTensors random;
    private final int hiddenSize;
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();

    /// @param source  for messages
    SyntheticWeights(ModelDescription description, String source, long seed) {
        this.source = source;
        this.random = new RandomTensors(seed);
        TransformerConfig c = description.transformer();
        WeightNames n = description.names().getFirst();
        int d = c.hiddenSize();
        this.hiddenSize = d;
        add(n.embedding(), Kind.TABLE, c.vocabSize(), d);
        for (int layer = 0; layer < c.layers(); layer++) {
            addLayer(c, n, layer);
        }
        add(n.finalNorm(), Kind.ONES, d);
        ImagePath image = n.image();
        // Beside codes of their own, the output head still is that of the vocabulary.
        add(n.head(), Kind.MATRIX, image == null ? description.headRows() : c.vocabSize(), d);
        if (image != null) {
            addImage(image, description.codes(), d);
        }
        for (int i = 0; c.targetGrid() != null && i < 2; i++) {
            int extent = i == 0 ? c.targetGrid().height() : c.targetGrid().width();
            add(n.targetGrid().get(i), Kind.TABLE, extent, d);
        }
        addCondition(description.condition(), d);
    }

    private void addLayer(TransformerConfig c, WeightNames n, int layer) {
        int d = c.hiddenSize();
        int q = c.heads() * c.headDim();
        int kv = c.kvHeads() * c.headDim();
        add(WeightNames.at(n.inputNorm(), layer), Kind.ONES, d);
        List<Integer> rows = n.qkv().size() == 1 ? List.of(c.qkvSize()) : List.of(q, kv, kv);
        for (int p = 0; p < rows.size(); p++) {
            affine(
                    WeightNames.at(n.qkv().get(p), layer),
                    rows.get(p),
                    d,
                    c.biases().attention());
        }
        for (int p = 0; p < n.qkNorm().size(); p++) {
            int heads = p < 2 ? c.heads() : c.kvHeads();
            add(WeightNames.at(n.qkNorm().get(p), layer), p % 2 == 0 ? Kind.ONES : Kind.ZEROS, heads, c.headDim());
        }
        affine(WeightNames.at(n.attentionOut(), layer), d, q, c.biases().attention());
        add(WeightNames.at(n.postNorm(), layer), Kind.ONES, d);
        for (String name : n.gateUp()) {
            affine(
                    WeightNames.at(name, layer),
                    c.intermediateSize(),
                    d,
                    c.biases().mlp());
        }
        affine(
                WeightNames.at(n.down(), layer),
                d,
                c.intermediateSize(),
                c.biases().mlp());
    }

    private void addImage(ImagePath image, int codes, int d) {
        add(image.embedding(), Kind.TABLE, codes, CODE_WIDTH);
        affine(image.alignFirst().weight(), d, CODE_WIDTH, true);
        for (int i = 0; i < ALIGNER_LAYERS; i++) {
            int number = image.nextStart() + i * image.nextStep();
            affine(new Affine(WeightNames.at(image.alignNext(), number)).weight(), d, d, true);
        }
        affine(image.headHidden().weight(), d, d, true);
        affine(image.head().weight(), codes, d, true);
    }

    private void addCondition(@Nullable ConditionShape condition, int d) {
        if (condition == null) {
            return;
        }
        if (condition.kind() == ConditionShape.Kind.CLASS) {
            add(ConditionShape.CLASS_TABLE, Kind.TABLE, condition.classes() + 1L, d);
            return;
        }
        add(ConditionShape.CAPTION_FIRST, Kind.MATRIX, d, condition.captionWidth());
        add(ConditionShape.CAPTION_SECOND, Kind.MATRIX, d, d);
        add(ConditionShape.NO_CAPTION, Kind.TABLE, condition.rows(), condition.captionWidth());
    }

    private void affine(String weight, long out, long in, boolean biased) {
        add(weight, Kind.MATRIX, out, in);
        if (biased) {
            add(weight.replaceFirst("\\.weight$", ".bias"), Kind.ZEROS, out);
        }
    }

    private void add(String name, Kind kind, long... shape) {
        tensors.putIfAbsent(name, new Tensor(kind, shape));
    }

    /// What fine-tuning would have added, so that every decoder can be run.
    NoiseAdapter noiseAdapter() throws ModelFormatException {
        return NoiseAdapter.random(hiddenSize, random, source);
    }

    /// Names of all tensors.
    List<String> names() {
        return List.copyOf(tensors.keySet());
    }

    @Override
    public String source() {
        return source;
    }

    @Override
    public boolean has(String name) {
        return tensors.containsKey(name);
    }

    private Tensor tensor(String name) throws ModelFormatException {
        Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new ModelFormatException(
                    source, "has no tensor \"" + name + "\"", "a made-up model has what its preset states");
        }
        return tensor;
    }

    @Override
    public Info info(String name) throws ModelFormatException {
        long[] shape = tensor(name).shape;
        return new Info(name, "BF16", shape, Short.BYTES * Arrays.stream(shape).reduce(1, (a, b) -> a * b));
    }

    @Override
    public TensorEntry read(String name, Arena arena) throws IOException {
        Tensor tensor = tensor(name);
        return switch (tensor.kind) {
            case MATRIX -> random.matrix(name, arena, tensor.shape);
            case TABLE -> random.table(name, arena, tensor.shape);
            case ONES -> random.ones(name, arena, tensor.shape);
            case ZEROS -> random.zeros(name, arena, tensor.shape);
        };
    }

    @Override
    public void release(TensorEntry entry) {
        // Its arena frees it.
    }

    @Override
    public void close() {
        // Nothing is open.
    }
}
