package io.sjd2;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.TensorEntry;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;

/// What a model is asked for instead of a prompt.
public sealed interface Condition {
    /// Features of a caption, made by the text encoder that the model was trained with.
    ///
    /// @param features  `[rows, width]`, padded on the left or not at all. Not copied: do not write to it
    /// @param mask      `[rows]`: false where a row is padding
    record Caption(float[] features, boolean[] mask) implements Condition {
        private static final String FEATURES = "caption";
        private static final String MASK = "mask";

        /// Reads `caption` `[rows, width]` or `[1, rows, width]` and, unless no row is padding, `mask` `[rows]` or
        /// `[1, rows]`, of a safetensors file.
        ///
        /// @throws ModelFormatException if the file is missing or holds something else
        /// @throws IOException if reading fails
        public static Caption read(Path file) throws IOException {
            try (SafetensorsFile tensors = SafetensorsFile.open(file, false)) {
                TensorEntry features = tensors.tensor(FEATURES);
                long[] shape = features.shape();
                boolean one = shape.length == 3 && shape[0] == 1;
                if (!(one || shape.length == 2) || features.elementCount() < 1) {
                    throw misfit(features, file, "[rows, width], of one caption");
                }
                int rows = (int) shape[one ? 1 : 0];
                boolean[] live = new boolean[rows];
                Arrays.fill(live, true);
                Optional<TensorEntry> mask = tensors.find(MASK);
                if (mask.isPresent()) {
                    int[] values = ints(mask.get(), file);
                    if (values.length != rows) {
                        throw misfit(mask.get(), file, "[" + rows + "], a number for each row of the caption");
                    }
                    for (int i = 0; i < rows; i++) {
                        live[i] = values[i] != 0;
                    }
                }
                return new Caption(floats(features, file), live);
            }
        }

        private static float[] floats(TensorEntry entry, Path file) throws ModelFormatException {
            try {
                return entry.toFloats();
            } catch (UnsupportedOperationException e) {
                throw misfit(entry, file, "floating-point numbers");
            }
        }

        private static int[] ints(TensorEntry entry, Path file) throws ModelFormatException {
            try {
                return entry.toInts();
            } catch (UnsupportedOperationException | ArithmeticException e) {
                throw misfit(entry, file, "integers, 0 where a row is padding");
            }
        }

        private static ModelFormatException misfit(TensorEntry entry, Path file, String expected) {
            return new ModelFormatException(
                    file.toString(), "tensor " + entry + " should be " + expected, "write the features of one caption");
        }
    }

    /// A class of the training data.
    ///
    /// @param label  its number
    record Label(int label) implements Condition {}
}
