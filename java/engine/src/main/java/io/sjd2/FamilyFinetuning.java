package io.sjd2;

import io.sjd2.Training.Listener;
import io.sjd2.Training.Result;
import io.sjd2.Training.Run;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.model.ConditionShape;
import io.sjd2.model.Conditions;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.ModelFiles;
import io.sjd2.model.Prompt;
import io.sjd2.model.Transformer;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.tensor.DType;
import io.sjd2.train.CaptionedPictures;
import io.sjd2.train.NetworkShape;
import io.sjd2.train.PublishedWeights;
import io.sjd2.train.TrainListener;
import io.sjd2.train.TrainOptions;
import io.sjd2.train.Trainer;
import io.sjd2.train.TrainingData;
import io.sjd2.train.TrainingData.Example;
import io.sjd2.train.TrainingData.Prompts;
import io.sjd2.train.TrainingMemory;
import io.sjd2.train.Vocabulary;
import io.sjd2.vq.ImageCodec;
import io.sjd2.vq.ImageTokenizer;
import io.sjd2.vq.ImageTokenizers;
import io.sjd2.vq.VqListener;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Fine-tunes a published checkpoint for the `sjd2` decoders.
///
/// Every weight that takes part in a picture's loss is trained: blocks, norms, embeddings, and the rows of the output
/// head that stand for codes; Janus' embedding, aligner and head of codes. LlamaGen's conditions stay as they are.
final class FamilyFinetuning {
    /// One example in this many is kept out of training, where there are as many.
    private static final int HELD_OUT_SHARE = 20;

    private static final String CODES = "codes";
    private static final String PROMPTS = "prompts";
    private static final String ATTENTION_MASK = "attention_mask";
    private static final String LABELS = "labels";
    private static final String CAPTION = "caption";
    private static final String CAPTION_MASK = "mask";
    /// Stands for a prompt where a frame needs one to leave it out.
    private static final String ANY_PROMPT = "a picture";
    /// Short enough for an int.
    private static final Pattern CLASS = Pattern.compile("[0-9]{1,9}");

    private final Path model;
    private final ModelDescription description;
    private final Run run;
    private final Path out;
    private final Listener listener;
    private final PromptFrame frame;

    private FamilyFinetuning(Path model, ModelDescription description, Run run, Path out, Listener listener)
            throws IOException {
        this.model = model;
        this.description = description;
        this.run = run;
        this.out = out;
        this.listener = listener;
        this.frame = PromptFrame.of(model, description);
    }

    static Result finetune(Path model, ModelDescription description, Run run, Path out, Listener listener)
            throws IOException {
        return new FamilyFinetuning(model, description, run, out, listener).run(run.publishedOptions());
    }

    /// Examples of one grid.
    private record Examples(Grid grid, List<Example> list) implements TrainingData {
        @Override
        public long size() {
            return list.size();
        }

        @Override
        public Example example(long index) {
            return list.get(Math.toIntExact(index));
        }

        Examples part(boolean heldOut) {
            List<Example> part = new ArrayList<>();
            for (int i = 0; i < list.size(); i++) {
                if (heldOut == (i % HELD_OUT_SHARE == HELD_OUT_SHARE - 1)) {
                    part.add(list.get(i));
                }
            }
            return new Examples(grid, List.copyOf(part));
        }

        int longestPrompt() {
            return list.stream()
                    .map(Example::prompts)
                    .mapToInt(prompts -> prompts == null ? 0 : prompts.longest())
                    .max()
                    .orElse(0);
        }
    }

