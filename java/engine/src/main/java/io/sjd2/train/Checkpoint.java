package io.sjd2.train;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Path;

/// A run on disk: weights, moments and averages as flat arrays, and the number of steps done. Written atomically.
///
/// Random numbers need no state: they are functions of the seed and the step.
final class Checkpoint {
    private static final String FORMAT = "sjd2-training-1";

    private Checkpoint() {}

    static void write(Path file, Parameters params, Optimizer optimizer, TrainOptions options, long step)
            throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter()
                .metadata("format", FORMAT)
                .metadata("layout", layout(params))
                .metadata("objective", options.objective().name())
                .metadata("optimizer", options.optimizer().name())
                .metadata("seed", Long.toString(options.seed()))
                .metadata("step", Long.toString(step));
        add(writer, "values", params.values());
        add(writer, "first", optimizer.first());
        add(writer, "second", optimizer.second());
        if (optimizer.average().elements() > 0) {
            add(writer, "average", optimizer.average());
        }
        writer.write(file);
    }

    private static void add(SafetensorsWriter writer, String name, Tensor t) {
        writer.add(name, "F32", new long[] {t.elements()}, t.data());
    }

    /// Restores a run.
    ///
    /// @return steps done
    /// @throws ModelFormatException if the checkpoint belongs to another network, optimiser or seed
    static long read(Path file, Parameters params, Optimizer optimizer, TrainOptions options) throws IOException {
        try (SafetensorsFile f = SafetensorsFile.open(file)) {
            require(f, "format", FORMAT);
            require(f, "layout", layout(params));
            require(f, "objective", options.objective().name());
            require(f, "optimizer", options.optimizer().name());
            require(f, "seed", Long.toString(options.seed()));
            copy(f, "values", params.values());
            copy(f, "first", optimizer.first());
            copy(f, "second", optimizer.second());
            if (optimizer.average().elements() > 0) {
                copy(f, f.has("average") ? "average" : "values", optimizer.average());
            }
            String step = f.metadata().getOrDefault("step", "");
            try {
                return Long.parseLong(step);
            } catch (NumberFormatException e) {
                throw new ModelFormatException(f.source(), "states step \"" + step + "\"", "start the run anew", e);
            }
        }
    }

    private static void copy(SafetensorsFile f, String name, Tensor into) throws IOException {
        TensorEntry entry = f.tensor(name);
        if (!entry.dtype().equals("F32") || entry.elementCount() != into.elements()) {
            throw new ModelFormatException(
                    f.source(), "tensor " + entry + " should have " + into.elements() + " f32", "start the run anew");
        }
        into.data().copyFrom(entry.data());
    }

    private static void require(SafetensorsFile f, String key, String expected) throws ModelFormatException {
        String found = f.metadata().get(key);
        if (!expected.equals(found)) {
            throw new ModelFormatException(
                    f.source(),
                    "is of " + key + " " + found + ", this run has " + expected,
                    "continue with the options it was started with, or remove it");
        }
    }

    private static String layout(Parameters params) {
        return params.shape() + " of " + params.size();
    }
}
