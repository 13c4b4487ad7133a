package io.sjd2.vq;

import io.sjd2.io.ModelFormatException;
import io.sjd2.kernel.Backend;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.RgbImage;
import io.sjd2.tensor.Tensor;
import io.sjd2.vq.VqPass.Picture;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// The convolutional image tokenisers of Chameleon, Emu3, Janus and LlamaGen, for pictures of any size.
///
/// Runs on a backend that belongs to the caller and outlives it; uses it on the thread that calls, one call at a
/// time. {@link #close} frees the weights. Memory for pictures is kept between calls: about twice the largest layer,
/// 600 MB for 768 x 768 pixels of 128 channels; {@link #trim} gives it back.
public final class VqTokenizer implements ImageCodec {
    /// Names before the tensors' own, as the different publications have them.
    private static final List<String> PREFIXES = List.of(
            "",
            "vqmodel.",
            "model.vqmodel.",
            "gen_vision_model.",
            "vq_model.",
            "model.",
            "model.vqgan.",
            "vqgan.",
            "module.");

    private static final String TABLE = "quantize.embedding.weight";

    private final VqConfig config;
    private final Backend backend;
    private final DType dtype;
    private final Arena arena;
    private final VqBuffers buffers;
    private final String source;
    private final Tensor table;
    private final VqDecoder decoder;
    private final @Nullable VqEncoder encoder;
    private final @Nullable CodeSearch search;
    private final long weightBytes;

    /// The picture that a tokeniser is opened for, so that its memory comes while weights are still loaded.
    ///
    /// @param height  pixels of a picture that will be encoded, else codes of one that will be decoded; as `width`
    /// @param encoded whether it will be encoded
    public record Expected(int height, int width, boolean encoded) {
        public Expected {
            if (height < 1 || width < 1) {
                throw new IllegalArgumentException(
                        "a picture of " + height + " x " + width + ", expected sides of at least 1");
            }
        }

        public static Expected decoding(int gridHeight, int gridWidth) {
            return new Expected(gridHeight, gridWidth, false);
        }

        public static Expected encoding(int height, int width) {
            return new Expected(height, width, true);
        }

        private boolean fits(int factor) {
            return !encoded || height % factor == 0 && width % factor == 0;
        }
    }

    private VqTokenizer(
            VqConfig config,
            WeightSource weights,
            Backend backend,
            DType dtype,
            @Nullable Expected expected,
            Arena arena,
            VqBuffers buffers)
            throws IOException {
        this.config = config;
        this.backend = backend;
        this.dtype = dtype;
        this.arena = arena;
        this.buffers = buffers;
        this.source = weights.source();
        String prefix = prefix(weights);
        boolean modulated = config.family() == VqConfig.Family.EMU3;
        VqLayers plain = new VqLayers(weights, prefix, backend, arena, dtype, 0);
        VqLayers layers = new VqLayers(weights, prefix, backend, arena, dtype, modulated ? config.latentChannels() : 0);
        float[] codes = plain.values(List.of("quantize.embedding"), "weight", config.codes(), config.codeWidth());
        if (config.normalisedCodes()) {
            for (int code = 0; code < config.codes(); code++) {
                CodeSearch.normalise(codes, code * config.codeWidth(), config.codeWidth());
            }
        }
        this.table = plain.uploaded(codes, config.codes(), config.codeWidth());
        boolean encodes = VqEncoder.present(plain);
        // What a picture asks for is known once the weights of its network have turned out to be what the configuration
        // says, so the network that is expected to run is loaded first.
        @Nullable Expected wanted = expected != null && expected.fits(config.factor()) ? expected : null;
        if (wanted != null && wanted.encoded && encodes) {
            VqEncoder network = new VqEncoder(config, plain);
            fetch(encoding(network, wanted.height, wanted.width));
            this.encoder = network;
            this.decoder = new VqDecoder(config, layers);
        } else {
            this.decoder = new VqDecoder(config, layers);
            if (wanted != null && !wanted.encoded) {
                fetch(decoding(decoder, wanted.height, wanted.width, 1));
            }
            this.encoder = encodes ? new VqEncoder(config, plain) : null;
        }
        this.search = encodes
                ? new CodeSearch(backend, arena, codes, config.codes(), config.codeWidth(), config.normalisedCodes())
                : null;
        this.weightBytes = plain.bytes() + layers.bytes();
    }

