package io.sjd2.debug;

import io.sjd2.io.PictureReader;
import io.sjd2.io.PngWriter;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.RgbImage;
import io.sjd2.vq.ImageCodec;
import io.sjd2.vq.ImageTokenizers;
import io.sjd2.vq.VqListener;
import io.sjd2.vq.VqTokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A model's image tokeniser on given codes or pictures.
///
/// Codes are `codes` I32 `[B, h, w]`, pictures `image` F32 `[B, 3, H, W]`, nominally in [-1, 1] and not cut off. A
/// patch tokeniser, which knows 8-bit pictures alone, gives and takes those.
public final class DebugPictures {
    private static final String CODES = "codes";
    private static final String IMAGE = "image";
    private static final int CHANNELS = 3;

    /// How to run the tokeniser.
    ///
    /// @param backend  as in the engine's options
    /// @param threads  worker threads; 0 takes every core
    /// @param dtype    what weights are stored and multiplied as
    /// @param map      whether files of weights are mapped
    public record Settings(String backend, int threads, DType dtype, boolean map) {}

    private DebugPictures() {}

    /// Reads `codes`, writes `image`.
    ///
    /// @param folder   a model's, or an image tokeniser's own
    /// @param png      the pictures in 8 bits as well, several numbered from 0 before the ending; or null
    /// @param listener told over all pictures together
    /// @return how many pictures there were
    /// @throws IOException if a file cannot be read, breaks its format, or cannot be written
    /// @throws IllegalArgumentException if the codes do not fit the tokeniser
    public static int decode(Path folder, Path in, Path out, @Nullable Path png, Settings settings, VqListener listener)
            throws IOException {
        try (SafetensorsFile inputs = SafetensorsFile.open(in, settings.map())) {
            TensorEntry entry = inputs.tensor(CODES);
            int[] shape = shape(inputs.source(), entry, 3, "[B, h, w] with no empty axis");
            return decode(folder, entry.toInts(), shape, out, png, settings, listener);
        }
    }

    private static int decode(
            Path folder, int[] codes, int[] shape, Path out, @Nullable Path png, Settings settings, VqListener listener)
            throws IOException {
        try (Backend backend = Backends.open(settings.backend(), settings.threads());
                ImageCodec codec = open(folder, backend, settings, VqTokenizer.Expected.decoding(shape[1], shape[2]))) {
            int batch = shape[0];
            int height = Math.multiplyExact(shape[1], codec.factor());
            int width = Math.multiplyExact(shape[2], codec.factor());
            int size = count(CHANNELS, height, width);
            float[] all = new float[count(batch, size)];
            int cells = shape[1] * shape[2];
            for (int b = 0; b < batch; b++) {
                int[] grid = Arrays.copyOfRange(codes, b * cells, (b + 1) * cells);
                float[] picture;
                RgbImage image;
                if (codec instanceof VqTokenizer vq) {
                    picture = vq.decode(grid, shape[1], shape[2], part(listener, b, batch));
                    image = vq.toImage(picture, height, width);
                } else {
                    image = codec.withGrid(shape[1], shape[2], VqListener.NONE).decode(grid);
                    picture = VqTokenizer.fromImage(image);
                }
                System.arraycopy(picture, 0, all, b * size, size);
                if (png != null) {
                    PngWriter.write(numbered(png, b, batch), image, Map.of());
                }
            }
            new SafetensorsWriter()
                    .addF32(IMAGE, new long[] {batch, CHANNELS, height, width}, all)
                    .write(out);
            return batch;
        }
    }

    private static ImageCodec open(Path folder, Backend backend, Settings settings, VqTokenizer.Expected expected)
            throws IOException {
        return ImageTokenizers.openCodec(folder, backend, settings.dtype(), settings.map(), expected);
    }

