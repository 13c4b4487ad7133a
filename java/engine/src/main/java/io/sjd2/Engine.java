package io.sjd2;

import io.sjd2.decode.DecodeExtents;
import io.sjd2.decode.DecodeListener;
import io.sjd2.decode.DecodeOptions;
import io.sjd2.decode.DecodeRequest;
import io.sjd2.decode.DecodeResult;
import io.sjd2.decode.DecoderSpec;
import io.sjd2.decode.SamplingOptions;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.RandomTensors;
import io.sjd2.io.SyntheticName;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.Purpose;
import io.sjd2.model.ConditionShape;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.ModelFiles;
import io.sjd2.model.NoiseAdapter;
import io.sjd2.model.Prompt;
import io.sjd2.model.Scorer;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerConfig;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.model.TransformerForward;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.RgbImage;
import io.sjd2.tensor.Tensor;
import io.sjd2.vq.ImageCodec;
import io.sjd2.vq.ImageTokenizers;
import io.sjd2.vq.VqListener;
import io.sjd2.vq.VqTokenizer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/// An open model: prompts in, pictures out.
///
/// Thread-safe; calls take turns on the backend. Owns weights, threads and device memory until {@link #close()}.
///
/// ```java
/// try (Engine engine = Engine.open(Path.of("models/demo"), EngineOptions.defaults())) {
///     GeneratedImage picture = engine.generate(GenerationRequest.of("a red circle"),
/// GenerationListener.NONE).getFirst();
/// }
/// ```
public final class Engine implements AutoCloseable {
    /// Most pictures decoded side by side, where memory allows. A picture's tokens do not depend on it.
    private static final int IMAGES_PER_BATCH = 8;
    /// Of memory that decoding a picture takes, about: two layers of 128 channels.
    private static final long BYTES_PER_PIXEL = 1024;

    private final ReentrantLock turn = new ReentrantLock(true);
    private final Path folder;
    private final Backend backend;
    private final Transformer model;
    private final PromptFrame frame;
    private final ImageCodec pictures;
    private final ModelInfo info;
    private final WindowPlans plans;
    private final ForwardPool forwards;
    private boolean closed;
    private boolean deviceLost;

    private Engine(Path folder, Backend backend, Transformer model, PromptFrame frame, ImageCodec pictures)
            throws IOException {
        this.folder = folder;
        this.backend = backend;
        this.model = model;
        this.frame = frame;
        this.pictures = pictures;
        this.info = describe();
        this.forwards = new ForwardPool(model);
        this.plans = new WindowPlans(
                model, length -> frame.filler(length, model.conditions()), GenerationConfig.read(folder));
    }

    /// Opens a model folder.
    ///
    /// @param folder  or the name of a made-up model: `synthetic:<preset>`, see {@link SyntheticName}
    /// @throws ModelFormatException if a file is missing or does not hold what it should, naming file, value and remedy
    /// @throws IOException if reading fails
    /// @throws IllegalArgumentException if the options name an unknown backend or a dtype that is not f32 or bf16
    /// @throws KernelException if the backend cannot be opened, or has too little memory
    public static Engine open(Path folder, EngineOptions options) throws IOException {
        ModelDescription description = ModelDescription.read(folder);
        PromptFrame frame = PromptFrame.of(folder, description);
        Backend backend = Backends.open(options.backend(), options.threads());
        ImageCodec pictures = null;
        Transformer model = null;
        try {
            try (ModelFiles files = ModelFiles.of(description, folder, options.mapping())) {
                DType dtype = options.dtype() != null ? options.dtype() : files.dtype();
                // Before the model, which takes longer to load.
                VqTokenizer.@Nullable Expected expected = expected(description, dtype);
                pictures = pictures(folder, description, backend, dtype, options.mapping(), expected);
                model = Transformer.load(
                        backend,
                        files.with(description.withPixels(pictures.factor())),
                        dtype,
                        Transformer.Heads.CODES,
                        options.listener());
            }
            return new Engine(folder, backend, model, frame, pictures);
        } catch (IOException | RuntimeException | Error e) {
            if (model != null) {
                model.close();
            }
            if (pictures != null) {
                pictures.close();
            }
            backend.close();
            throw e;
        }
    }

