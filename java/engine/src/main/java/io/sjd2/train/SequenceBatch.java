package io.sjd2.train;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/// Sequences of different lengths, one after another: what one forward and backward pass sees.
///
/// Arrays are sized once for the largest batch and refilled; nothing is padded.
final class SequenceBatch {
    private final int maxSequences;
    private final int maxRows;
    private int sequences;
    private int rows;
    private int losses;
    private int noisy;

    private final Tensor ids;
    private final Tensor positions;
    private final Tensor offsets;
    private final Tensor targetRow;
    private final Tensor targetColumn;
    private final Tensor lossRows;
    private final Tensor targets;
    private final Tensor noisyRows;
    private final Tensor alpha;
    private final Tensor sigma;
    private final Tensor timestep;
    private final Tensor drawHigh;
    private final Tensor drawLow;
    private final Tensor embedScale;
    private final Tensor conditionIndex;
    private final Tensor conditions;
    private int firstPosition;
    private int conditionRows;
    private final Tensor codeRows;
    private final Tensor codes;
    private int codeCount;

    SequenceBatch(Arena arena, int maxSequences, int maxRows) {
        this(arena, maxSequences, maxRows, 0, 0);
    }

    /// @param maxConditions most input rows that are no token's, in all sequences together
    /// @param hiddenSize    their width
    SequenceBatch(Arena arena, int maxSequences, int maxRows, int maxConditions, int hiddenSize) {
        this.codeRows = Parameters.host(arena, DType.I32, maxRows);
        this.codes = Parameters.host(arena, DType.I32, maxRows);
        this.conditionIndex = Parameters.host(arena, DType.I32, maxRows);
        this.conditions = Parameters.host(arena, DType.F32, maxConditions, hiddenSize);
        this.maxSequences = maxSequences;
        this.maxRows = maxRows;
        this.ids = Parameters.host(arena, DType.I32, maxRows);
        this.positions = Parameters.host(arena, DType.I32, maxRows);
        this.offsets = Parameters.host(arena, DType.I32, maxSequences + 1);
        this.targetRow = Parameters.host(arena, DType.I32, maxRows);
        this.targetColumn = Parameters.host(arena, DType.I32, maxRows);
        this.lossRows = Parameters.host(arena, DType.I32, maxRows);
        this.targets = Parameters.host(arena, DType.I32, maxRows);
        this.noisyRows = Parameters.host(arena, DType.I32, maxRows);
        this.alpha = Parameters.host(arena, DType.F32, maxRows);
        this.sigma = Parameters.host(arena, DType.F32, maxRows);
        this.timestep = Parameters.host(arena, DType.F64, maxRows);
        this.drawHigh = Parameters.host(arena, DType.I32, maxRows);
        this.drawLow = Parameters.host(arena, DType.I32, maxRows);
        this.embedScale = Parameters.host(arena, DType.F32, maxRows);
    }

    void clear() {
        sequences = 0;
        rows = 0;
        losses = 0;
        noisy = 0;
        conditionRows = 0;
        codeCount = 0;
        offsets.setInt(0, 0);
    }

    /// Starts the next sequence; its rows follow.
    void beginSequence() {
        beginSequence(0);
    }

    /// Starts the next sequence; its rows follow.
    ///
    /// @param position rotary position of its first row
    void beginSequence(int position) {
        firstPosition = position;
        if (sequences == maxSequences) {
            throw new IllegalStateException("the batch already holds " + maxSequences + " sequences");
        }
        sequences++;
        offsets.setInt(sequences, rows);
    }

    /// Appends an input token to the sequence that was begun last.
    ///
    /// @return its row
    int addInput(int id) {
        if (rows == maxRows) {
            throw new IllegalStateException("the batch already holds " + maxRows + " rows");
        }
        ids.setInt(rows, id);
        positions.setInt(rows, firstPosition + rows - offsets.getInt(sequences - 1));
        conditionIndex.setInt(rows, -1);
        targetRow.setInt(rows, -1);
        targetColumn.setInt(rows, -1);
        embedScale.setFloat(rows, 1);
        offsets.setInt(sequences, rows + 1);
        return rows++;
    }

