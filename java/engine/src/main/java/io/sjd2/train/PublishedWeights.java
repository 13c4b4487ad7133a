package io.sjd2.train;

import io.sjd2.io.FloatConversions;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PytorchFile;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Kernels.RopePairs;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.ModelFiles;
import io.sjd2.model.NoiseAdapter;
import io.sjd2.model.TransformerConfig;
import io.sjd2.model.TransformerConfig.NormPlacement;
import io.sjd2.model.WeightNames;
import io.sjd2.model.WeightNames.Affine;
import io.sjd2.model.WeightNames.ImagePath;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// The weights of a published checkpoint under its own names, as those of the network that is trained, and back.
///
/// Only rows of the output head that stand for codes are trained: the others take part in no loss. Rotary pairs that
/// lie side by side are brought into halves by exchanging rows of the projections of queries and keys, which changes
/// no score. What is not trained (conditions of LlamaGen, image tokenisers, other heads) is written as it was read.
public final class PublishedWeights implements AutoCloseable {
    private static final int MOST_WIDTH = 1 << 20;
    private static final String HEAD = "image_head.weight";
    private static final String REMEDY = "the configuration and the weights belong to different models";

    /// Rows of a file's tensor that make up one of the network's; all of them if null.
    private record Source(String tensor, int @Nullable [] rows) {}

    private final Path folder;
    private final ModelDescription description;
    private final WeightNames names;
    private final SourceFiles files;
    private final boolean tied;
    private final Map<String, Source> sources = new LinkedHashMap<>();

    /// The files of a folder that hold its language model, in whichever format.
    private static final class SourceFiles implements AutoCloseable {
        /// Files to write, each with the tensors that it holds, in order.
        private final Map<String, List<TensorEntry>> written = new LinkedHashMap<>();

        private final Map<String, Map<String, String>> metadata = new LinkedHashMap<>();
        private final Map<String, TensorEntry> tensors = new LinkedHashMap<>();
        /// Names of the files that were read.
        private final Set<String> read = new HashSet<>();

        private final List<AutoCloseable> open = new ArrayList<>();
        private final String source;

        private SourceFiles(Path folder) {
            this.source = folder.toString();
        }

        static SourceFiles open(Path folder, boolean map) throws IOException {
            SourceFiles files = new SourceFiles(folder);
            try {
                List<Path> pytorch = ModelFiles.pytorchFiles(folder);
                if (pytorch.isEmpty()) {
                    files.readSafetensors(folder, map);
                } else {
                    files.readPytorch(pytorch, map);
                }
                return files;
            } catch (IOException | RuntimeException | Error e) {
                files.close();
                throw e;
            }
        }

        private void readSafetensors(Path folder, boolean map) throws IOException {
            Set<String> names;
            try (SafetensorsFolder all = SafetensorsFolder.open(folder, map)) {
                names = all.fileNames();
            }
            for (String name : names) {
                SafetensorsFile file = SafetensorsFile.open(folder.resolve(name), map);
                open.add(file::close);
                read.add(name);
                metadata.put(name, file.metadata());
                List<TensorEntry> entries = new ArrayList<>();
                for (String tensor : file.names()) {
                    entries.add(file.tensor(tensor));
                }
                add(name, entries);
            }
        }

        private void readPytorch(List<Path> paths, boolean map) throws IOException {
            List<TensorEntry> entries = new ArrayList<>();
            for (Path path : paths) {
                PytorchFile file = PytorchFile.open(path, map);
                open.add(file::close);
                read.add(path.getFileName().toString());
                for (String tensor : file.names()) {
                    if (!tensors.containsKey(tensor)) {
                        entries.add(file.tensor(tensor));
                    }
                }
            }
            metadata.put(SafetensorsFolder.SINGLE_FILE, Map.of("format", "pt"));
            add(SafetensorsFolder.SINGLE_FILE, entries);
        }

        private void add(String file, List<TensorEntry> entries) {
            written.put(file, entries);
            entries.forEach(entry -> tensors.putIfAbsent(entry.name(), entry));
        }

        boolean has(String name) {
            return tensors.containsKey(name);
        }

        TensorEntry tensor(String name) throws ModelFormatException {
            TensorEntry entry = tensors.get(name);
            if (entry == null) {
                throw new ModelFormatException(
                        source, "has no tensor \"" + name + "\" among its " + tensors.size(), REMEDY);
            }
            return entry;
        }