    /// The picture whose memory is got while the model is loaded; null where the cache of keys and values is at least
    /// as large as it, and leaves its pages to it.
    private static VqTokenizer.@Nullable Expected expected(ModelDescription description, DType dtype) {
        Grid grid = description.grid();
        long pixels = (long) grid.height() * grid.width() * description.patchSize() * description.patchSize();
        long cache = description.transformer().kvBytesPerToken(dtype.bytes()) * description.imageLength();
        return cache >= pixels * BYTES_PER_PIXEL ? null : VqTokenizer.Expected.decoding(grid.height(), grid.width());
    }

    private static ImageCodec pictures(
            Path folder,
            ModelDescription description,
            Backend backend,
            DType dtype,
            boolean map,
            VqTokenizer.@Nullable Expected expected)
            throws IOException {
        ImageCodec pictures = ImageTokenizers.openCodec(folder, backend, dtype, map, expected);
        Grid grid = description.grid();
        try {
            // A codec of a single size says so here.
            pictures.withGrid(grid.height(), grid.width(), VqListener.NONE);
            if (pictures.codes() != description.codes()) {
                throw new IllegalArgumentException(
                        "the image tokeniser has " + pictures.codes() + " codes, the model " + description.codes());
            }
            return pictures;
        } catch (IllegalArgumentException e) {
            pictures.close();
            throw new ModelFormatException(
                    folder.toString(), e.getMessage(), "model and image tokeniser belong to different models", e);
        }
    }

    /// What a model is and what a pass of it costs, by its configuration and the headers of its files: its language
    /// model is not loaded.
    ///
    /// @param folder   as in {@link #open}
    /// @param options  as in {@link #open}
    /// @param window   positions of a pass
    /// @throws IOException as {@link #open}
    /// @throws IllegalArgumentException as {@link #open}, or if the window is out of range
    public static Inspection inspect(Path folder, EngineOptions options, int window) throws IOException {
        ModelDescription description = ModelDescription.read(folder);
        int most = description.imageLength();
        if (window < 1 || window > most) {
            throw new IllegalArgumentException("window is " + window + ", expected 1 to " + most);
        }
        try (Backend backend = Backends.open(options.backend(), options.threads());
                ModelFiles files = ModelFiles.of(description, folder, options.mapping())) {
            DType dtype = options.dtype() != null ? options.dtype() : files.dtype();
            Transformer.Size size = Transformer.measure(backend, files, dtype);
            NoiseAdapter adapter = Transformer.noiseAdapter(files);
            FoundPictures found = inspectPictures(folder, description, backend, dtype, options.mapping());
            ModelDescription whole = found.factor == 0 ? description : description.withPixels(found.factor);
            ModelInfo info = describe(folder, whole, backend, dtype, size, adapter);
            int sequences = info.defaults().guidance() == 1 ? 1 : 2;
            PassCost pass = PassCost.of(
                    description.transformer(), size, dtype.bytes(), window, sequences, description.imageLength());
            return new Inspection(info, pass, found.pictures);
        }
    }

    /// @param factor pixels of a code's edge; 0 where no image tokeniser was found
    private record FoundPictures(Inspection.Pictures pictures, int factor) {}

    private static FoundPictures inspectPictures(
            Path folder, ModelDescription description, Backend backend, DType dtype, boolean map) throws IOException {
        try (ImageCodec pictures = pictures(folder, description, backend, dtype, map, null)) {
            Grid grid = description.grid();
            Inspection.Pictures found = pictures instanceof VqTokenizer vq
                    ? new Inspection.Pictures(vq.weightBytes(), vq.decodeFlop(grid.height(), grid.width()), null)
                    : new Inspection.Pictures(0, 0, null);
            return new FoundPictures(found, pictures.factor());
        } catch (ModelFormatException e) {
            return new FoundPictures(new Inspection.Pictures(0, 0, e.getMessage()), 0);
        }
    }