    private Result run(TrainOptions options) throws IOException {
        long start = System.nanoTime();
        try (Backend backend = Backends.openForTraining(run.backend(), run.threads());
                PublishedWeights weights = PublishedWeights.open(model, description)) {
            // Before pictures are looked at: the least that a run takes is known from shapes alone.
            Grid usual = description.grid();
            need(weights, options, description.picture().length(usual) + 1, 1).require(TrainingMemory.available());
            Examples all = run.codes() != null ? fromCodes(backend, run.codes()) : fromPictures(backend);
            Grid grid = all.grid();
            Vocabulary vocabulary = Vocabulary.of(description, grid);
            int positions = all.longestPrompt() + description.picture().length(grid);
            NetworkShape shape = weights.shape(positions);
            TrainingMemory need = need(weights, options, positions, grid.cells());
            listener.note("training needs " + need);
            need.require(TrainingMemory.available());
            try (Trainer trainer = new Trainer(backend.training(), shape, options, vocabulary, all.part(false))) {
                if (trainer.resume()) {
                    listener.note("continuing " + options.checkpoint() + " at step " + trainer.step());
                } else {
                    trainer.load(weights);
                }
                TrainListener.Progress last = Training.steps(trainer, listener);
                listener.note("writing " + out);
                weights.write(trainer, run.average(), out);
                Training.copySettings(model, out);
                Examples heldOut = all.part(true);
                return new Result(
                        trainer.step(),
                        last == null ? Double.NaN : last.loss(),
                        heldOut.size() == 0
                                ? Double.NaN
                                : trainer.evaluate(heldOut, (int) heldOut.size(), run.average()),
                        last == null ? 0 : last.imagesPerSecond(),
                        (System.nanoTime() - start) * 1e-9,
                        out);
            }
        }
    }

    private TrainingMemory need(PublishedWeights weights, TrainOptions options, int positions, int cells)
            throws IOException {
        NetworkShape shape =
                weights.shape(Math.min(positions, description.transformer().maxPositions()));
        return TrainingMemory.of(shape, options, cells).withFile(weights.largestFile());
    }

