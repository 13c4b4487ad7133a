package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DraftEmbeddings;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.model.ForwardPass;
import io.sjd2.model.NoiseSchedule;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// A forward pass over a {@link TableModel}: reads symbols back out of the window's input and keeps a cache of them.
///
/// Embeddings are one-hot with one more dimension that a level embedding raises, so that what is fed back is what the
/// decoder put in, at the cache entry that the state block names: a wrong rollback or a wrong input shows in the
/// tokens.
final class TableForward implements ForwardPass {
    private static final int FORCED_SYMBOLS = 2;

    private final Backend backend;
    private final Arena arena;
    private final TableModel model;
    private final int[][] cache;
    private final int promptLength;
    private final int conditional;
    private final boolean fineTuned;
    private final float[] row;
    private final float[] logitsRow;
    private float[] input = {};
    private float[] predicted = {};
    private int passes;
    private int poisonedPass = -1;

    /// @param sequences    cache slots
    /// @param conditional  sequences below this one have their prompt
    /// @param length       positions per picture
    TableForward(Backend backend, Arena arena, TableModel model, int sequences, int conditional, int length) {
        this(backend, arena, model, sequences, conditional, length, 3, true);
    }

    TableForward(
            Backend backend,
            Arena arena,
            TableModel model,
            int sequences,
            int conditional,
            int length,
            int promptLength,
            boolean fineTuned) {
        this.backend = backend;
        this.arena = arena;
        this.model = model;
        this.promptLength = promptLength;
        this.conditional = conditional;
        this.fineTuned = fineTuned;
        this.cache = new int[sequences][length];
        this.row = new float[hiddenSize()];
        this.logitsRow = new float[model.codes()];
    }

    /// Makes pass `pass` (0 is the first) yield NaN.
    TableForward poison(int pass) {
        poisonedPass = pass;
        return this;
    }

    int passes() {
        return passes;
    }

    @Override
    public Backend backend() {
        return backend;
    }

    @Override
    public int codes() {
        return model.codes();
    }

    @Override
    public int hiddenSize() {
        return model.codes() + FORCED_SYMBOLS + 1;
    }

    @Override
    public boolean fineTuned() {
        return fineTuned;
    }

    @Override
    public int promptLength(int sequence) {
        return promptLength;
    }

    @Override
    public DraftEmbeddings embeddings(int levels) {
        int hidden = hiddenSize();
        int symbols = hidden - 1;
        float[] oneHot = new float[symbols * hidden];
        for (int s = 0; s < symbols; s++) {
            oneHot[s * hidden + s] = 1;
        }
        Tensor table = upload(oneHot, symbols, hidden);
        if (levels == 0) {
            return new DraftEmbeddings(table, null, null);
        }
        if (!fineTuned) {
            throw new IllegalArgumentException("levels is " + levels + ", but the model is not fine-tuned for noise");
        }
        NoiseSchedule schedule = NoiseSchedule.karras(levels, 0.5, 4, 7);
        float[] lambda = new float[levels + 1];
        float[] alpha = new float[levels + 1];
        float[] std = new float[hidden];
        Arrays.fill(std, 1);
        float[] levelEmbed = new float[(levels + 1) * hidden];
        for (int level = 0; level <= levels; level++) {
            lambda[level] = (float) schedule.lambda(level);
            alpha[level] = (float) schedule.alpha(level);
            levelEmbed[level * hidden + symbols] = 100 * level;
        }
        return new DraftEmbeddings(
                table,
                null,
                new DraftEmbeddings.Noise(
                        backend.allocate(arena, DType.F32, hidden),
                        upload(std, hidden),
                        upload(levelEmbed, levels + 1, hidden),
                        upload(lambda, levels + 1),
                        upload(alpha, levels + 1)));
    }

    private Tensor upload(float[] values, long... shape) {
        Tensor tensor = backend.allocate(arena, DType.F32, shape);
        backend.upload(tensor, MemorySegment.ofArray(values));
        return tensor;
    }

    @Override
    public void run(Tensor windowInput, Tensor logits, WindowState window, StateBlock state) {
        int maxWindow = state.maxWindow();
        input = input.length == windowInput.elements() ? input : new float[(int) windowInput.elements()];
        predicted = predicted.length == logits.elements() ? predicted : new float[(int) logits.elements()];
        backend.download(MemorySegment.ofArray(input), windowInput);
        for (int sequence = 0; sequence < state.batch(); sequence++) {
            int image = state.get(sequence, SequenceField.IMAGE);
            int rows = state.get(sequence, SequenceField.ROWS);
            int kept = state.get(sequence, SequenceField.KV_LEN) - promptLength;
            boolean first = state.get(image, ImageField.COMMITTED) == 0;
            for (int w = 0; w < rows; w++) {
                // Row 0 of the first pass is the prompt's last token, which is no symbol of the picture.
                if (w > 0 || !first) {
                    cache[sequence][kept + w - 1] = symbol(image * maxWindow + w);
                }
                model.logits(logitsRow, cache[sequence], kept + w, sequence < conditional ? 0 : 1);
                writeRow(sequence * maxWindow + w);
            }
        }
        backend.upload(logits, MemorySegment.ofArray(predicted));
        passes++;
    }

    private void writeRow(int index) {
        int codes = logitsRow.length;
        for (int c = 0; c < codes; c++) {
            predicted[index * codes + c] = passes == poisonedPass ? Float.NaN : logitsRow[c];
        }
    }

    private int symbol(int index) {
        int hidden = row.length;
        System.arraycopy(input, index * hidden, row, 0, hidden);
        if (row[hidden - 1] == 0) {
            return hot();
        }
        // Levels are 100 apart and |z| stays far below 50. Signs of the mixture: an arbitrary function of all that went
        // in.
        int level = Math.round(row[hidden - 1] / 100);
        int signs = 0;
        for (int d = 0; d < hidden - 1; d++) {
            signs = signs * 2 + (row[d] > 0.2f ? 1 : 0);
        }
        return TableModel.NOISY + Math.floorMod(signs * 3 + level, TableModel.NOISY_SYMBOLS);
    }

    private int hot() {
        int found = -1;
        for (int d = 0; d < row.length - 1; d++) {
            if (row[d] == 1 && found < 0) {
                found = d;
            } else if (row[d] != 0) {
                throw new AssertionError("a clean input is not one-hot: dimension " + d + " is " + row[d]);
            }
        }
        return found;
    }
}