    private ModelInfo describe() throws IOException {
        return describe(folder, model.description(), backend, model.dtype(), model.size(), model.noiseAdapter());
    }

    private static ModelInfo describe(
            Path folder,
            ModelDescription d,
            Backend backend,
            DType dtype,
            Transformer.Size size,
            @Nullable NoiseAdapter adapter)
            throws IOException {
        TransformerConfig c = d.transformer();
        return new ModelInfo(
                d.family(),
                folder,
                size.parameters(),
                size.weightBytes(),
                size.streamedBytes(),
                c.kvBytesPerToken(dtype.bytes()),
                dtype.label(),
                backend.name(),
                backend.threads(),
                d.grid().height(),
                d.grid().width(),
                d.grid().width() * d.patchSize(),
                d.grid().height() * d.patchSize(),
                d.imageLength(),
                d.codes(),
                c.vocabSize(),
                c.hiddenSize(),
                c.layers(),
                adapter != null,
                c.maxPositions() - d.imageLength(),
                GenerationConfig.defaults(GenerationConfig.read(folder), d.sampling(), adapter));
    }

    /// What was opened.
    public ModelInfo info() {
        return info;
    }

    /// Words of the prompt that the model has never seen; empty where any word may mean something.
    public List<String> unknownWords(String prompt) {
        return frame.unknownWords(prompt);
    }

    /// The words the model knows; empty where any word may mean something.
    public List<String> knownWords() {
        return frame.knownWords();
    }

    /// Makes the pictures of a request. Picture `i` depends on (`seed`, `i`) and the settings alone.
    ///
    /// @param listener  told after every pass; may cancel
    /// @return the pictures in order
    /// @throws IllegalArgumentException if a setting is out of range or does not fit the model, or the prompt is too
    /// long
    /// @throws CancellationException if the listener cancels
    /// @throws io.sjd2.decode.UnusableLogitsException if the model computes NaN
    public List<GeneratedImage> generate(GenerationRequest request, GenerationListener listener) {
        turn.lock();
        try {
            requireOpen();
            return new Generation(request, listener).run();
        } catch (KernelException e) {
            deviceLost |= e.deviceLost();
            throw e;
        } finally {
            turn.unlock();
        }
    }

    /// The window that `auto` takes for a decoder, from pass times measured on this machine (once, then remembered).
    ///
    /// @param decoder   name, as in a request
    /// @param guidance  as in a request: 1 runs one sequence per picture, anything else two
    /// @param images    pictures decoded side by side
    /// @throws IllegalArgumentException if there is no such decoder, or it needs a fine-tuned model and this is none
    public WindowPlan planWindow(String decoder, double guidance, int images) {
        return planWindow(decoder, guidance, images, false);
    }

    /// As {@link #planWindow(String, double, int)}, from pass times measured anew, which replace those remembered.
    public WindowPlan tuneWindow(String decoder, double guidance, int images) {
        return planWindow(decoder, guidance, images, true);
    }

    private WindowPlan planWindow(String decoder, double guidance, int images, boolean again) {
        turn.lock();
        try {
            requireOpen();
            DecoderSpec spec = DecoderSpec.parse(decoder);
            requireFineTuned(spec);
            return plans.plan(spec, guidance != 1, images, again);
        } finally {
            turn.unlock();
        }
    }

    /// Why `auto` takes the window it takes for a request; null where the request names a window, or its decoder has
    /// none.
    public @Nullable WindowPlan planWindow(GenerationRequest request) {
        ModelInfo.Defaults d = info.defaults();
        String decoder = request.decoder() != null ? request.decoder() : d.decoder();
        double guidance = request.guidance() != null ? request.guidance() : d.guidance();
        return request.window() != GenerationRequest.AUTO_WINDOW
                        || DecoderSpec.parse(decoder).sequential()
                ? null
                : planWindow(decoder, guidance, 1);
    }

