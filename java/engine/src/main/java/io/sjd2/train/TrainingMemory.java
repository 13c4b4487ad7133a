package io.sjd2.train;

import com.sun.management.OperatingSystemMXBean;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/// What a training run allocates, known before it does.
///
/// A run that does not fit would be killed by the system in the middle of a night, or make the machine crawl; asking
/// first costs nothing.
///
/// @param weights      bytes of weights, gradients, the optimiser's moments, averages, and weights packed for products
/// @param activations  bytes of what the forward pass keeps for the backward pass, for one micro-batch
public record TrainingMemory(long weights, long activations) {
    private static final Path MEMINFO = Path.of("/proc/meminfo");
    private static final int F32 = DType.F32.bytes();
    private static final int PACKED_TWICE = 2;

    /// Integers and floats of a row of {@link SequenceBatch}.
    private static final int BATCH_BYTES = 15 * F32;

    /// What a network of this shape needs; `microBatch` and the dtype of products count, and whether weights are
    /// averaged.
    public static TrainingMemory of(NetworkShape shape, TrainOptions options) {
        return of(shape, options, shape.gridHeight() * shape.gridWidth());
    }

    /// As the other, for networks that do not say how large pictures are.
    ///
    /// @param cells of a picture
    public static TrainingMemory of(NetworkShape shape, TrainOptions options, int cells) {
        long parameters = 0;
        long multiplied = 0;
        for (NetworkShape.Entry entry : shape.entries()) {
            parameters += entry.elements();
            multiplied += entry.kind() == NetworkShape.Kind.MATRIX ? entry.elements() : 0;
        }
        // Weights, gradients and two moments, whichever optimiser.
        long arrays = options.emaDecay() > 0 ? 5 : 4;
        int narrow = options.dtype().bytes();
        long weights = arrays * F32 * parameters + PACKED_TWICE * narrow * multiplied;
        long rows = (long) options.microBatch() * shape.maxPositions();
        long losses = (long) options.microBatch() * cells;
        long activations = rows * (shape.layers() * layerRow(shape, narrow) + sharedRow(shape, narrow))
                + losses * (narrow * shape.hiddenSize() + (narrow + F32) * (long) shape.headRows() + 2 * F32);
        return new TrainingMemory(
                weights + tables(shape, narrow), activations + ofFamilies(shape, rows, losses, narrow));
    }

    /// The head packed, rotary angles, and the embeddings of codes that statistics are taken of.
    private static long tables(NetworkShape s, int narrow) {
        long head = (long) s.headRows() * s.hiddenSize();
        long gathered = s.gridHeight() > 0 ? 0 : head * F32;
        long packed = s.codes() == null ? PACKED_TWICE * narrow * head : 0;
        return packed + gathered + (s.tiedHead() ? 2 * head * F32 : 0) + (long) s.maxPositions() * s.headDim() * F32;
    }

    /// What published families keep besides: branches in front of their norms, codes that are no tokens, conditions.
    private static long ofFamilies(NetworkShape s, long rows, long losses, int narrow) {
        long d = s.hiddenSize();
        long branches = s.normsBranches() ? rows * F32 * (2 * d * s.layers() + d + 1) : 0;
        NetworkShape.Codes codes = s.codes();
        long apart =
                codes == null ? 0 : CodeNetwork.bytes(s, codes, rows, losses) + losses * (F32 - narrow) * s.headRows();
        NetworkShape.Plane plane = s.plane();
        long conditions = plane == null ? 0 : rows / s.maxPositions() * plane.conditionRows() * d * F32;
        return branches + apart + conditions;
    }

    /// Bytes that one block keeps of one token.
    private static long layerRow(NetworkShape s, int narrow) {
        long d = s.hiddenSize();
        long kept = 2 * d + s.qkvColumns() + s.attentionColumns() + 3L * s.intermediateSize();
        long normed = s.normsHeads() ? narrow * s.qkvColumns() + 2L * F32 * (s.heads() + s.kvHeads()) : 0;
        return narrow * kept + normed + F32 * (2 * d + s.heads() + 2);
    }

    /// Bytes of one token that all blocks share: the stream's end, gradients on their way, noise.
    private static long sharedRow(NetworkShape s, int narrow) {
        long d = s.hiddenSize();
        long gradients = F32 * d + narrow * (d + s.qkvColumns() + s.attentionColumns() + s.intermediateSize()) + 2 * d;
        long noise = s.levelInputs() > 0 ? F32 * (2 * d + s.levelInputs() + 3L * s.levelHidden()) : 0;
        return F32 * d + gradients + noise + BATCH_BYTES;
    }

    /// With a file that is made in memory before it is written.
    public TrainingMemory withFile(long bytes) {
        return new TrainingMemory(weights + bytes, activations);
    }

    public long bytes() {
        return weights + activations;
    }

    /// Memory that a process may still take, without driving out what others use; 0 if unknown.
    public static long available() {
        long machine = 0;
        if (ManagementFactory.getOperatingSystemMXBean() instanceof OperatingSystemMXBean system) {
            // Of the container, if the process lives in one.
            machine = system.getTotalMemorySize();
        }
        try {
            for (String line : Files.readAllLines(MEMINFO)) {
                if (line.startsWith("MemAvailable:")) {
                    long kilobytes = Long.parseLong(line.replaceAll("\\D", ""));
                    return machine == 0 ? kilobytes << 10 : Math.min(machine, kilobytes << 10);
                }
            }
        } catch (IOException | NumberFormatException e) {
            return machine;
        }
        return machine;
    }

    /// Refuses a run that does not fit.
    ///
    /// @param available  bytes; 0 if unknown, which lets everything pass
    /// @throws IllegalStateException saying what is needed, what is there, and what would help
    public void require(long available) {
        if (available > 0 && bytes() > available) {
            throw new IllegalStateException("training needs " + this + ", and " + gigabytes(available)
                    + " are available: lower --micro-batch, which holds for the activations, train a smaller model, or"
                    + " use a machine with more memory");
        }
    }

    /// `1.23 GB of memory (weights and optimiser 1.00 GB, activations 0.23 GB)`.
    @Override
    public String toString() {
        return gigabytes(bytes()) + " of memory (weights and optimiser " + gigabytes(weights) + ", activations "
                + gigabytes(activations) + ")";
    }

    private static String gigabytes(long bytes) {
        return String.format(Locale.ROOT, "%.2f GB", bytes / 1e9);
    }
}