    /// Reads `image`, or a picture file, writes `codes`.
    ///
    /// @param folder   a model's, or an image tokeniser's own
    /// @param in       a PNG or JPEG file if its name ends in `.png`, `.jpg` or `.jpeg`
    /// @param listener told over all pictures together
    /// @return how many pictures there were
    /// @throws IOException if a file cannot be read, breaks its format, or cannot be written
    /// @throws IllegalArgumentException if the pictures do not fit the tokeniser
    /// @throws UnsupportedOperationException if its weights hold no encoder
    public static int encode(Path folder, Path in, Path out, Settings settings, VqListener listener)
            throws IOException {
        Pictures pictures = pictures(in, settings.map());
        int factor;
        int[] all;
        try (Backend backend = Backends.open(settings.backend(), settings.threads());
                ImageCodec codec = open(
                        folder, backend, settings, VqTokenizer.Expected.encoding(pictures.height, pictures.width))) {
            factor = codec.factor();
            if (pictures.height % factor != 0 || pictures.width % factor != 0) {
                throw new IllegalArgumentException(in + ": holds pictures of " + pictures.width + " x "
                        + pictures.height + ", expected multiples of " + factor);
            }
            int h = pictures.height / factor;
            int w = pictures.width / factor;
            int size = CHANNELS * pictures.height * pictures.width;
            all = new int[pictures.batch * h * w];
            for (int b = 0; b < pictures.batch; b++) {
                float[] picture = Arrays.copyOfRange(pictures.values, b * size, (b + 1) * size);
                int[] codes = codec instanceof VqTokenizer vq
                        ? vq.encode(picture, pictures.height, pictures.width, part(listener, b, pictures.batch))
                        : codec.withGrid(h, w, VqListener.NONE)
                                .encode(VqTokenizer.roundedImage(picture, pictures.height, pictures.width));
                System.arraycopy(codes, 0, all, b * h * w, h * w);
            }
        }
        new SafetensorsWriter()
                .addI32(CODES, new long[] {pictures.batch, pictures.height / factor, pictures.width / factor}, all)
                .write(out);
        return pictures.batch;
    }

    /// `[batch, 3, height, width]`.
    private record Pictures(int batch, int height, int width, float[] values) {}

    private static Pictures pictures(Path in, boolean map) throws IOException {
        if (PictureReader.accepts(in)) {
            RgbImage image = PictureReader.read(in);
            return new Pictures(1, image.height(), image.width(), VqTokenizer.fromImage(image));
        }
        try (SafetensorsFile inputs = SafetensorsFile.open(in, map)) {
            TensorEntry entry = inputs.tensor(IMAGE);
            int[] shape = shape(inputs.source(), entry, 4, "[B, 3, H, W] with no empty axis");
            if (shape[1] != CHANNELS) {
                throw new IllegalArgumentException(inputs.source() + ": tensor " + entry + " should have 3 channels");
            }
            long bad = entry.firstNonFinite();
            if (bad >= 0) {
                throw new IllegalArgumentException(
                        inputs.source() + ": tensor " + entry + " holds a number that is not finite at element " + bad);
            }
            return new Pictures(shape[0], shape[2], shape[3], entry.toFloats());
        }
    }

    private static int[] shape(String source, TensorEntry entry, int axes, String expected) {
        long[] shape = entry.shape();
        if (shape.length != axes || entry.elementCount() < 1 || entry.elementCount() > Integer.MAX_VALUE - 8) {
            throw new IllegalArgumentException(source + ": tensor " + entry + " should be " + expected);
        }
        return Arrays.stream(shape).mapToInt(Math::toIntExact).toArray();
    }

    private static int count(int... extents) {
        long product = 1;
        for (int extent : extents) {
            product = Math.multiplyExact(product, (long) extent);
        }
        if (product > Integer.MAX_VALUE - 8) {
            throw new IllegalArgumentException("the pictures have " + product
                    + " numbers together, more than one file of this tool holds; give fewer or smaller ones");
        }
        return (int) product;
    }

    /// One picture's progress as a part of that of all.
    private static VqListener part(VqListener listener, int picture, int pictures) {
        return new VqListener() {
            @Override
            public void advanced(long done, long total) {
                listener.advanced(picture * total + done, pictures * total);
            }

            @Override
            public boolean cancelled() {
                return listener.cancelled();
            }
        };
    }

    private static Path numbered(Path png, int picture, int pictures) {
        if (pictures == 1) {
            return png;
        }
        String name = png.getFileName().toString();
        int dot = name.lastIndexOf('.');
        String stem = dot <= 0 ? name : name.substring(0, dot);
        return png.resolveSibling(stem + "-" + picture + (dot <= 0 ? "" : name.substring(dot)));
    }
}