    /// Log-probability in nats of every token of a picture under the model at temperature 1, without filters and
    /// guidance.
    ///
    /// @param codes  rows of the grid, as in {@link GeneratedImage#codes}
    /// @return `[height * width]`
    /// @throws IllegalArgumentException if the codes do not fit the model
    public double[] logLikelihood(String prompt, boolean rawPrompt, int[][] codes) {
        int[] flat = Arrays.stream(codes).flatMapToInt(Arrays::stream).toArray();
        if (codes.length == 0 || flat.length != codes.length * codes[0].length) {
            throw new IllegalArgumentException("the picture has rows of different lengths, or none");
        }
        turn.lock();
        try {
            requireOpen();
            Grid grid = new Grid(codes.length, codes[0].length);
            GenerationRequest request =
                    new GenerationRequest(prompt, rawPrompt, 1, 0, null, null, 1, null, null, null, null, null);
            Prompt conditional = frame.of(request, grid, model.conditions(), promptRoom(grid))
                    .conditional();
            float[] scores = new Scorer(model).score(conditional, grid, flat);
            double[] out = new double[scores.length];
            for (int i = 0; i < out.length; i++) {
                out[i] = scores[i];
            }
            return out;
        } finally {
            turn.unlock();
        }
    }

    /// By how much the code at a place leads another one there, given the codes before it: guided logits over
    /// temperature plus the noise that `exact` adds. For {@link BackendComparison}.
    ///
    /// @param picture  number of the picture in the request
    /// @param codes    row by row, of the model's usual size
    double lead(GenerationRequest request, int picture, int[] codes, int at, int other) {
        turn.lock();
        try {
            requireOpen();
            ModelDescription d = model.description();
            Grid grid = d.grid();
            ModelInfo.Defaults defaults = info.defaults();
            double guidance = request.guidance() != null ? request.guidance() : defaults.guidance();
            double temperature = request.temperature() != null ? request.temperature() : defaults.temperature();
            PromptFrame.Pair prompts = frame.of(request, grid, model.conditions(), promptRoom(grid));
            int[] changed = codes.clone();
            changed[at] = other;
            Scorer scorer = new Scorer(model);
            double lead = scorer.score(prompts.conditional(), grid, codes)[at]
                    - (double) scorer.score(prompts.conditional(), grid, changed)[at];
            if (guidance != 1) {
                double unguided = scorer.score(prompts.unconditional(), grid, codes)[at]
                        - (double) scorer.score(prompts.unconditional(), grid, changed)[at];
                lead = unguided + guidance * (lead - unguided);
            }
            int position = d.picture().positionOf(at, grid, d.codes());
            return lead / temperature
                    + gumbel(request.seed(), picture, position, codes[at])
                    - gumbel(request.seed(), picture, position, other);
        } finally {
            turn.unlock();
        }
    }

    /// The noise of a code at a position. Source: docs/decoding.md, "Randomness".
    private double gumbel(long seed, int picture, int position, int code) {
        int[] words = new int[code + 1];
        try (Arena arena = Arena.ofConfined()) {
            Tensor out = backend.allocate(arena, DType.I32, words.length);
            backend.kernels().philoxWords(out, seed, picture, position, Purpose.GUMBEL.streamHigh(0));
            backend.download(MemorySegment.ofArray(words), out);
        }
        double uniform = (Integer.toUnsignedLong(words[code]) + 0.5) * 0x1p-32;
        return -Math.log(-Math.log(uniform));
    }

    /// Entries that a prompt may take beside a picture.
    private int promptRoom(Grid grid) {
        ModelDescription d = model.description();
        return d.transformer().maxPositions() - d.picture().length(grid);
    }

    private void requireFineTuned(DecoderSpec decoder) {
        if (decoder.noise() && !info.fineTuned()) {
            throw new IllegalArgumentException("decoder " + decoder + " needs a model fine-tuned for noisy inputs, "
                    + folder + " is not; use " + DecoderSpec.SJD_MC + " or fine-tune it with `sjd2 finetune`");
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("the engine is closed");
        }
    }

    /// Waits for a running call, then frees everything. Idempotent.
    @Override
    public void close() {
        turn.lock();
        try {
            if (!closed) {
                closed = true;
                closeParts();
            }
        } finally {
            turn.unlock();
        }
    }