        @Override
        public void close() {
            for (AutoCloseable file : open) {
                try {
                    file.close();
                } catch (Exception e) {
                    throw new AssertionError("closing a file of weights throws nothing", e);
                }
            }
        }
    }

    private PublishedWeights(Path folder, ModelDescription description, SourceFiles files) {
        this.folder = folder;
        this.description = description;
        this.files = files;
        this.names = description.names().stream()
                .filter(form -> files.has(form.embedding()))
                .findFirst()
                .orElse(description.names().getFirst());
        this.tied = names.head().equals(names.embedding());
        map();
    }

    /// Opens a model folder.
    ///
    /// @throws ModelFormatException if it holds no weights, or a file breaks its format
    public static PublishedWeights open(Path folder, ModelDescription description) throws IOException {
        SourceFiles files = SourceFiles.open(folder, true);
        try {
            return new PublishedWeights(folder, description, files);
        } catch (RuntimeException | Error e) {
            files.close();
            throw e;
        }
    }

    private void map() {
        TransformerConfig c = description.transformer();
        int head = c.headDim();
        int q = c.heads() * head;
        int kv = c.kvHeads() * head;
        for (int l = 0; l < c.layers(); l++) {
            String p = "model.layers." + l + ".";
            String[] parts = {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"};
            int[] heights = {q, kv, kv};
            for (int i = 0, first = 0; i < 3; first += heights[i++]) {
                boolean fused = names.qkv().size() == 1;
                int[] rows = IntStream.range(0, heights[i]).toArray();
                if (i < 2 && c.rope().pairs() == RopePairs.ADJACENT) {
                    Arrays.setAll(rows, r -> r - r % head + 2 * (r % head % (head / 2)) + r % head / (head / 2));
                }
                int from = fused ? first : 0;
                Arrays.setAll(rows, r -> rows[r] + from);
                sources.put(p + parts[i], new Source(at(names.qkv().get(fused ? 0 : i), l), rows));
            }
            put(p + "self_attn.o_proj.weight", at(names.attentionOut(), l));
            put(p + "mlp.gate_proj.weight", at(names.gateUp().get(0), l));
            put(p + "mlp.up_proj.weight", at(names.gateUp().get(1), l));
            put(p + "mlp.down_proj.weight", at(names.down(), l));
            if (c.biases().attention()) {
                for (String part : parts) {
                    // A bias belongs to the rows of its matrix, wherever those lie.
                    Source matrix = sources.get(p + part);
                    sources.put(
                            WeightNames.bias(p + part), new Source(WeightNames.bias(matrix.tensor()), matrix.rows()));
                }
                putBias(p + "self_attn.o_proj.weight");
            }
            if (c.biases().mlp()) {
                putBias(p + "mlp.gate_proj.weight");
                putBias(p + "mlp.up_proj.weight");
                putBias(p + "mlp.down_proj.weight");
            }
            put(p + "input_layernorm.weight", at(names.inputNorm(), l));
            put(p + "post_attention_layernorm.weight", at(names.postNorm(), l));
            for (int i = 0; i < names.qkNorm().size(); i++) {
                String name = List.of("q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias")
                        .get(i);
                put(p + "self_attn." + name, at(names.qkNorm().get(i), l));
            }
        }
        put("model.embed_tokens.weight", names.embedding());
        put("model.norm.weight", names.finalNorm());
        ImagePath image = names.image();
        if (image != null) {
            put("image.embedding.weight", image.embedding());
            List<Affine> aligner = image.aligner(files::has);
            for (int l = 0; l < aligner.size(); l++) {
                put("image.aligner." + l + ".weight", aligner.get(l).weight());
                put("image.aligner." + l + ".bias", aligner.get(l).bias());
            }
            put("image.head_hidden.weight", image.headHidden().weight());
            put("image.head_hidden.bias", image.headHidden().bias());
            put(HEAD, image.head().weight());
            put("image_head.bias", image.head().bias());
        } else if (!tied) {
            int[] rows = description.headByToken() ? description.codeMap().tokens() : null;
            sources.put(HEAD, new Source(names.head(), rows));
        }
    }

    private void put(String name, String tensor) {
        sources.put(name, new Source(tensor, null));
    }

    /// The bias beside a matrix that was put.
    private void putBias(String name) {
        Source matrix = sources.get(name);
        put(WeightNames.bias(name), WeightNames.bias(matrix.tensor()));
    }

    private static String at(String name, int layer) {
        return name.replace("{layer}", Integer.toString(layer));
    }

    /// The network that these are the weights of.
    ///
    /// @param positions longest sequence to train on, a prompt and its picture
    /// @throws IllegalArgumentException if the model does not take as many
    /// @throws ModelFormatException if the checkpoint is of a kind that is not built
    public NetworkShape shape(int positions) throws ModelFormatException {
        TransformerConfig c = description.transformer();
        if (positions > c.maxPositions()) {
            throw new IllegalArgumentException(
                    "a prompt and its picture take " + positions + " positions, the model has at most "
                            + c.maxPositions() + "; shorten the prompts or the pictures");
        }
        TransformerConfig.Grid plane = c.rope().plane();
        return new NetworkShape(
                c.vocabSize(),
                c.hiddenSize(),
                c.intermediateSize(),
                c.layers(),
                c.heads(),
                c.kvHeads(),
                c.headDim(),
                c.normEps(),
                c.rope().theta(),
                plane == null ? positions : c.maxPositions(),
                normRows(0),
                normRows(2),
                tied && names.image() == null ? "" : HEAD,
                description.codes(),
                0,
                0,
                64,
                c.hiddenSize(),
                "sjd2.time_embed.",
                c.placement() == NormPlacement.POST_BRANCH,
                new NetworkShape.Biases(c.biases().attention(), c.biases().mlp()),
                plane == null ? null : new NetworkShape.Plane(c.rope().conditionRows(), plane.height(), plane.width()),
                codes());
    }

    private NetworkShape.@Nullable Codes codes() throws ModelFormatException {
        ImagePath image = names.image();
        if (image == null) {
            return null;
        }
        long[] embedding = files.tensor(image.embedding()).shape();
        long[] head = files.tensor(image.headHidden().weight()).shape();
        if (embedding.length != 2 || head.length != 2 || embedding[1] > MOST_WIDTH || head[0] > MOST_WIDTH) {
            throw new ModelFormatException(
                    folder.toString(),
                    "has an embedding of codes " + Arrays.toString(embedding) + " and a head " + Arrays.toString(head),
                    "expected matrices");
        }
        return new NetworkShape.Codes(
                (int) embedding[1], image.aligner(files::has).size(), (int) head[0]);
    }

    /// The folder that was opened.
    Path folder() {
        return folder;
    }

    /// Bytes of the largest file, which is made in memory before it is written.
    public long largestFile() {
        return files.written.values().stream()
                .mapToLong(entries -> entries.stream()
                        .mapToLong(entry -> entry.data().byteSize())
                        .sum())
                .max()
                .orElse(0);
    }

    /// Rows of the norm whose weight has this place among the names, its bias the next; 0 without.
    private int normRows(int weight) throws ModelFormatException {
        if (names.qkNorm().isEmpty()) {
            return 0;
        }
        long[] shape = files.tensor(at(names.qkNorm().get(weight), 0)).shape();
        return shape.length == 1 ? 1 : Math.toIntExact(shape[0]);
    }

    /// Fills a network's weights.
    ///
    /// @throws ModelFormatException if a tensor is missing or has another shape
    void read(Parameters params) throws IOException {
        for (Map.Entry<String, Source> mapped : sources.entrySet()) {
            TensorEntry entry = files.tensor(mapped.getValue().tensor());
            Tensor into = params.value(mapped.getKey());
            check(entry, into, mapped.getValue().rows());
            int[] rows = mapped.getValue().rows();
            if (rows == null) {
                entry.copyToF32(into.data().asSlice(0, into.bytes()));
                continue;
            }
            long columns = columns(into);
            for (int r = 0; r < rows.length; r++) {
                row(entry, rows[r], columns).copyToF32(into.data().asSlice(4 * r * columns, 4 * columns));
            }
        }
    }

    /// Of a matrix' row; 1 of a vector's.
    private static long columns(Tensor tensor) {
        return tensor.rank() == 1 ? 1 : tensor.dim(1);
    }

    private static TensorEntry row(TensorEntry entry, long row, long columns) {
        long bytes = columns * entry.data().byteSize() / entry.elementCount();
        return new TensorEntry(
                entry.name(), entry.dtype(), new long[] {columns}, entry.data().asSlice(row * bytes, bytes));
    }

    private void check(TensorEntry entry, Tensor into, int @Nullable [] rows) throws ModelFormatException {
        long[] shape = entry.shape();
        boolean fits = rows == null
                ? entry.elementCount() == into.elements()
                : shape.length == into.rank()
                        && (shape.length == 1 || shape[1] == into.dim(1))
                        && Arrays.stream(rows).allMatch(row -> row < shape[0]);
        if (!fits || !Set.of("F32", "BF16", "F16").contains(entry.dtype())) {
            throw new ModelFormatException(
                    folder.toString(),
                    "tensor " + entry + " should have " + into.elements() + " numbers in F32, BF16 or F16",
                    REMEDY);
        }
    }

    /// Writes a trained network as the checkpoint that it came from: the same files with the same names, shapes and
    /// dtypes, and beside them what fine-tuning adds.
    ///
    /// @param average the averaged weights instead of the current ones
    /// @param out     is made if it is not there
    public void write(Trainer trainer, boolean average, Path out) throws IOException {
        Files.createDirectories(out);
        boolean inPlace = Files.isSameFile(folder, out);
        if (!inPlace) {
            copyOthers(out);
        }
        Tensor flat = trainer.weights(average);
        for (Map.Entry<String, List<TensorEntry>> file : files.written.entrySet()) {
            try (Arena arena = Arena.ofConfined()) {
                SafetensorsWriter writer = new SafetensorsWriter();
                files.metadata.getOrDefault(file.getKey(), Map.of()).forEach(writer::metadata);
                for (TensorEntry entry : file.getValue()) {
                    writer.add(
                            entry.name(),
                            entry.dtype(),
                            entry.shape(),
                            trained(entry, trainer.parameters(), flat, arena));
                }
                writer.write(out.resolve(file.getKey()));
            }
        }
        ModelExport.writeAdapter(trainer, flat, out);
    }

    /// A tensor's bytes with the trained rows in their places.
    private MemorySegment trained(TensorEntry entry, Parameters params, Tensor flat, Arena arena) {
        List<Map.Entry<String, Source>> parts = new ArrayList<>();
        for (Map.Entry<String, Source> mapped : sources.entrySet()) {
            if (mapped.getValue().tensor().equals(entry.name())) {
                parts.add(mapped);
            }
        }
        if (parts.isEmpty()) {
            return entry.data();
        }
        MemorySegment bytes = arena.allocate(entry.data().byteSize(), 64).copyFrom(entry.data());
        for (Map.Entry<String, Source> part : parts) {
            Tensor values = params.view(flat, part.getKey());
            int[] rows = part.getValue().rows();
            if (rows == null) {
                narrow(bytes, values.data(), values.elements(), entry.dtype());
                continue;
            }
            long columns = columns(values);
            long rowBytes = columns * entry.data().byteSize() / entry.elementCount();
            for (int r = 0; r < rows.length; r++) {
                narrow(
                        bytes.asSlice(rows[r] * rowBytes, rowBytes),
                        values.data().asSlice(4 * r * columns),
                        columns,
                        entry.dtype());
            }
        }
        return bytes;
    }

    private static void narrow(MemorySegment to, MemorySegment from, long count, String dtype) {
        switch (dtype) {
            case "BF16" -> FloatConversions.f32ToBf16(to, from, count);
            case "F16" -> FloatConversions.f32ToF16(to, from, count);
            default -> MemorySegment.copy(from, 0, to, 0, 4 * count);
        }
    }

    /// Everything beside the weights: configurations, tokenisers, image tokenisers. Hidden files stay behind.
    private void copyOthers(Path out) throws IOException {
        Set<String> weights = files.read;
        Path target = out.toRealPath();
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult preVisitDirectory(Path dir, BasicFileAttributes attributes) throws IOException {
                if (!dir.equals(folder) && dir.getFileName().toString().startsWith(".")
                        || dir.toRealPath().equals(target)) {
                    return FileVisitResult.SKIP_SUBTREE;
                }
                Files.createDirectories(out.resolve(folder.relativize(dir).toString()));
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Path name = folder.relativize(file);
                boolean left = name.toString().startsWith(".")
                        || name.getNameCount() == 1
                                && (weights.contains(name.toString())
                                        || name.toString().equals(NoiseAdapter.SETTINGS_FILE)
                                        || name.toString().equals(NoiseAdapter.TENSORS_FILE)
                                        || name.toString().equals(ModelExport.GENERATION_FILE));
                if (!left) {
                    Files.copy(file, out.resolve(name.toString()), StandardCopyOption.REPLACE_EXISTING);
                }
                return FileVisitResult.CONTINUE;
            }
        });
    }

    @Override
    public void close() {
        files.close();
    }
}
