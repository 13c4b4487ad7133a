package io.sjd2.kernel;

import io.sjd2.kernel.Bench.Slice;
import io.sjd2.tensor.DType;
import io.sjd2.testing.Precision;
import io.sjd2.testing.Randoms;
import io.sjd2.testing.Tolerance;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// One operation at one shape, as a problem of independent rows in sequences of different lengths: how to compute them
/// together, in any grouping, on a backend, and what one row is by an obvious loop.
abstract class RowCase {
    final String operation;
    final DType dtype;
    final String shape;
    final int[] rows;
    private final Map<List<Object>, double[]> known = new HashMap<>();

    /// @param dtype  T, the dtype of weights
    /// @param shape  for messages
    /// @param rows   rows of each sequence; some may be 0
    RowCase(String operation, DType dtype, String shape, int... rows) {
        this.operation = operation;
        this.dtype = dtype;
        this.shape = shape;
        this.rows = rows;
    }

    /// Computes the live rows of the bench; answers their bytes in order of slices.
    abstract List<byte[]> run(Bench bench);

    /// The row as an obvious loop computes it in `p`, not rounded to the output's dtype.
    abstract double[] expected(Precision p, int sequence, int row);

    /// {@link #expected}, computed once for all backends.
    final synchronized double[] known(Precision p, int sequence, int row) {
        return known.computeIfAbsent(List.of(p, sequence, row), key -> expected(p, sequence, row));
    }

    /// The dtype of what {@link #run} answers.
    abstract DType outputType();

    abstract Tolerance.Scale scale();

    /// Whether the operation takes a null state.
    boolean statelessAllowed() {
        return false;
    }

    /// Every sequence whole, in one batch.
    List<Slice> together() {
        List<Slice> slices = new ArrayList<>();
        for (int s = 0; s < rows.length; s++) {
            slices.add(new Slice(s, 0, rows[s]));
        }
        return slices;
    }

    /// Every sequence in slices of at most `count` rows, each a sequence of its own in the batch, last ones first.
    List<Slice> split(int count) {
        List<Slice> slices = new ArrayList<>();
        for (int s = 0; s < rows.length; s++) {
            for (int first = 0; first < rows[s]; first += count) {
                slices.addFirst(new Slice(s, first, Math.min(count, rows[s] - first)));
            }
        }
        return slices;
    }

    /// The longest sequence, and so the smallest window that holds every sequence whole.
    int longest() {
        int longest = 1;
        for (int r : rows) {
            longest = Math.max(longest, r);
        }
        return longest;
    }

    @Override
    public String toString() {
        return operation + " " + dtype.label() + " " + shape + " rows " + Arrays.toString(rows) + " (seed "
                + Randoms.seed() + ")";
    }
}