    /// One after the other, whatever becomes of those before. Who lost the device has heard of it from the generation
    /// that did.
    private void closeParts() {
        KernelException failure = null;
        for (Runnable part : List.<Runnable>of(forwards::close, pictures::close, model::close, backend::close)) {
            try {
                part.run();
            } catch (KernelException e) {
                if (failure == null && !(deviceLost && e.deviceLost())) {
                    failure = e;
                }
            }
        }
        if (failure != null) {
            throw failure;
        }
    }

    private int defaultLevels(int window) {
        NoiseAdapter adapter = model.noiseAdapter();
        return adapter == null ? 1 : adapter.defaultLevels(window);
    }

    private int defaultRestart() {
        NoiseAdapter adapter = model.noiseAdapter();
        return adapter == null ? DecodeOptions.AUTO_RESTART : adapter.restart().orElse(DecodeOptions.AUTO_RESTART);
    }

    /// One call of {@link #generate}: settings resolved, then batch by batch.
    private final class Generation {
        private final GenerationRequest request;
        private final GenerationListener listener;
        private final DecoderSpec decoder;
        private final SamplingOptions sampling;
        private final int levels;
        private final int window;
        private final Grid grid;
        private final int length;
        private final DecodeOptions options;
        private final PictureSettings settings;
        private final PromptFrame.Pair prompts;
        private final List<String> warnings;
        private final long total;
        private final EngineEvents.Generation event = new EngineEvents.Generation();
        private long finishedTokens;
        private long finishedPasses;

        Generation(GenerationRequest request, GenerationListener listener) {
            ModelInfo.Defaults d = info.defaults();
            this.request = request;
            this.listener = listener;
            this.grid = gridOf(model.description(), request.target());
            this.length = model.description().picture().length(grid);
            this.prompts = frame.of(conditioned(request), grid, model.conditions(), promptRoom(grid));
            this.decoder = DecoderSpec.parse(request.decoder() != null ? request.decoder() : d.decoder());
            this.sampling = new SamplingOptions(
                    (float) (request.temperature() != null ? request.temperature() : d.temperature()),
                    request.topK() != null ? request.topK() : d.topK(),
                    (float) (request.topP() != null ? request.topP() : d.topP()),
                    (float) (request.guidance() != null ? request.guidance() : d.guidance()),
                    request.sampler() != null
                            ? SamplingOptions.Sampler.parse(request.sampler())
                            : SamplingOptions.Sampler.GUMBEL);
            requireFineTuned(decoder);
            int asked = decoder.sequential()
                    ? 1
                    : request.window() == GenerationRequest.AUTO_WINDOW
                            ? plans.plan(decoder, sampling.guided(), 1, false).window()
                            : request.window();
            this.window = Math.min(asked, length);
            this.levels = decoder.noise() ? (request.levels() != null ? request.levels() : defaultLevels(window)) : 0;
            int restart = request.restart() != null ? request.restart() : defaultRestart();
            this.options = new DecodeOptions(decoder, sampling, window, Math.max(levels, 1), restart);
            this.settings = new PictureSettings(resolved(request), info.dtype(), info.backend());
            this.warnings = warningsFor(request.prompt());
            this.total = (long) request.images() * length;
        }

        /// The request with every setting as it is used, in the caller's precision.
        private GenerationRequest resolved(GenerationRequest request) {
            ModelInfo.Defaults d = info.defaults();
            return request.withDecoder(decoder.toString())
                    .withSampler(sampling.sampler().toString())
                    .withWindow(options.effectiveWindow(length))
                    .withLevels(levels > 0 ? levels : null)
                    .withRestart(options.effectiveRestart())
                    .withGuidance(request.guidance() != null ? request.guidance() : Double.valueOf(d.guidance()))
                    .withSampling(
                            request.temperature() != null ? request.temperature() : Double.valueOf(d.temperature()),
                            request.topK() != null ? request.topK() : Integer.valueOf(d.topK()),
                            request.topP() != null ? request.topP() : Double.valueOf(d.topP()));
        }

