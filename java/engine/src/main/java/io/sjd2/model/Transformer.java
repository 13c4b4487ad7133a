package io.sjd2.model;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Kernels.QkNorm;
import io.sjd2.model.TransformerConfig.QkNormShape;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The weights of one model, packed for one backend. Read-only once loaded, so any number of forward passes may share it;
/// owns its memory and gives it back in {@link #close()}.
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

    private final Backend backend;
    private final Arena arena;
    private final ModelDescription description;
    private final DType dtype;
    private final Tensor table;
    private final Tensor tokenRows;
    private final List<Layer> layers;
    private final Tensor finalNorm;
    private final Linear head;
    private final @Nullable Tensor rowEmbed;
    private final @Nullable Tensor columnEmbed;
    private final @Nullable NoiseAdapter noiseAdapter;
    private final long weightBytes;

    private Transformer(Loader from) throws IOException {
        this.backend = from.backend;
        this.arena = from.arena;
        this.description = from.description;
        this.dtype = from.dtype;
        TransformerConfig c = description.transformer();
        WeightNames names = description.names();
        from.checkAll();
        this.table = from.table(names.embedding(), c.vocabSize(), c.hiddenSize());
        this.tokenRows = from.codeRows();
        this.layers = new ArrayList<>(c.layers());
        for (int i = 0; i < c.layers(); i++) {
            layers.add(from.layer(i));
        }
        this.finalNorm = from.vector(names.finalNorm(), c.hiddenSize());
        this.head = from.head();
        if (c.targetGrid() != null) {
            this.rowEmbed = from.f32(names.targetGrid().get(0), c.targetGrid().height(), c.hiddenSize());
            this.columnEmbed = from.f32(names.targetGrid().get(1), c.targetGrid().width(), c.hiddenSize());
        } else {
            this.rowEmbed = null;
            this.columnEmbed = null;
        }
        this.noiseAdapter = NoiseAdapter.find(from.folder, c.hiddenSize()).orElse(null);
        this.weightBytes = from.packedBytes;
        backend.synchronize();
    }

    /// Loads the weights of a model folder.
    ///
    /// @param dtype  f32 or bf16: what the weights are stored and multiplied as
    /// @throws ModelFormatException naming the file and the tensor if one is missing, has another shape than the
    ///     configuration states, or holds a number that is not finite
    public static Transformer load(
            Backend backend, Path folder, ModelDescription description, DType dtype, LoadListener listener)
            throws IOException {
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException("dtype " + dtype.label() + " is not one of f32, bf16");
        }
        Arena arena = Arena.ofShared();
        try (SafetensorsFolder files = SafetensorsFolder.open(folder)) {
            return new Transformer(new Loader(backend, arena, folder, files, description, dtype, listener));
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

    /// Tells models apart without reading their weights: the configuration and the weights' size.
    public String fingerprint() {
        return description + "|" + weightBytes + "|" + (noiseAdapter != null);
    }

    /// What the next-clean-token fine-tuning added, or null.
    public @Nullable NoiseAdapter noiseAdapter() {
        return noiseAdapter;
    }

    /// `[vocab_size, hidden_size]` T.
    Tensor table() {
        return table;
    }

    /// `[codes]` i32: row of the table that a code's token has.
    Tensor tokenRows() {
        return tokenRows;
    }

    List<Layer> layers() {
        return layers;
    }

    Tensor finalNorm() {
        return finalNorm;
    }

    Linear head() {
        return head;
    }

    @Nullable Tensor rowEmbed() {
        return rowEmbed;
    }

    @Nullable Tensor columnEmbed() {
        return columnEmbed;
    }

    /// Frees the weights. Every forward pass over them must have ended.
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            backend.synchronize();
            arena.close();
        }
    }

    /// Reads, checks and packs. Shapes of all tensors are checked before anything is allocated, so that a configuration
    /// that lies about its sizes costs nothing.
    private static final class Loader {
        private final Backend backend;
        private final Arena arena;
        private final Path folder;
        private final SafetensorsFolder files;
        private final ModelDescription description;
        private final TransformerConfig config;
        private final DType dtype;
        private final LoadListener listener;
        private long totalBytes;
        private long readBytes;
        private long packedBytes;

        Loader(
                Backend backend,
                Arena arena,
                Path folder,
                SafetensorsFolder files,
                ModelDescription description,
                DType dtype,
                LoadListener listener) {
            this.backend = backend;
            this.arena = arena;
            this.folder = folder;
            this.files = files;
            this.description = description;
            this.config = description.transformer();
            this.dtype = dtype;
            this.listener = listener;
        }

        void checkAll() throws ModelFormatException {
            WeightNames n = description.names();
            int d = config.hiddenSize();
            expect(n.embedding(), config.vocabSize(), d);
            for (int i = 0; i < config.layers(); i++) {
                expect(WeightNames.at(n.inputNorm(), i), d);
                expect(WeightNames.at(n.postNorm(), i), d);
                int[] qkvRows = qkvRows();
                for (int p = 0; p < n.qkv().size(); p++) {
                    expect(WeightNames.at(n.qkv().get(p), i), qkvRows[p], d);
                }
                expect(WeightNames.at(n.attentionOut(), i), d, config.attentionSize());
                for (String name : n.gateUp()) {
                    expect(WeightNames.at(name, i), config.intermediateSize(), d);
                }
                expect(WeightNames.at(n.down(), i), d, config.intermediateSize());
                QkNormShape qk = config.qkNorm();
                if (qk != null) {
                    for (int p = 0; p < 4; p++) {
                        expect(
                                WeightNames.at(n.qkNorm().get(p), i),
                                p < 2 ? qk.queryRows() : qk.keyRows(),
                                config.headDim());
                    }
                }
            }
            expect(n.finalNorm(), d);
            expect(n.head(), description.headRows(), d);
            if (config.targetGrid() != null) {
                expect(n.targetGrid().get(0), config.targetGrid().height(), d);
                expect(n.targetGrid().get(1), config.targetGrid().width(), d);
            }
        }

        private int[] qkvRows() {
            int q = config.heads() * config.headDim();
            int kv = config.kvHeads() * config.headDim();
            return new int[] {q, kv, kv};
        }

        private void expect(String name, long... shape) throws ModelFormatException {
            TensorEntry entry = files.tensor(name);
            if (!Arrays.equals(entry.shape(), shape)) {
                throw new ModelFormatException(
                        folder.toString(),
                        "tensor " + entry + " should be " + Arrays.toString(shape) + " by " + ModelDescription.CONFIG_FILE,
                        "the configuration and the weights belong to different models");
            }
            dtypeOf(entry);
            totalBytes += entry.data().byteSize();
        }

        private DType dtypeOf(TensorEntry entry) throws ModelFormatException {
            return switch (entry.dtype()) {
                case "F32" -> DType.F32;
                case "BF16" -> DType.BF16;
                case "F16" -> DType.F16;
                default -> throw new ModelFormatException(
                        folder.toString(),
                        "tensor " + entry + " has a dtype that weights cannot have",
                        "convert it to F32, BF16 or F16");
            };
        }

        /// The tensor's bytes in memory of the backend, as they are in the file, checked for NaN and infinity.
        private Tensor staged(Arena stage, String name) throws ModelFormatException {
            TensorEntry entry = files.tensor(name);
            long bad = entry.firstNonFinite();
            if (bad >= 0) {
                throw new ModelFormatException(
                        folder.toString(),
                        "tensor " + entry + " holds a number that is not finite at element " + bad,
                        "the checkpoint is damaged, or its training diverged");
            }
            DType from = dtypeOf(entry);
            long[] shape = entry.shape().clone();
            readBytes += entry.data().byteSize();
            listener.loaded(readBytes, totalBytes);
            if (backend.hostMemory() && entry.data().address() % from.bytes() == 0) {
                return Tensor.of(entry.data(), from, shape);
            }
            Tensor staged = backend.allocate(stage, from, shape);
            backend.upload(staged, entry.data());
            return staged;
        }

        Tensor table(String name, int rows, int width) throws ModelFormatException {
            return converted(name, dtype, rows, width);
        }

        Tensor f32(String name, int rows, int width) throws ModelFormatException {
            return converted(name, DType.F32, rows, width);
        }

        Tensor vector(String name, int width) throws ModelFormatException {
            return converted(name, DType.F32, width);
        }

        private Tensor converted(String name, DType to, long... shape) throws ModelFormatException {
            Tensor out = backend.allocate(arena, to, shape);
            try (Arena stage = Arena.ofShared()) {
                backend.kernels().convert(out, staged(stage, name));
                backend.synchronize();
            }
            packedBytes += out.bytes();
            return out;
        }

        Tensor codeRows() {
            Tensor rows = backend.allocate(arena, DType.I32, description.codes());
            int[] ids = new int[description.codes()];
            for (int c = 0; c < ids.length; c++) {
                ids[c] = description.firstCode() + c;
            }
            backend.upload(rows, MemorySegment.ofArray(ids));
            return rows;
        }

        Layer layer(int i) throws ModelFormatException {
            WeightNames n = description.names();
            int d = config.hiddenSize();
            QkNorm qkNorm = null;
            if (config.qkNorm() != null) {
                QkNormShape qk = config.qkNorm();
                qkNorm = new QkNorm(
                        f32(WeightNames.at(n.qkNorm().get(0), i), qk.queryRows(), config.headDim()),
                        f32(WeightNames.at(n.qkNorm().get(1), i), qk.queryRows(), config.headDim()),
                        f32(WeightNames.at(n.qkNorm().get(2), i), qk.keyRows(), config.headDim()),
                        f32(WeightNames.at(n.qkNorm().get(3), i), qk.keyRows(), config.headDim()),
                        qk.eps());
            }
            return new Layer(
                    vector(WeightNames.at(n.inputNorm(), i), d),
                    packed(config.qkvSize(), d, at(n.qkv(), i)),
                    qkNorm,
                    packed(d, config.attentionSize(), List.of(WeightNames.at(n.attentionOut(), i))),
                    vector(WeightNames.at(n.postNorm(), i), d),
                    packed(2 * config.intermediateSize(), d, at(n.gateUp(), i)),
                    packed(d, config.intermediateSize(), List.of(WeightNames.at(n.down(), i))));
        }

        private static List<String> at(List<String> names, int layer) {
            return names.stream().map(name -> WeightNames.at(name, layer)).toList();
        }

        private Linear packed(int nOut, int nIn, List<String> names) throws ModelFormatException {
            Tensor dst = backend.allocate(arena, dtype, backend.kernels().packedElements(nOut, nIn, dtype));
            long row = 0;
            for (String name : names) {
                try (Arena stage = Arena.ofShared()) {
                    Tensor src = staged(stage, name);
                    backend.kernels().packWeights(dst, src, row, nOut);
                    backend.synchronize();
                    row += src.dim(0);
                }
            }
            packedBytes += dst.bytes();
            return new Linear(dst, null, nOut, nIn);
        }

        /// The output head, cut down to the rows that may be sampled: the others could only produce masked ids.
        Linear head() throws ModelFormatException {
            int d = config.hiddenSize();
            Tensor dst = backend.allocate(
                    arena, dtype, backend.kernels().packedElements(description.codes(), d, dtype));
            try (Arena stage = Arena.ofShared()) {
                Tensor src = staged(stage, description.names().head()).rows(description.headFirstRow(), description.codes());
                backend.kernels().packWeights(dst, src, 0, description.codes());
                backend.synchronize();
            }
            packedBytes += dst.bytes();
            return new Linear(dst, null, description.codes(), d);
        }
    }
}
