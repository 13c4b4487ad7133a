package io.sjd2.model;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.Kernels.QkNorm;
import io.sjd2.model.TransformerConfig.QkNormShape;
import io.sjd2.model.WeightNames.Affine;
import io.sjd2.model.WeightNames.ImagePath;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/// The weights of one model, packed for one backend. Read-only once loaded, so any number of forward passes may share
/// it; owns its memory and gives it back in {@link #close()}.
public final class Transformer implements AutoCloseable {
    /// Weights of one block.
    record Layer(
            Tensor inputNorm,
            Linear qkv,
            @Nullable QkNorm qkNorm,
            Linear attentionOut,
            Tensor postNorm,
            Linear gateUp,
            Linear down) {}

    /// From the normalised residual stream to the logits of codes.
    ///
    /// @param hidden  a layer with GELU behind it, or null
    record Head(@Nullable Linear hidden, Linear out) {}

    /// Which rows of the output head are loaded.
    public enum Heads {
        /// Those that may be sampled: the others could only produce masked ids.
        CODES,
        /// Every token's too, for comparing logits.
        ALL
    }

    private final Backend backend;
    private final Arena arena;
    private final ModelDescription description;
    private final DType dtype;
    private final Tensor table;
    private final Tensor codeTable;
    private final Tensor tokenRows;
    private final List<Layer> layers;
    private final Tensor finalNorm;
    private final Head head;
    private final @Nullable Linear textHead;
    private final @Nullable Conditions conditions;
    private final @Nullable Tensor rowEmbed;
    private final @Nullable Tensor columnEmbed;
    private final @Nullable NoiseAdapter noiseAdapter;
    private final long weightBytes;
    private final long parameters;
    private final Size size;

    /// What a model takes before any of it is loaded.
    ///
    /// @param parameters     numbers in the weights that are loaded or cut down
    /// @param weightBytes    bytes of packed weights and tables
    /// @param streamedBytes  of these, what every pass reads whole: all but tables of embeddings
    /// @param headParameters numbers of the output head that a pass multiplies with
    public record Size(long parameters, long weightBytes, long streamedBytes, long headParameters) {}

    /// What loading would take, by the names and shapes of tensors alone.
    ///
    /// @throws ModelFormatException if a tensor is missing, or has another shape than the configuration states
    public static Size measure(Backend backend, ModelFiles files, DType dtype) throws IOException {
        try (Arena none = Arena.ofConfined()) {
            Loader loader = new Loader(backend, none, files, dtype, Heads.CODES, LoadListener.NONE);
            loader.checkAll();
            return loader.size();
        }
    }

    /// The part of a model that turns captions or classes into prompts, without the rest.
    ///
    /// @param owner  of its memory
    /// @return null where the model takes text
    public static @Nullable Conditions loadConditions(Backend backend, ModelFiles files, Arena owner)
            throws IOException {
        Loader loader = new Loader(backend, owner, files, DType.F32, Heads.CODES, LoadListener.NONE);
        loader.checkConditions();
        return loader.conditions();
    }

    /// What the next-clean-token fine-tuning added to a model, or null.
    ///
    /// @throws ModelFormatException if its files do not fit the model
    public static @Nullable NoiseAdapter noiseAdapter(ModelFiles files) throws IOException {
        Path folder = files.folder();
        int hidden = files.description().transformer().hiddenSize();
        if (files.tensors() instanceof SyntheticWeights made) {
            return made.noiseAdapter();
        }
        return folder == null ? null : NoiseAdapter.find(folder, hidden).orElse(null);
    }