        /// Where no text encoder is at hand, a made-up model gets made-up features of its prompt: it would draw noise
        /// from real ones, too.
        private GenerationRequest conditioned(GenerationRequest request) {
            SyntheticName name = SyntheticName.of(folder);
            ConditionShape shape = model.description().condition();
            if (name == null
                    || shape == null
                    || request.condition() != null
                    || request.prompt().isBlank()) {
                return request;
            }
            int rows = Math.min(shape.rows(), request.prompt().trim().split("\\s+").length);
            boolean[] live = new boolean[rows];
            Arrays.fill(live, true);
            float[] features = new RandomTensors(name.seed()).floats(request.prompt(), rows * shape.captionWidth());
            GenerationRequest.Target target = request.target();
            return request.withTarget(new GenerationRequest.Target(
                    target.width(), target.height(), target.negative(), new Condition.Caption(features, live)));
        }

        private static Grid gridOf(ModelDescription d, GenerationRequest.Target target) {
            Integer width = target.width();
            Integer height = target.height();
            if (width == null || height == null) {
                return d.grid();
            }
            return d.picture().gridOf(width, height, d.picture().pixels());
        }

        private List<String> warningsFor(String prompt) {
            List<String> unknown = request.rawPrompt() ? List.of() : frame.unknownWords(prompt);
            return unknown.isEmpty()
                    ? List.of()
                    : List.of("the model does not know " + String.join(", ", unknown) + "; it knows: "
                            + String.join(", ", frame.knownWords()));
        }

        List<GeneratedImage> run() {
            List<GeneratedImage> images = new ArrayList<>(request.images());
            MemoryNeeds needs = new MemoryNeeds(
                    model,
                    sampling.guided() ? 2 : 1,
                    window,
                    length,
                    forwards.capacity(prompts.longest() + length),
                    forwards.longest(prompts.longest()),
                    decoder.noise());
            event.begin();
            try {
                for (int first = 0; first < request.images(); ) {
                    int count = needs.picturesThatFit(
                            Math.min(IMAGES_PER_BATCH, request.images() - first), forwards.idleBytes());
                    images.addAll(fittingBatch(needs, first, count));
                    first += count;
                }
                return images;
            } finally {
                event.end();
                if (event.shouldCommit()) {
                    commitEvent(images);
                }
            }
        }

        /// A batch, whose failure to have memory says what would fit.
        private List<GeneratedImage> fittingBatch(MemoryNeeds needs, int first, int count) {
            try {
                return batch(needs, first, count);
            } catch (KernelException e) {
                throw e.outOfMemory() ? needs.explain(e, count) : e;
            }
        }

        private void commitEvent(List<GeneratedImage> images) {
            event.model = info.folder().toString();
            event.backend = info.backend();
            event.dtype = info.dtype();
            event.decoder = decoder.toString();
            event.window = window;
            event.autoWindow = request.window() == GenerationRequest.AUTO_WINDOW && !decoder.sequential();
            event.levels = levels;
            event.guidance = sampling.guidance();
            event.seed = request.seed();
            event.pictures = request.images();
            event.tokens = finishedTokens;
            event.passes =
                    images.stream().mapToLong(i -> i.statistics().passes()).sum();
            event.finished = images.size() == request.images();
            event.commit();
        }

        private List<GeneratedImage> batch(MemoryNeeds needs, int first, int count) {
            if (listener.cancelled()) {
                throw new CancellationException("cancelled before picture " + first);
            }
            boolean guided = sampling.guided();
            List<Prompt> batch = new ArrayList<>();
            List<DecodeRequest.Image> sequences = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                int cond = batch.size();
                batch.add(prompts.conditional());
                if (guided) {
                    batch.add(prompts.unconditional());
                }
                sequences.add(new DecodeRequest.Image(request.seed(), first + i, cond, guided ? cond + 1 : -1));
            }
            int[] forced = model.description()
                    .picture()
                    .forced(grid, model.description().codes());
            DecodeRequest wanted = new DecodeRequest(length, forced, sequences);
            long start = System.nanoTime();
            long prefilled;
            long decoded;
            DecodeResult result;
            // Over before pixels are made: where nothing is kept, these then lie on the pages of the cache, which are
            // there already.
            try (ForwardPool.Lease lease = forwards.lend(
                    needs.capacity(), needs.longest(), DecodeExtents.of(wanted, options), needs.bytes(count))) {
                prefill(lease.forward(), batch);
                prefilled = System.nanoTime();
                result = lease.decoder().decode(wanted, options, new Watch(first));
                decoded = System.nanoTime();
                lease.keep();
            }
            finishedTokens += (long) count * length;
            finishedPasses += result.statistics().iterations();
            List<GeneratedImage> images = new ArrayList<>(count);
            for (int i = 0; i < count; i++) {
                GeneratedImage image =
                        image(first + i, result, i, (decoded - prefilled) * 1e-9, (prefilled - start) * 1e-9);
                images.add(image);
                listener.finished(image);
            }
            return images;
        }