    private Examples fromPictures(Backend backend) throws IOException {
        Path data = run.data();
        if (data == null) {
            throw new IllegalArgumentException("nothing to train " + model + " on: name a folder of pictures with"
                    + " captions with --data, or a file of codes with --codes");
        }
        CaptionedPictures pictures = CaptionedPictures.in(data);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < pictures.size(); i++) {
            requests.add(request(pictures, i));
        }
        listener.note("tokenising " + pictures.size() + " pictures");
        Grid grid = description.grid();
        List<Example> examples = new ArrayList<>();
        try (ImageCodec codec = ImageTokenizers.openCodec(model, backend, DType.F32, true);
                Arena arena = Arena.ofShared();
                ModelFiles files = ModelFiles.of(description, model, true)) {
            if (codec.codes() != description.codes()) {
                throw new ModelFormatException(
                        model.toString(),
                        "the image tokeniser has " + codec.codes() + " codes, the model " + description.codes(),
                        "model and image tokeniser belong to different models");
            }
            Conditions conditions = Transformer.loadConditions(backend, files, arena);
            ImageTokenizer images = codec.withGrid(grid.height(), grid.width(), VqListener.NONE);
            for (int i = 0; i < pictures.size(); i++) {
                int width = grid.width() * codec.factor();
                int height = grid.height() * codec.factor();
                int[] codes = images.encode(pictures.picture(i, width, height));
                examples.add(new Example(new int[0], codes, prompts(requests.get(i), grid, conditions)));
            }
        }
        return new Examples(grid, List.copyOf(examples));
    }

    /// What picture `index` is of: its caption; where the model takes classes the number that stands in the caption's
    /// place, where it takes features those in a safetensors file of the same name.
    private GenerationRequest request(CaptionedPictures pictures, int index) throws IOException {
        String caption = pictures.caption(index);
        ConditionShape shape = description.condition();
        if (shape == null) {
            return GenerationRequest.of(caption);
        }
        Condition condition;
        if (shape.kind() == ConditionShape.Kind.CLASS) {
            if (!CLASS.matcher(caption).matches() || Integer.parseInt(caption) >= shape.classes()) {
                throw new ModelFormatException(
                        pictures.beside(index, ".txt").toString(),
                        "says \"" + (caption.length() > 40 ? caption.substring(0, 40) + ".." : caption) + "\"",
                        "this model takes classes: write the number of one, 0 to " + (shape.classes() - 1));
            }
            condition = new Condition.Label(Integer.parseInt(caption));
        } else {
            Path features = pictures.beside(index, ".safetensors");
            if (!Files.isRegularFile(features)) {
                throw new ModelFormatException(
                        features.toString(),
                        "does not exist",
                        "this model takes features of captions, not text: write them there, as --caption-features"
                                + " takes them");
            }
            condition = Condition.Caption.read(features);
        }
        return GenerationRequest.of(ANY_PROMPT).withTarget(new GenerationRequest.Target(null, null, null, condition));
    }

    private Prompts prompts(GenerationRequest request, Grid grid, @Nullable Conditions conditions) {
        int room =
                description.transformer().maxPositions() - description.picture().length(grid);
        PromptFrame.Pair pair = frame.of(request, grid, conditions, room);
        return new Prompts(pair.conditional(), pair.unconditional());
    }

    /// `codes` I32 `[N, h, w]`, and what stands before them: metadata `prompts`, a JSON list of N texts; or
    /// `input_ids` (Janus: `text_ids`) I32 `[N, T]`, whole prompts, with `attention_mask` U8 `[N, T]` where they are
    /// padded; or LlamaGen's `labels` I32 `[N]`, or `caption` F32 `[N, T, width]` with `mask` U8 `[N, T]`. Without
    /// any of these every picture stands behind the sequence without a prompt.
    private Examples fromCodes(Backend backend, Path path) throws IOException {
        try (SafetensorsFile file = SafetensorsFile.open(path);
                Arena arena = Arena.ofShared();
                ModelFiles files = ModelFiles.of(description, model, true)) {
            TensorEntry entry = file.tensor(CODES);
            long[] shape = entry.shape();
            if (shape.length != 3 || entry.elementCount() < 1) {
                throw misfit(path, entry, "[N, height, width] with no empty axis");
            }
            Grid grid = gridOf(path, entry);
            int[] codes = ints(path, entry);
            for (int code : codes) {
                if (code < 0 || code >= description.codes()) {
                    throw new ModelFormatException(
                            path.toString(),
                            "tensor " + entry + " holds code " + code,
                            "the model's codes run from 0 to " + (description.codes() - 1));
                }
            }
            int n = Math.toIntExact(shape[0]);
            Conditions conditions = Transformer.loadConditions(backend, files, arena);
            List<Prompts> prompts = conditions == null
                    ? textPrompts(path, file, grid, n)
                    : conditioned(path, file, grid, n, conditions);
            List<Example> examples = new ArrayList<>();
            for (int i = 0; i < n; i++) {
                int[] one = Arrays.copyOfRange(codes, i * grid.cells(), (i + 1) * grid.cells());
                examples.add(new Example(new int[0], one, prompts.get(i)));
            }
            return new Examples(grid, List.copyOf(examples));
        }
    }

    private Grid gridOf(Path path, TensorEntry entry) throws ModelFormatException {
        int pixels = description.picture().pixels();
        try {
            int height = Math.multiplyExact(Math.toIntExact(entry.shape()[1]), pixels);
            int width = Math.multiplyExact(Math.toIntExact(entry.shape()[2]), pixels);
            return description.picture().gridOf(width, height, pixels);
        } catch (IllegalArgumentException | ArithmeticException e) {
            throw new ModelFormatException(
                    path.toString(), "tensor " + entry + ": " + e.getMessage(), "give pictures of such a size", e);
        }
    }

    private List<Prompts> textPrompts(Path path, SafetensorsFile file, Grid grid, int n) throws IOException {
        List<Prompts> prompts = new ArrayList<>();
        String texts = file.metadata().get(PROMPTS);
        if (texts != null) {
            List<Json> list = Json.parse(texts, path + ": metadata " + PROMPTS).items();
            if (list.size() != n) {
                throw new ModelFormatException(
                        path.toString(), "has " + list.size() + " prompts for " + n + " pictures", "give one for each");
            }
            for (Json text : list) {
                prompts.add(prompts(GenerationRequest.of(text.string()), grid, null));
            }
            return prompts;
        }
        Optional<TensorEntry> found = file.find(description.imageTable() ? "text_ids" : "input_ids");
        GenerationRequest any = GenerationRequest.of(ANY_PROMPT);
        if (found.isEmpty()) {
            Prompt none = Prompt.of(frame.unconditional(any, grid));
            for (int i = 0; i < n; i++) {
                prompts.add(new Prompts(none, none));
            }
            return prompts;
        }
        TensorEntry ids = found.get();
        if (ids.shape().length != 2 || ids.shape()[0] != n || ids.shape()[1] < 1) {
            throw misfit(path, ids, "[" + n + ", T], a prompt for each picture");
        }
        int length = Math.toIntExact(ids.shape()[1]);
        int[] all = ints(path, ids);
        boolean[] live = mask(path, file, ATTENTION_MASK, n, length);
        for (int i = 0; i < n; i++) {
            int[] row = new int[length];
            int count = 0;
            for (int t = 0; t < length; t++) {
                if (live[i * length + t]) {
                    row[count++] = all[i * length + t];
                }
            }
            int[] prompt = Arrays.copyOf(row, count);
            boolean known = Arrays.stream(prompt)
                    .allMatch(id -> id >= 0 && id < description.transformer().vocabSize());
            if (count == 0 || !known) {
                throw misfit(path, ids, "token ids, at least one of each prompt not masked");
            }
            prompts.add(new Prompts(Prompt.of(prompt), Prompt.of(frame.unconditionalOf(prompt, any, grid))));
        }
        return prompts;
    }

    private List<Prompts> conditioned(Path path, SafetensorsFile file, Grid grid, int n, Conditions conditions)
            throws IOException {
        List<Prompts> prompts = new ArrayList<>();
        ConditionShape shape = conditions.shape();
        if (shape.kind() == ConditionShape.Kind.CLASS) {
            Optional<TensorEntry> entry = file.find(LABELS);
            int[] labels = new int[n];
            Arrays.fill(labels, shape.classes());
            if (entry.isPresent()) {
                labels = ints(path, entry.get());
                if (labels.length != n) {
                    throw misfit(path, entry.get(), "[" + n + "], a class for each picture");
                }
            }
            for (int label : labels) {
                prompts.add(new Prompts(conditions.label(label), conditions.label(shape.classes())));
            }
            return prompts;
        }
        Optional<TensorEntry> entry = file.find(CAPTION);
        if (entry.isEmpty()) {
            boolean[] whole = new boolean[shape.rows()];
            Arrays.fill(whole, true);
            Prompt none = conditions.noCaption(whole);
            for (int i = 0; i < n; i++) {
                prompts.add(new Prompts(none, none));
            }
            return prompts;
        }
        TensorEntry captions = entry.get();
        long[] extents = captions.shape();
        if (extents.length != 3 || extents[0] != n || extents[1] < 1 || extents[2] != shape.captionWidth()) {
            throw misfit(path, captions, "[" + n + ", rows, " + shape.captionWidth() + "]");
        }
        int rows = Math.toIntExact(extents[1]);
        float[] features = captions.toFloats();
        boolean[] live = mask(path, file, CAPTION_MASK, n, rows);
        int size = rows * shape.captionWidth();
        for (int i = 0; i < n; i++) {
            Condition condition = new Condition.Caption(
                    Arrays.copyOfRange(features, i * size, (i + 1) * size),
                    Arrays.copyOfRange(live, i * rows, (i + 1) * rows));
            GenerationRequest request = GenerationRequest.of(ANY_PROMPT)
                    .withTarget(new GenerationRequest.Target(null, null, null, condition));
            prompts.add(prompts(request, grid, conditions));
        }
        return prompts;
    }

    /// All true where the file has no such mask.
    private static boolean[] mask(Path path, SafetensorsFile file, String name, int n, int length)
            throws ModelFormatException {
        boolean[] live = new boolean[Math.multiplyExact(n, length)];
        Arrays.fill(live, true);
        Optional<TensorEntry> mask = file.find(name);
        if (mask.isPresent()) {
            int[] values = ints(path, mask.get());
            if (values.length != live.length) {
                throw misfit(path, mask.get(), "[" + n + ", " + length + "]");
            }
            for (int i = 0; i < live.length; i++) {
                live[i] = values[i] != 0;
            }
        }
        return live;
    }

    private static int[] ints(Path path, TensorEntry entry) throws ModelFormatException {
        try {
            return entry.toInts();
        } catch (UnsupportedOperationException | ArithmeticException e) {
            throw misfit(path, entry, "32-bit integers");
        }
    }

    private static ModelFormatException misfit(Path path, TensorEntry entry, String expected) {
        return new ModelFormatException(
                path.toString(), "tensor " + entry + " should be " + expected, "write the file anew");
    }
}