    /// Appends an input that is no token's to the sequence that was begun last. Nothing of it is trained.
    ///
    /// @param values holds the row's embedding from `from` on
    void addCondition(float[] values, int from) {
        int width = Math.toIntExact(conditions.dim(1));
        int row = addInput(-1);
        MemorySegment.copy(
                values,
                from,
                conditions.data(),
                ValueLayout.JAVA_FLOAT,
                (long) conditionRows * width * Float.BYTES,
                width);
        conditionIndex.setInt(row, conditionRows++);
    }

    /// Appends an input code that is no token to the sequence that was begun last.
    void addCode(int code) {
        codeRows.setInt(codeCount, addInput(-1));
        codes.setInt(codeCount++, code);
    }

    /// Asks for the loss of predicting `target` behind the last row.
    void addTarget(int target) {
        lossRows.setInt(losses, rows - 1);
        targets.setInt(losses, target);
        losses++;
    }

    /// Tells the last row where on the grid the token it predicts stands.
    void setTargetPosition(int row, int column) {
        targetRow.setInt(rows - 1, row);
        targetColumn.setInt(rows - 1, column);
    }

    /// Makes a row noisy. Rows must come in ascending order, once each.
    ///
    /// @param high     see {@link io.sjd2.kernel.TrainingKernels#philoxNormal}, as is `low`
    void addNoise(int row, float rowAlpha, float rowSigma, double rowTimestep, int high, int low) {
        noisyRows.setInt(noisy, row);
        alpha.setFloat(noisy, rowAlpha);
        sigma.setFloat(noisy, rowSigma);
        timestep.data().setAtIndex(ValueLayout.JAVA_DOUBLE, noisy, rowTimestep);
        drawHigh.setInt(noisy, high);
        drawLow.setInt(noisy, low);
        embedScale.setFloat(row, rowAlpha);
        noisy++;
    }

    int sequences() {
        return sequences;
    }

    int rows() {
        return rows;
    }

    int losses() {
        return losses;
    }

    int noisy() {
        return noisy;
    }

    private static Tensor first(Tensor t, long n) {
        return Tensor.of(t.data(), t.dtype(), n);
    }

    Tensor ids() {
        return first(ids, rows);
    }

    Tensor positions() {
        return first(positions, rows);
    }

    Tensor offsets() {
        return first(offsets, sequences + 1);
    }

    Tensor targetRow() {
        return first(targetRow, rows);
    }

    Tensor targetColumn() {
        return first(targetColumn, rows);
    }

    Tensor embedScale() {
        return first(embedScale, rows);
    }

    /// Rows of the batch that are no token's.
    int conditionRows() {
        return conditionRows;
    }

    /// `[rows]`: row of {@link #conditions}, -1 for tokens.
    Tensor conditionIndex() {
        return first(conditionIndex, rows);
    }

    /// `[conditions, hidden_size]`.
    Tensor conditions() {
        return conditions;
    }

    /// How many inputs are codes that are no tokens.
    int codeCount() {
        return codeCount;
    }

    /// `[codes]`: their rows, ascending.
    Tensor codeRows() {
        return first(codeRows, codeCount);
    }

    /// `[codes]`: what they are.
    Tensor codes() {
        return first(codes, codeCount);
    }

    Tensor lossRows() {
        return first(lossRows, losses);
    }

    Tensor targets() {
        return first(targets, losses);
    }

    Tensor noisyRows() {
        return first(noisyRows, noisy);
    }

    Tensor alpha() {
        return first(alpha, noisy);
    }

    Tensor sigma() {
        return first(sigma, noisy);
    }

    Tensor timestep() {
        return first(timestep, noisy);
    }

    Tensor drawHigh() {
        return first(drawHigh, noisy);
    }

    Tensor drawLow() {
        return first(drawLow, noisy);
    }

    @Override
    public String toString() {
        MemorySegment o = offsets.data();
        return "batch of " + sequences + " sequences "
                + Arrays.toString(o.asSlice(0, 4L * (sequences + 1)).toArray(ValueLayout.JAVA_INT));
    }
}