        private void prefill(TransformerForward forward, List<Prompt> batch) {
            EngineEvents.Prefill prefill = new EngineEvents.Prefill();
            prefill.begin();
            forward.prefill(batch);
            prefill.end();
            if (prefill.shouldCommit()) {
                prefill.sequences = batch.size();
                prefill.tokens = batch.stream().mapToLong(Prompt::length).sum();
                prefill.commit();
            }
        }

        /// Follows the passes of a batch for the request's listener.
        private final class Watch implements DecodeListener {
            private final int firstPicture;
            private final boolean windows = listener.watchesPasses();

            Watch(int firstPicture) {
                this.firstPicture = firstPicture;
            }

            @Override
            public boolean watchesWindows() {
                return windows;
            }

            @Override
            public boolean onIteration(Progress progress) {
                long committed = finishedTokens;
                for (int i = 0; i < progress.images(); i++) {
                    committed += progress.committed(i);
                    if (windows && progress.accepted(i) > 0) {
                        listener.pass(PassTraces.of(progress, i, firstPicture + i, model.description()::token));
                    }
                }
                listener.progress(committed, total, finishedPasses + progress.iteration());
                return !listener.cancelled();
            }
        }

        /// Passes on how far a picture is, and whether anybody still wants it.
        private VqListener watching(int index) {
            return new VqListener() {
                @Override
                public void advanced(long done, long all) {
                    listener.decoding(index, done, all);
                }

                @Override
                public boolean cancelled() {
                    return listener.cancelled();
                }
            };
        }

        private GeneratedImage image(int index, DecodeResult result, int slot, double seconds, double prefillSeconds) {
            ModelDescription d = model.description();
            int[] local = result.tokens()[slot];
            int[] codes = d.picture().codes(local, grid);
            EngineEvents.ImageDecode decode = new EngineEvents.ImageDecode();
            decode.begin();
            long start = System.nanoTime();
            RgbImage image = pictures.withGrid(grid.height(), grid.width(), watching(index))
                    .decode(codes);
            decode.end();
            if (decode.shouldCommit()) {
                decode.picture = index;
                decode.width = image.width();
                decode.height = image.height();
                decode.commit();
            }
            double imageSeconds = (System.nanoTime() - start) * 1e-9;
            int[] tokens = Arrays.stream(local).map(d::token).toArray();
            int[][] rows = new int[grid.height()][grid.width()];
            for (int i = 0; i < codes.length; i++) {
                rows[i / grid.width()][i % grid.width()] = codes[i];
            }
            DecodeResult.ImageStatistics s = result.statistics().images().get(slot);
            return new GeneratedImage(
                    index,
                    request.prompt(),
                    request.seed(),
                    settings,
                    image,
                    tokens,
                    rows,
                    new GenerationStatistics(
                            decoder.toString(),
                            result.statistics().window(),
                            levels,
                            local.length,
                            s.passes(),
                            seconds,
                            result.statistics().forwardNanos() * 1e-9,
                            (result.statistics().windowInputNanos()
                                            + result.statistics().verifyNanos())
                                    * 1e-9,
                            prefillSeconds,
                            imageSeconds,
                            s.tested(),
                            s.kept(),
                            s.tail(),
                            s.tailKept(),
                            s.restarts()),
                    warnings);
        }
    }
}