    private static String prefix(WeightSource weights) throws ModelFormatException {
        for (String prefix : PREFIXES) {
            if (weights.has(prefix + TABLE)) {
                return prefix;
            }
        }
        throw new ModelFormatException(
                weights.source(),
                "has no tensor \"" + TABLE + "\", under none of the prefixes " + PREFIXES,
                "it holds no image tokeniser that is known");
    }

    /// Loads and packs the weights; `weights` may be closed afterwards.
    ///
    /// @param dtype of the packed weights, f32 or bf16
    /// @throws ModelFormatException if a tensor is missing or has another shape than the configuration says
    /// @throws IOException if reading fails
    public static VqTokenizer open(VqConfig config, WeightSource weights, Backend backend, DType dtype)
            throws IOException {
        return open(config, weights, backend, dtype, null);
    }

    /// As {@link #open(VqConfig, WeightSource, Backend, DType)}, for a picture that is known already.
    ///
    /// @param expected another picture is made all the same; null where none is known
    public static VqTokenizer open(
            VqConfig config, WeightSource weights, Backend backend, DType dtype, @Nullable Expected expected)
            throws IOException {
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException("image tokeniser: dtype is " + dtype.label() + ", expected f32 or bf16");
        }
        Arena arena = Arena.ofShared();
        VqBuffers buffers = new VqBuffers(backend);
        try {
            return new VqTokenizer(config, weights, backend, dtype, expected, arena, buffers);
        } catch (IOException | RuntimeException | Error e) {
            buffers.close();
            arena.close();
            throw e;
        }
    }

    /// What it looks like.
    public VqConfig config() {
        return config;
    }

    @Override
    public int codes() {
        return config.codes();
    }

    @Override
    public int factor() {
        return config.factor();
    }

    /// Bytes of packed weights.
    public long weightBytes() {
        return weightBytes;
    }

    /// Whether it can turn pictures into codes: many publications hold the decoder alone.
    public boolean encodes() {
        return encoder != null;
    }

    /// FLOP of decoding a grid of codes.
    public long decodeFlop(int gridHeight, int gridWidth) {
        return counted(new VqBuffers(), decoding(decoder, gridHeight, gridWidth, 1));
    }

    private Consumer<VqPass> decoding(VqDecoder network, int gridHeight, int gridWidth, int frames) {
        return pass -> network.run(pass, pass.take(1, 1, gridHeight, gridWidth, config.codeWidth()), frames);
    }

    private Consumer<VqPass> encoding(VqEncoder network, int height, int width) {
        return pass -> network.run(pass, pass.take(1, 1, height, width, config.pictureChannels()));
    }

    /// FLOP of a run, by one that only takes and gives memory.
    private static long counted(VqBuffers plan, Consumer<VqPass> run) {
        VqPass counting = VqPass.counting(plan);
        run.accept(counting);
        plan.giveAll();
        return counting.done();
    }

    /// Gets all memory that a run takes, in the sizes that it will ask for.
    ///
    /// @return its FLOP
    private long reserve(Consumer<VqPass> run) {
        VqBuffers plan = buffers.plan();
        long flop = grown(plan, run);
        buffers.reserve(plan);
        return flop;
    }

    /// Has the memory of a run brought while others do something else.
    private void fetch(Consumer<VqPass> run) {
        if (backend.hostMemory()) {
            VqBuffers plan = new VqBuffers();
            grown(plan, run);
            buffers.fetch(plan);
        }
    }

    /// Lets a plan grow to what a run asks for.
    ///
    /// @return FLOP of the run
    private static long grown(VqBuffers plan, Consumer<VqPass> run) {
        long flop;
        long before;
        do {
            before = plan.bytes();
            flop = counted(plan, run);
            // What had to grow on the way might do so again where it began larger; each round only adds.
        } while (plan.bytes() > before);
        return flop;
    }

    /// The picture that a grid of codes stands for, as the network gives it: nominally in [-1, 1], not cut off.
    ///
    /// @param codes `[gridHeight, gridWidth]`
    /// @return `[3, gridHeight * factor, gridWidth * factor]`
    /// @throws IllegalArgumentException if there are too few or too many codes, or one is out of range
    public float[] decode(int[] codes, int gridHeight, int gridWidth, VqListener listener) {
        return decode(codes, gridHeight, gridWidth, 1, listener, null)[0];
    }

    /// @param frames how many of the frames that a code stands for
    /// @return `[frames][3 * height * width]`
    synchronized float[][] decode(
            int[] codes,
            int gridHeight,
            int gridWidth,
            int frames,
            VqListener listener,
            @Nullable BiConsumer<String, float[]> probe) {
        if (gridHeight < 1 || gridWidth < 1 || codes.length != (long) gridHeight * gridWidth) {
            throw new IllegalArgumentException("decode: " + codes.length + " codes, expected " + gridHeight + " x "
                    + gridWidth + " with sides of at least 1");
        }
        for (int i = 0; i < codes.length; i++) {
            if (codes[i] < 0 || codes[i] >= config.codes()) {
                throw new IllegalArgumentException(
                        "decode: code " + i + " is " + codes[i] + ", expected 0 to " + (config.codes() - 1));
            }
        }
        long total = reserve(decoding(decoder, gridHeight, gridWidth, frames));
        try (Arena call = Arena.ofShared()) {
            VqPass pass = VqPass.over(backend, buffers, call, dtype, listener, total, probe);
            Picture looked = pass.take(1, 1, gridHeight, gridWidth, config.codeWidth());
            Tensor ids = backend.allocate(call, DType.I32, codes.length);
            backend.upload(ids, MemorySegment.ofArray(codes));
            backend.kernels().embed(looked.data().view(codes.length, config.codeWidth()), table, ids);
            pass.show("codes", looked);
            Picture image = decoder.run(pass, looked, frames);
            float[] values = new float[(int) image.data().elements()];
            backend.download(MemorySegment.ofArray(values), image.data());
            pass.give(image);
            int size = values.length / image.n();
            float[][] out = new float[image.n()][size];
            for (int f = 0; f < image.n(); f++) {
                planes(out[f], values, f * size, config.pictureChannels());
            }
            return out;
        } finally {
            backend.synchronize();
            buffers.giveAll();
        }
    }

    /// `[pixels, channels]` to `[channels, pixels]`.
    private static void planes(float[] out, float[] pixels, int at, int channels) {
        int n = out.length / channels;
        for (int p = 0; p < n; p++) {
            for (int c = 0; c < channels; c++) {
                out[c * n + p] = pixels[at + p * channels + c];
            }
        }
    }

    /// The codes of a picture.
    ///
    /// @param picture `[3, height, width]`, nominally in [-1, 1]
    /// @param height  a multiple of the factor, as `width`
    /// @return `[height / factor, width / factor]`
    /// @throws UnsupportedOperationException if the weights hold no encoder
    /// @throws IllegalArgumentException if the sides do not fit
    public int[] encode(float[] picture, int height, int width, VqListener listener) {
        return encode(picture, height, width, listener, null);
    }

    synchronized int[] encode(
            float[] picture, int height, int width, VqListener listener, @Nullable BiConsumer<String, float[]> probe) {
        if (encoder == null || search == null) {
            throw new UnsupportedOperationException(
                    source + " holds no encoder, so pictures cannot be turned into codes; fetch the complete weights");
        }
        int factor = config.factor();
        int channels = config.pictureChannels();
        if (height < factor || width < factor || height % factor != 0 || width % factor != 0) {
            throw new IllegalArgumentException(
                    "encode: the picture is " + width + " x " + height + ", expected multiples of " + factor);
        }
        if (picture.length != (long) channels * height * width) {
            throw new IllegalArgumentException(
                    "encode: " + picture.length + " numbers, expected " + channels + " x " + height + " x " + width);
        }
        VqEncoder network = encoder;
        long total = reserve(encoding(network, height, width));
        try (Arena call = Arena.ofShared()) {
            VqPass pass = VqPass.over(backend, buffers, call, dtype, listener, total, probe);
            Picture in = pass.take(1, 1, height, width, channels);
            float[] pixels = new float[picture.length];
            for (int p = 0; p < height * width; p++) {
                for (int c = 0; c < channels; c++) {
                    pixels[p * channels + c] = picture[c * height * width + p];
                }
            }
            backend.upload(in.data(), MemorySegment.ofArray(pixels));
            Picture latent = encoder.run(pass, in);
            pass.show("latent", latent);
            float[] values = new float[(int) latent.data().elements()];
            backend.download(MemorySegment.ofArray(values), latent.data());
            pass.give(latent);
            return search.find(values);
        } finally {
            backend.synchronize();
            buffers.giveAll();
        }
    }

    /// A decoded picture in 8 bits, by the family's rule: cut off, or to nearest.
    ///
    /// @param picture `[3, height, width]`
    public RgbImage toImage(float[] picture, int height, int width) {
        return toImage(picture, height, width, config.family().rounds() ? 0.5f : 0);
    }

    /// A picture in 8 bits, to nearest.
    ///
    /// @param picture `[3, height, width]`
    public static RgbImage roundedImage(float[] picture, int height, int width) {
        return toImage(picture, height, width, 0.5f);
    }

    private static RgbImage toImage(float[] picture, int height, int width, float offset) {
        int n = height * width;
        byte[] rgb = new byte[3 * n];
        for (int p = 0; p < n; p++) {
            for (int c = 0; c < 3; c++) {
                float unit = (Math.clamp(picture[c * n + p], -1f, 1f) + 1) / 2;
                rgb[3 * p + c] = (byte) (int) Math.clamp(unit * 255 + offset, 0f, 255f);
            }
        }
        return new RgbImage(width, height, rgb);
    }

    /// A picture in [-1, 1].
    ///
    /// @return `[3, height, width]`
    public static float[] fromImage(RgbImage image) {
        int n = image.width() * image.height();
        float[] out = new float[3 * n];
        byte[] rgb = image.rgb();
        for (int p = 0; p < n; p++) {
            for (int c = 0; c < 3; c++) {
                out[c * n + p] = (rgb[3 * p + c] & 0xff) / 255f * 2 - 1;
            }
        }
        return out;
    }

    /// @throws IllegalArgumentException if a side is below 1 or the picture would be too large
    @Override
    public ImageTokenizer withGrid(int gridHeight, int gridWidth, VqListener listener) {
        int most = RgbImage.MAX_SIDE / config.factor();
        if (gridHeight < 1 || gridWidth < 1 || gridHeight > most || gridWidth > most) {
            throw new IllegalArgumentException(
                    "a grid of " + gridHeight + " x " + gridWidth + ", expected sides of 1 to " + most);
        }
        return new Grid(gridHeight, gridWidth, listener);
    }

    /// One size of pictures. Uses the backend, so it is as confined as the tokeniser that it belongs to.
    private final class Grid implements ImageTokenizer {
        private final int height;
        private final int width;
        private final VqListener listener;

        Grid(int height, int width, VqListener listener) {
            this.height = height;
            this.width = width;
            this.listener = listener;
        }

        @Override
        public int gridHeight() {
            return height;
        }

        @Override
        public int gridWidth() {
            return width;
        }

        @Override
        public int codes() {
            return config.codes();
        }

        @Override
        public int[] encode(RgbImage image) {
            int factor = config.factor();
            if (image.width() != width * factor || image.height() != height * factor) {
                throw new IllegalArgumentException("the picture is " + image.width() + " x " + image.height()
                        + ", expected " + width * factor + " x " + height * factor);
            }
            return VqTokenizer.this.encode(fromImage(image), image.height(), image.width(), listener);
        }

        @Override
        public RgbImage decode(int[] codes) {
            float[] picture = VqTokenizer.this.decode(codes, height, width, listener);
            return toImage(picture, height * config.factor(), width * config.factor());
        }
    }

    /// Gives back the memory that is kept for the next picture.
    public synchronized void trim() {
        buffers.close();
    }

    /// Frees weights and buffers. Idempotent.
    @Override
    public synchronized void close() {
        if (arena.scope().isAlive()) {
            buffers.close();
            arena.close();
        }
    }
}