    private Transformer(Loader from) throws IOException {
        this.backend = from.backend;
        this.arena = from.arena;
        this.description = from.description;
        this.dtype = from.dtype;
        TransformerConfig c = description.transformer();
        WeightNames names = from.names;
        from.checkAll();
        this.size = from.size();
        this.table = from.table(names.embedding(), c.vocabSize(), c.hiddenSize());
        this.codeTable = names.image() == null ? table : from.alignedTable(names.image());
        this.tokenRows = from.codeRows();
        this.layers = new ArrayList<>(c.layers());
        for (int i = 0; i < c.layers(); i++) {
            layers.add(from.layer(i));
        }
        this.finalNorm = from.vector(names.finalNorm(), c.hiddenSize());
        this.head = from.head();
        this.textHead = from.textHead();
        this.conditions = from.conditions();
        if (c.targetGrid() != null) {
            this.rowEmbed = from.f32(names.targetGrid().get(0), c.targetGrid().height(), c.hiddenSize());
            this.columnEmbed =
                    from.f32(names.targetGrid().get(1), c.targetGrid().width(), c.hiddenSize());
        } else {
            this.rowEmbed = null;
            this.columnEmbed = null;
        }
        this.noiseAdapter = noiseAdapter(from.origin);
        this.weightBytes = from.packedBytes;
        this.parameters = from.parameters;
        backend.synchronize();
    }

    /// Loads the weights of a model folder, as much of them as generating takes.
    ///
    /// @param dtype  f32 or bf16: what the weights are stored and multiplied as
    /// @throws ModelFormatException naming the file and the tensor if one is missing, has another shape than the
    ///     configuration states, or holds a number that is not finite
    public static Transformer load(
            Backend backend, Path folder, ModelDescription description, DType dtype, LoadListener listener)
            throws IOException {
        try (ModelFiles files = ModelFiles.of(description, folder, true)) {
            return load(backend, files, dtype, Heads.CODES, listener);
        }
    }

