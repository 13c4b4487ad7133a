package io.sjd2;

import io.sjd2.decode.Decoder;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerForward;
import io.sjd2.tensor.DType;
import java.util.Locale;
import java.util.OptionalLong;

/// What generating takes of a device's memory, for choosing how many pictures run side by side and for saying what
/// would fit
/// where one does not.
///
/// @param sequences  of each picture: 1, or 2 with guidance
/// @param window     rows of a sequence
/// @param length     positions of a picture
/// @param capacity   entries of a sequence's cache
/// @param longest    entries of the longest prompt
/// @param noise      whether fresh positions start as noise
record MemoryNeeds(Transformer model, int sequences, int window, int length, int capacity, int longest, boolean noise) {
    /// Memory is handed out in pieces of this size; small tensors share one.
    private static final long PIECE = 2L << 20;

    /// Bytes for so many pictures side by side.
    long bytes(int images) {
        return bytes(images, window, model.dtype());
    }

    private long bytes(int images, int rows, DType dtype) {
        long batch = (long) images * sequences;
        return TransformerForward.bytes(model, dtype, batch, rows, capacity, longest)
                + Decoder.bytes(
                        images,
                        batch,
                        rows,
                        length,
                        model.description().codes(),
                        model.config().hiddenSize(),
                        noise);
    }

    /// Whether so much can be had, whatever an allocator rounds up.
    private boolean fits(long bytes, long free) {
        long tensors = 2L * model.config().layers() + 16;
        return bytes + Math.min(bytes / 2, tensors * PIECE) <= free;
    }

    /// How many of `most` pictures fit side by side; 1 if none does, as that is what trying will tell.
    ///
    /// @param spare  bytes in use that would be given back
    int picturesThatFit(int most, long spare) {
        OptionalLong free = model.backend().freeMemory();
        int images = most;
        while (free.isPresent() && images > 1 && !fits(bytes(images), free.getAsLong() + spare)) {
            images--;
        }
        return images;
    }

    /// The failure to have memory for a picture, with what was needed, what is free, and what would fit.
    KernelException explain(KernelException failure, int images) {
        Backend backend = model.backend();
        OptionalLong free = backend.freeMemory();
        String needs = images + (images == 1 ? " picture" : " pictures") + " with window " + window + " in "
                + model.dtype().label() + " take " + mib(bytes(images)) + " beside the weights";
        return failure.explained(
                free.isEmpty()
                        ? needs
                        : needs + ", " + mib(free.getAsLong()) + " of " + backend.name() + " are free; "
                                + whatFits(images, free.getAsLong()));
    }

    private String whatFits(int images, long free) {
        for (int rows = window - 1; rows >= 1; rows--) {
            if (fits(bytes(images, rows, model.dtype()), free)) {
                return "window " + rows + " would fit";
            }
        }
        if (images > 1 && fits(bytes(1, 1, model.dtype()), free)) {
            return "fewer pictures at a time would fit";
        }
        // The weights give back half of what they take.
        if (model.dtype() == DType.F32 && fits(bytes(1, window, DType.BF16), free + model.weightBytes() / 2)) {
            return "bf16 would fit: --dtype bf16";
        }
        return "no window would fit: close what else uses the device, or run with --backend cpu";
    }

    private static String mib(long bytes) {
        return String.format(Locale.ROOT, "%.1f MiB", bytes * 0x1p-20);
    }
}