    /// Loads the weights of a model.
    ///
    /// @param files  may be closed once this returns
    /// @param dtype  f32 or bf16: what the weights are stored and multiplied as
    /// @throws ModelFormatException as the other
    public static Transformer load(Backend backend, ModelFiles files, DType dtype, Heads heads, LoadListener listener)
            throws IOException {
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException("dtype " + dtype.label() + " is not one of f32, bf16");
        }
        Arena arena = Arena.ofShared();
        Loader loader = new Loader(backend, arena, files, dtype, heads, listener);
        try {
            return new Transformer(loader);
        } catch (KernelException e) {
            arena.close();
            throw e.outOfMemory() ? e.explained(loader.needs()) : e;
        } catch (IOException | RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    public Backend backend() {
        return backend;
    }

    public ModelDescription description() {
        return description;
    }

    public TransformerConfig config() {
        return description.transformer();
    }

    /// f32 or bf16.
    public DType dtype() {
        return dtype;
    }

    /// Bytes of packed weights and tables.
    public long weightBytes() {
        return weightBytes;
    }

    /// Numbers in the weights that were loaded or cut down.
    public long parameters() {
        return parameters;
    }

    /// What loading took.
    public Size size() {
        return size;
    }

    /// Tells models apart without reading their weights: the configuration and the weights' size.
    public String fingerprint() {
        return description + "|" + weightBytes + "|" + (noiseAdapter != null);
    }

    /// What the next-clean-token fine-tuning added, or null.
    public @Nullable NoiseAdapter noiseAdapter() {
        return noiseAdapter;
    }

    /// Turns captions or classes into prompts; null where the model takes text.
    public @Nullable Conditions conditions() {
        return conditions;
    }

    /// `[vocab_size, hidden_size]` T: embeddings of tokens.
    Tensor table() {
        return table;
    }

    /// `[rows, hidden_size]` T: embeddings of codes and structural tokens, by {@link #tokenRows}.
    Tensor codeTable() {
        return codeTable;
    }

    /// `[codes + structural]` i32: row of {@link #codeTable} that a local id has.
    Tensor tokenRows() {
        return tokenRows;
    }

    /// Row of {@link #codeTable} that a local id has.
    int tableRow(int localId) {
        return description.token(localId);
    }

    List<Layer> layers() {
        return layers;
    }

    Tensor finalNorm() {
        return finalNorm;
    }

    Head head() {
        return head;
    }

    /// `[vocab_size, hidden_size]`: logits of every token; null unless loaded with {@link Heads#ALL}.
    @Nullable
    Linear textHead() {
        return textHead;
    }

    @Nullable
    Tensor rowEmbed() {
        return rowEmbed;
    }

    @Nullable
    Tensor columnEmbed() {
        return columnEmbed;
    }

    /// Frees the weights. Every forward pass over them must have ended.
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            try {
                backend.synchronize();
            } finally {
                arena.close();
            }
        }
    }

    /// Reads, checks and packs. Shapes of all tensors are checked before anything is allocated, so that a configuration
    /// that lies about its sizes costs nothing. A tensor's bytes are given back as soon as they are packed.
    private static final class Loader {
        /// Codes that are aligned at once.
        private static final int ALIGN_ROWS = 1024;

        private final Backend backend;
        private final Arena arena;
        private final ModelFiles origin;
        private final TensorSource files;
        private final ModelDescription description;
        private final WeightNames names;
        private final TransformerConfig config;
        private final DType dtype;
        private final Heads heads;
        private final LoadListener listener;
        private long totalBytes;
        private long parameters;
        private long normParameters;
        private long biasParameters;
        private long readBytes;
        private long packedBytes;

        Loader(Backend backend, Arena arena, ModelFiles files, DType dtype, Heads heads, LoadListener listener) {
            this.backend = backend;
            this.arena = arena;
            this.origin = files;
            this.files = files.tensors();
            this.description = files.description();
            this.names = resolved(description, this.files);
            this.config = description.transformer();
            this.dtype = dtype;
            this.heads = heads;
            this.listener = listener;
        }

        /// The form of names that the files have; the first form's absence is what a message should tell of otherwise.
        private static WeightNames resolved(ModelDescription description, TensorSource files) {
            return description.names().stream()
                    .filter(names -> files.has(names.embedding()))
                    .findFirst()
                    .orElse(description.names().getFirst());
        }

        /// For who has too little memory: what the weights take, and what would take less.
        String needs() {
            String all = "the weights take " + gib(parameters * dtype.bytes()) + " in " + dtype.label();
            OptionalLong free = backend.freeMemory();
            if (free.isEmpty()) {
                return all;
            }
            boolean narrower = dtype == DType.F32 && parameters * DType.BF16.bytes() <= free.getAsLong();
            return all + ", " + gib(free.getAsLong()) + " are free without them; "
                    + (narrower
                            ? "in bf16 they would fit: --dtype bf16"
                            : "close what else uses the device, or run with --backend cpu");
        }

        private static String gib(long bytes) {
            return String.format(Locale.ROOT, "%.2f GiB", bytes * 0x1p-30);
        }

        void checkAll() throws ModelFormatException {
            WeightNames n = names;
            int d = config.hiddenSize();
            boolean attention = config.biases().attention();
            boolean mlp = config.biases().mlp();
            expect(n.embedding(), config.vocabSize(), d);
            for (int i = 0; i < config.layers(); i++) {
                expect(WeightNames.at(n.inputNorm(), i), d);
                expect(WeightNames.at(n.postNorm(), i), d);
                int[] qkvRows = qkvRows();
                for (int p = 0; p < n.qkv().size(); p++) {
                    expectProduct(WeightNames.at(n.qkv().get(p), i), qkvRows[p], d, attention);
                }
                expectProduct(WeightNames.at(n.attentionOut(), i), d, config.attentionSize(), attention);
                for (String name : n.gateUp()) {
                    expectProduct(WeightNames.at(name, i), config.intermediateSize(), d, mlp);
                }
                expectProduct(WeightNames.at(n.down(), i), d, config.intermediateSize(), mlp);
                if (config.qkNorm() != null) {
                    for (int p = 0; p < 4; p++) {
                        String name = WeightNames.at(n.qkNorm().get(p), i);
                        int rows = normRows(name, p < 2 ? config.heads() : config.kvHeads());
                        totalBytes += files.info(name).bytes();
                        parameters += (long) rows * config.headDim();
                        normParameters += (long) rows * config.headDim();
                    }
                }
            }
            expect(n.finalNorm(), d);
            if (n.image() == null) {
                expect(n.head(), description.headRows(), d);
            } else {
                checkImage(n.image());
            }
            if (config.targetGrid() != null) {
                expect(n.targetGrid().get(0), config.targetGrid().height(), d);
                expect(n.targetGrid().get(1), config.targetGrid().width(), d);
            }
            checkConditions();
        }

        /// Bytes as they are counted while loading; {@link #checkAll} comes first.
        Size size() throws ModelFormatException {
            int d = config.hiddenSize();
            long element = dtype.bytes();
            long tables = (long) config.vocabSize() * d * element;
            long each = packedBytes(config.qkvSize(), d)
                    + packedBytes(d, config.attentionSize())
                    + packedBytes(2 * config.intermediateSize(), d)
                    + packedBytes(d, config.intermediateSize())
                    + 2L * d * Float.BYTES;
            long streamed = config.layers() * each + (normParameters + biasParameters + d) * Float.BYTES;
            long head;
            ImagePath image = names.image();
            if (image == null) {
                streamed += packedBytes(description.codes(), d);
                head = (long) description.codes() * d;
            } else {
                int hidden = headWidth(image);
                tables += (long) description.codes() * d * element;
                streamed += packedBytes(hidden, d) + packedBytes(description.codes(), hidden);
                streamed += (long) Float.BYTES * (hidden + description.codes());
                head = (long) hidden * (d + description.codes());
            }
            if (config.targetGrid() != null) {
                tables += (long) (config.targetGrid().height()
                                + config.targetGrid().width())
                        * d
                        * Float.BYTES;
            }
            ConditionShape condition = description.condition();
            if (condition != null && condition.kind() == ConditionShape.Kind.CAPTION) {
                tables += Float.BYTES
                        * (backend.kernels().packedElements(d, condition.captionWidth(), DType.F32)
                                + backend.kernels().packedElements(d, d, DType.F32));
            }
            return new Size(parameters, tables + streamed, streamed, head);
        }

        private long packedBytes(int nOut, int nIn) {
            return dtype.bytes() * backend.kernels().packedElements(nOut, nIn, dtype);
        }

        private void checkImage(ImagePath image) throws ModelFormatException {
            long[] embedding = files.info(image.embedding()).shape();
            int width = embedding.length == 2 ? Math.toIntExact(Math.min(embedding[1], 1 << 20)) : 0;
            expect(image.embedding(), description.codes(), width);
            for (Affine layer : image.aligner(files::has)) {
                expect(layer.weight(), config.hiddenSize(), width);
                expect(layer.bias(), config.hiddenSize());
                width = config.hiddenSize();
            }
            if (width != config.hiddenSize()) {
                throw misfit(files.info(image.embedding()), "an aligner to " + config.hiddenSize());
            }
            int hidden = headWidth(image);
            expect(image.headHidden().weight(), hidden, config.hiddenSize());
            expect(image.headHidden().bias(), hidden);
            expect(image.head().weight(), description.codes(), hidden);
            expect(image.head().bias(), description.codes());
        }

        private int headWidth(ImagePath image) throws ModelFormatException {
            TensorSource.Info info = files.info(image.headHidden().weight());
            if (info.shape().length != 2 || info.shape()[0] < 1 || info.shape()[0] > 1 << 20) {
                throw misfit(info, "[head_dim, " + config.hiddenSize() + "]");
            }
            return (int) info.shape()[0];
        }

        private void checkConditions() throws ModelFormatException {
            ConditionShape c = description.condition();
            if (c == null) {
                return;
            }
            if (c.kind() == ConditionShape.Kind.CLASS) {
                expect(ConditionShape.CLASS_TABLE, c.classes() + 1L, config.hiddenSize());
                return;
            }
            expect(ConditionShape.CAPTION_FIRST, config.hiddenSize(), c.captionWidth());
            expect(ConditionShape.CAPTION_SECOND, config.hiddenSize(), config.hiddenSize());
            expect(ConditionShape.NO_CAPTION, c.rows(), c.captionWidth());
        }

        private int[] qkvRows() {
            if (names.qkv().size() == 1) {
                return new int[] {config.qkvSize()};
            }
            int q = config.heads() * config.headDim();
            int kv = config.kvHeads() * config.headDim();
            return new int[] {q, kv, kv};
        }

        private void expectProduct(String name, int out, int in, boolean biased) throws ModelFormatException {
            expect(name, out, in);
            if (biased) {
                expect(WeightNames.bias(name), out);
                biasParameters += out;
            }
        }

        private void expect(String name, long... shape) throws ModelFormatException {
            TensorSource.Info info = files.info(name);
            if (!Arrays.equals(info.shape(), shape)) {
                throw misfit(info, Arrays.toString(shape));
            }
            dtypeOf(info.dtype(), info);
            totalBytes += info.bytes();
            parameters += Arrays.stream(shape).reduce(1, (a, b) -> a * b);
        }

        /// Rows of a norm's table: any number that divides the heads, whatever the configuration calls it.
        private int normRows(String name, int heads) throws ModelFormatException {
            TensorSource.Info info = files.info(name);
            long[] shape = info.shape();
            if (shape.length == 1 && shape[0] == config.headDim()) {
                dtypeOf(info.dtype(), info);
                return 1;
            }
            if (shape.length != 2 || shape[1] != config.headDim() || shape[0] < 1 || heads % shape[0] != 0) {
                throw misfit(info, "[a divisor of " + heads + " heads, " + config.headDim() + "]");
            }
            dtypeOf(info.dtype(), info);
            return (int) shape[0];
        }

        private ModelFormatException misfit(TensorSource.Info info, String expected) {
            return new ModelFormatException(
                    files.source(),
                    "tensor " + info + " should be " + expected + " by " + ModelDescription.CONFIG_FILE,
                    "the configuration and the weights belong to different models");
        }

        private DType dtypeOf(String dtype, Object tensor) throws ModelFormatException {
            return switch (dtype) {
                case "F32" -> DType.F32;
                case "BF16" -> DType.BF16;
                case "F16" -> DType.F16;
                default ->
                    throw new ModelFormatException(
                            files.source(),
                            "tensor " + tensor + " has a dtype that weights cannot have",
                            "convert it to F32, BF16 or F16");
            };
        }

        /// What is done with a tensor's bytes while they are there.
        @FunctionalInterface
        private interface Use {
            void with(Tensor staged);
        }

        /// Hands over the tensor in memory of the backend, as it is in the file, checked for NaN and infinity.
        private void staged(String name, Use use) throws IOException {
            try (Arena stage = Arena.ofShared()) {
                TensorEntry entry = files.read(name, stage);
                long bad = entry.firstNonFinite();
                if (bad >= 0) {
                    throw new ModelFormatException(
                            files.source(),
                            "tensor " + entry + " holds a number that is not finite at element " + bad,
                            "the checkpoint is damaged, or its training diverged");
                }
                DType from = dtypeOf(entry.dtype(), entry);
                if (backend.hostMemory() && entry.data().address() % from.bytes() == 0) {
                    use.with(Tensor.of(entry.data(), from, entry.shape()));
                } else {
                    Tensor staged = backend.allocate(stage, from, entry.shape());
                    backend.upload(staged, entry.data());
                    use.with(staged);
                }
                backend.synchronize();
                readBytes += entry.data().byteSize();
                files.release(entry);
                listener.loaded(Math.min(readBytes, totalBytes), totalBytes);
            }
        }

        Tensor table(String name, int rows, int width) throws IOException {
            return converted(arena, name, dtype, rows, width);
        }

        Tensor f32(String name, long... shape) throws IOException {
            return converted(arena, name, DType.F32, shape);
        }

        Tensor vector(String name, int width) throws IOException {
            return f32(name, width);
        }

        private Tensor converted(Arena owner, String name, DType to, long... shape) throws IOException {
            Tensor out = backend.allocate(owner, to, shape);
            staged(name, src -> backend.kernels().convert(out, src));
            packedBytes += owner == arena ? out.bytes() : 0;
            return out;
        }

        /// Embeddings of codes as the blocks take them. Computed in f32 whatever the weights are multiplied as: it is
        /// done once, and what it rounds would be rounded in every picture.
        Tensor alignedTable(ImagePath image) throws IOException {
            int codes = description.codes();
            Tensor out = backend.allocate(arena, dtype, codes, config.hiddenSize());
            packedBytes += out.bytes();
            try (Arena work = Arena.ofShared()) {
                int width = (int) files.info(image.embedding()).shape()[1];
                Tensor x = converted(work, image.embedding(), DType.F32, codes, width);
                List<Linear> layers = new ArrayList<>();
                for (Affine layer : image.aligner(files::has)) {
                    layers.add(affine(work, DType.F32, config.hiddenSize(), width, layer));
                    width = config.hiddenSize();
                }
                int rows = Math.min(ALIGN_ROWS, codes);
                Tensor a = backend.allocate(work, DType.F32, rows, width);
                Tensor b = backend.allocate(work, DType.F32, rows, width);
                for (int from = 0; from < codes; from += rows) {
                    int n = Math.min(rows, codes - from);
                    Tensor in = x.rows(from, n);
                    Tensor y = a.rows(0, n);
                    for (int l = 0; l < layers.size(); l++) {
                        Linear layer = layers.get(l);
                        if (l > 0) {
                            Tensor active = b.rows(0, n);
                            backend.kernels().gelu(batch(active), batch(y), null, false);
                            in = active;
                        }
                        backend.kernels().matmul(batch(y), batch(in), layer.weight(), layer.bias(), null, false);
                    }
                    backend.kernels().convert(out.rows(from, n), y);
                }
                backend.synchronize();
            }
            return out;
        }

        private static Tensor batch(Tensor rows) {
            return rows.view(1, rows.dim(0), rows.dim(1));
        }

        Tensor codeRows() {
            int[] forced = description.picture().forcedTokens();
            int[] ids = Arrays.copyOf(description.codeMap().tokens(), description.codes() + forced.length);
            System.arraycopy(forced, 0, ids, description.codes(), forced.length);
            Tensor rows = backend.allocate(arena, DType.I32, ids.length);
            backend.upload(rows, MemorySegment.ofArray(ids));
            return rows;
        }

        Layer layer(int i) throws IOException {
            WeightNames n = names;
            int d = config.hiddenSize();
            boolean attention = config.biases().attention();
            boolean mlp = config.biases().mlp();
            return new Layer(
                    vector(WeightNames.at(n.inputNorm(), i), d),
                    packed(config.qkvSize(), d, at(n.qkv(), i), attention),
                    config.qkNorm() == null ? null : qkNorm(config.qkNorm(), at(n.qkNorm(), i)),
                    packed(d, config.attentionSize(), List.of(WeightNames.at(n.attentionOut(), i)), attention),
                    vector(WeightNames.at(n.postNorm(), i), d),
                    packed(2 * config.intermediateSize(), d, at(n.gateUp(), i), mlp),
                    packed(d, config.intermediateSize(), List.of(WeightNames.at(n.down(), i)), mlp));
        }

        private QkNorm qkNorm(QkNormShape shape, List<String> tables) throws IOException {
            Tensor[] loaded = new Tensor[tables.size()];
            for (int p = 0; p < loaded.length; p++) {
                int rows = normRows(tables.get(p), p < 2 ? config.heads() : config.kvHeads());
                loaded[p] =
                        f32(tables.get(p), files.info(tables.get(p)).shape()).view(rows, config.headDim());
            }
            return new QkNorm(loaded[0], loaded[1], loaded[2], loaded[3], shape.eps());
        }

        private static List<String> at(List<String> names, int layer) {
            return names.stream().map(name -> WeightNames.at(name, layer)).toList();
        }

        private Linear packed(int nOut, int nIn, List<String> weights, boolean biased) throws IOException {
            Tensor dst = backend.allocate(arena, dtype, backend.kernels().packedElements(nOut, nIn, dtype));
            Tensor bias = biased ? backend.allocate(arena, DType.F32, nOut) : null;
            long row = 0;
            for (String name : weights) {
                long at = row;
                staged(name, src -> backend.kernels().packWeights(dst, src, at, nOut));
                long rows = files.info(name).shape()[0];
                if (bias != null) {
                    staged(WeightNames.bias(name), src -> backend.kernels().convert(bias.rows(at, rows), src));
                }
                row += rows;
            }
            packedBytes += dst.bytes() + (bias == null ? 0 : bias.bytes());
            return new Linear(dst, bias, nOut, nIn);
        }

        private Linear affine(Arena owner, DType type, int nOut, int nIn, Affine names) throws IOException {
            Tensor dst = backend.allocate(owner, type, backend.kernels().packedElements(nOut, nIn, type));
            staged(names.weight(), src -> backend.kernels().packWeights(dst, src, 0, nOut));
            packedBytes += owner == arena ? dst.bytes() : 0;
            return new Linear(dst, converted(owner, names.bias(), DType.F32, nOut), nOut, nIn);
        }

        /// The output head, cut down to the rows that may be sampled.
        Head head() throws IOException {
            ImagePath image = names.image();
            if (image != null) {
                int hidden = headWidth(image);
                return new Head(
                        affine(arena, dtype, hidden, config.hiddenSize(), image.headHidden()),
                        affine(arena, dtype, description.codes(), hidden, image.head()));
            }
            int codes = description.codes();
            int d = config.hiddenSize();
            if (!description.headByToken()) {
                return new Head(null, packed(codes, d, List.of(names.head()), false));
            }
            Tensor dst = backend.allocate(arena, dtype, backend.kernels().packedElements(codes, d, dtype));
            CodeMap map = description.codeMap();
            staged(names.head(), src -> {
                for (int code = 0; code < codes; code += map.runFrom(code)) {
                    Tensor rows = src.rows(map.token(code), map.runFrom(code));
                    backend.kernels().packWeights(dst, rows, code, codes);
                }
            });
            packedBytes += dst.bytes();
            return new Head(null, new Linear(dst, null, codes, d));
        }

        @Nullable
        Linear textHead() throws IOException {
            if (heads == Heads.CODES || !description.headByToken() && names.image() == null) {
                return null;
            }
            expect(names.head(), config.vocabSize(), config.hiddenSize());
            return packed(config.vocabSize(), config.hiddenSize(), List.of(names.head()), false);
        }

        @Nullable
        Conditions conditions() throws IOException {
            ConditionShape shape = description.condition();
            if (shape == null) {
                return null;
            }
            int d = config.hiddenSize();
            if (shape.kind() == ConditionShape.Kind.CLASS) {
                return new Conditions(
                        backend, shape, d, null, null, host(ConditionShape.CLASS_TABLE, (shape.classes() + 1) * d));
            }
            return new Conditions(
                    backend,
                    shape,
                    d,
                    plain(d, shape.captionWidth(), ConditionShape.CAPTION_FIRST),
                    plain(d, d, ConditionShape.CAPTION_SECOND),
                    host(ConditionShape.NO_CAPTION, shape.rows() * shape.captionWidth()));
        }

        /// Conditions are projected once per picture, in f32.
        private Linear plain(int nOut, int nIn, String name) throws IOException {
            Tensor dst = backend.allocate(arena, DType.F32, backend.kernels().packedElements(nOut, nIn, DType.F32));
            staged(name, src -> backend.kernels().packWeights(dst, src, 0, nOut));
            packedBytes += dst.bytes();
            return new Linear(dst, null, nOut, nIn);
        }

        private float[] host(String name, int count) throws IOException {
            float[] values = new float[count];
            try (Arena work = Arena.ofShared()) {
                backend.download(MemorySegment.ofArray(values), converted(work, name, DType.F32, count));
            }
            return values;
        }
    }
}
