package io.sjd2;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.TransformerConfig;
import io.sjd2.scenes.SceneGenerator;
import io.sjd2.scenes.SceneVocabulary;
import io.sjd2.tensor.DType;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import io.sjd2.train.CaptionedPictures;
import io.sjd2.train.ImageFolderData;
import io.sjd2.train.ModelExport;
import io.sjd2.train.NetworkShape;
import io.sjd2.train.NoiseOptions;
import io.sjd2.train.Objective;
import io.sjd2.train.OptimizerKind;
import io.sjd2.train.SceneData;
import io.sjd2.train.TrainListener;
import io.sjd2.train.TrainOptions;
import io.sjd2.train.Trainer;
import io.sjd2.train.TrainingData;
import io.sjd2.train.TrainingMemory;
import io.sjd2.train.Vocabulary;
import io.sjd2.vq.ImageTokenizers;
import io.sjd2.vq.PatchCodebookTrainer;
import io.sjd2.vq.PatchTokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// Trains a small model on the built-in scenes or on a folder of pictures, or fine-tunes one for the `sjd2` decoders.
///
/// A run that was stopped, by the listener or by a kill, goes on from its checkpoint when it is started again with the
/// same arguments, and ends with the same weights as one that was never stopped.
public final class Training {
    private static final String OWN = "sjd2";
    private static final String TOKENIZER = "tokenizer.json";
    /// Generation settings that fine-tuning makes obsolete.
    private static final List<String> OF_ONE_DECODER = List.of("decoder", "tokens_per_pass");

    /// Seeds of the scenes; apart from each other, whatever the seed of the run.
    private static final long TRAIN_SCENES = 1;

    private static final long HELD_OUT_SCENES = 2;
    private static final int HELD_OUT = 256;
    /// Words of captions that become tokens of their own; others are spelled in bytes.
    private static final int MOST_WORDS = 4096;

    private Training() {}

    /// Size of a model that is trained from nothing.
    ///
    /// @param hiddenSize       width of the residual stream
    /// @param intermediateSize width inside the MLP
    /// @param layers           decoder blocks
    /// @param heads            attention heads; divides `hiddenSize`
    /// @param maxPositions     longest sequence, prompt and picture
    public record Size(int hiddenSize, int intermediateSize, int layers, int heads, int maxPositions) {
        /// That of the bundled demo model.
        public static final Size DEMO = new Size(256, 768, 6, 4, 320);

        public Size {
            if (heads < 1 || hiddenSize < 2 * heads || hiddenSize % (2 * heads) != 0) {
                throw new IllegalArgumentException("hidden " + hiddenSize + " with " + heads
                        + " heads: expected a multiple of twice the number of heads");
            }
        }
    }

    /// How to train; null takes what the demo model was trained with, which differs between the two objectives, unless
    /// stated.
    ///
    /// @param seed               of everything random
    /// @param steps              optimiser steps in all
    /// @param batch              pictures per step
    /// @param microBatch         pictures per forward and backward pass; divides `batch`. By default its largest
    /// divisor
    ///     up to 16, for a published checkpoint 1
    /// @param learningRate       after warm-up
    /// @param warmupSteps        steps of linear warm-up
    /// @param decaySteps         the last steps, over which the rate falls linearly to 0
    /// @param optimizer          for the matrices: `muon` or `adamw`
    /// @param emaDecay           of the averaged weights
    /// @param dtype              of products: `bf16` or `f32`
    /// @param thinning           frequency above which an image code gives its loss only now and then, until the rate
    ///                           falls; 0 keeps every loss
    /// @param noisyShare         share of sequences that carry noise; fine-tuning only
    /// @param checkpoint         file that a stopped run goes on from, or null for none
    /// @param checkpointInterval steps between checkpoints
    /// @param codes              file of image codes to fine-tune a published model on, or null; see docs/training.md
    /// @param data               folder of pictures with captions to train on, or null for the built-in scenes
    /// @param scenes             how many scenes to train on
    /// @param passOver           share of the built-in scenes with fewer than two relations that another one takes the
    ///                           place of; null: none
    /// @param backend            as in {@link EngineOptions}
    /// @param threads            as in {@link EngineOptions}
    /// @param average            whether the averaged weights are written in place of the last ones
    public record Run(
            @Nullable Long seed,
            @Nullable Long steps,
            @Nullable Integer batch,
            @Nullable Integer microBatch,
            @Nullable Float learningRate,
            @Nullable Long warmupSteps,
            @Nullable Long decaySteps,
            @Nullable String optimizer,
            @Nullable Float emaDecay,
            @Nullable String dtype,
            @Nullable Double thinning,
            @Nullable Double noisyShare,
            @Nullable Path checkpoint,
            @Nullable Long checkpointInterval,
            @Nullable Path codes,
            @Nullable Path data,
            int scenes,
            @Nullable Double passOver,
            String backend,
            int threads,
            boolean average) {

        /// @throws IllegalArgumentException naming the setting that is out of range
        private TrainOptions options(Objective objective) {
            return options(TrainOptions.defaults(objective));
        }

        /// For published models.
        ///
        /// @throws IllegalArgumentException naming the setting that is out of range
        TrainOptions publishedOptions() {
            return options(TrainOptions.published());
        }

        private TrainOptions options(TrainOptions d) {
            long all = or(steps, d.steps());
            // A short run keeps the shape of a long one.
            long warmup = or(warmupSteps, Math.min(d.warmupSteps(), all / 10));
            long decay = or(decaySteps, Math.min(d.decaySteps(), all / 2));
            float rate = or(learningRate, d.learningRate());
            if (all < 1 || warmup < 0 || decay < 0 || warmup + decay > all) {
                throw new IllegalArgumentException("steps is " + all + " with " + warmup + " of warm-up and " + decay
                        + " of decay, expected at least 1 and no less than the two together");
            }
            if (!(rate > 0 && rate < 10)) {
                throw new IllegalArgumentException("lr is " + rate + ", expected above 0, below 10");
            }
            int pictures = or(batch, d.batch());
            TrainOptions options = d.withSeed(or(seed, d.seed()))
                    .withSteps(all, warmup, decay)
                    .withBatch(pictures, or(microBatch, largestDivisor(pictures, d.microBatch())))
                    .withLearningRate(rate)
                    .withOptimizer(
                            optimizer == null ? d.optimizer() : constant(OptimizerKind.class, "optimizer", optimizer))
                    .withEma(or(emaDecay, d.emaDecay()))
                    .withDtype(dtype == null ? d.dtype() : constant(DType.class, "dtype", dtype))
                    .withThinning(thinning == null ? d.thinning() : thinning)
                    .withNoise(noise(d.noise()));
            if (passOver != null && !(passOver >= 0 && passOver < 1)) {
                throw new IllegalArgumentException("pass-over is " + passOver + ", expected 0 to below 1");
            }
            if (data == null && codes == null && scenes < options.batch()) {
                throw new IllegalArgumentException(
                        "scenes is " + scenes + ", expected at least one batch, " + options.batch());
            }
            return checkpoint == null
                    ? options
                    : options.withCheckpoint(checkpoint, or(checkpointInterval, d.checkpointInterval()));
        }

        private NoiseOptions noise(NoiseOptions d) {
            if (noisyShare == null) {
                return d;
            }
            if (!(noisyShare >= 0 && noisyShare <= 1)) {
                throw new IllegalArgumentException("noisy-share is " + noisyShare + ", expected 0 to 1");
            }
            return new NoiseOptions(
                    d.lambdaMin(),
                    d.lambdaMax(),
                    d.rho(),
                    noisyShare,
                    d.segmentMin(),
                    d.segmentMax(),
                    d.constantShare(),
                    d.risingShare(),
                    d.timestepScale(),
                    d.timestepShift());
        }

        /// `n` at most, `most` at most; 1 where there is no batch to divide.
        private static int largestDivisor(int n, int most) {
            int divisor = Math.min(n, most);
            while (divisor > 1 && n % divisor != 0) {
                divisor--;
            }
            return Math.max(1, divisor);
        }

        private static <T> T or(@Nullable T value, T fallback) {
            return value == null ? fallback : value;
        }

        private static <E extends Enum<E>> E constant(Class<E> type, String what, String name) {
            return Arrays.stream(type.getEnumConstants())
                    .filter(constant -> constant.name().equalsIgnoreCase(name))
                    .findFirst()
                    .orElseThrow(() -> new IllegalArgumentException(what + " is " + name + ", expected one of "
                            + Arrays.stream(type.getEnumConstants())
                                    .map(constant -> constant.name().toLowerCase(Locale.ROOT))
                                    .collect(Collectors.joining(", "))));
        }
    }

    /// Where a run stands.
    ///
    /// @param step            steps done
    /// @param steps           steps in all
    /// @param loss            of this step, nats per image token
    /// @param imagesPerSecond lately
    /// @param secondsLeft     at that rate
    public record Progress(long step, long steps, double loss, double imagesPerSecond, double secondsLeft) {}

    /// Watches a run.
    public interface Listener {
        /// Something that takes a while begins.
        void note(String text);

        /// After every step.
        void step(Progress progress);

        /// Asked after every step; true writes a checkpoint and ends the run.
        boolean cancelled();
    }

    /// What a run came to.
    ///
    /// @param steps           steps in all
    /// @param loss            of the last step, nats per image token; NaN if the checkpoint was already complete
    /// @param heldOutLoss     of clean held-out examples with the weights written, nats per image token; NaN if the
    /// data
    ///                        were too few to hold any out
    /// @param imagesPerSecond at the end
    /// @param seconds         of this run
    /// @param folder          the model
    public record Result(
            long steps, double loss, double heldOutLoss, double imagesPerSecond, double seconds, Path folder) {
        /// As JSON.
        public Map<String, Object> toJson() {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("steps", steps);
            json.put("loss", Double.isNaN(loss) ? null : loss);
            json.put("held_out_loss", Double.isNaN(heldOutLoss) ? null : heldOutLoss);
            json.put("images_per_second", imagesPerSecond);
            json.put("seconds", seconds);
            json.put("model", folder.toString());
            return json;
        }
    }

    /// Trains a model from nothing.
    ///
    /// @param tokenizer folder of the image tokeniser to use; null: the one in `out` if there is one, else one trained
    /// first
    /// @param out       folder that the model is written to
    /// @throws IllegalArgumentException if settings do not fit each other
    /// @throws CancellationException if the listener ends the run; the checkpoint holds what was reached
    public static Result train(Size size, Run run, @Nullable Path tokenizer, Path out, Listener listener)
            throws IOException {
        TrainOptions options = run.options(Objective.PRETRAIN);
        CaptionedPictures pictures = run.data() == null ? null : CaptionedPictures.in(run.data());
        PatchTokenizer images = imagesFor(tokenizer, pictures, out, listener);
        List<String> words = pictures == null ? SceneVocabulary.words() : pictures.words(MOST_WORDS);
        String json = WordTokenizerBuilder.build(words, images.codes());
        if (images.gridHeight() != images.gridWidth()) {
            throw new IllegalArgumentException("the image tokeniser has a grid of " + images.gridHeight() + " x "
                    + images.gridWidth() + ", expected a square one");
        }
        Tokenizer text = Tokenizer.parse(json, TOKENIZER);
        Vocabulary vocabulary = Vocabulary.of(text, images.codes(), images.gridHeight(), images.gridWidth());
        NetworkShape shape = NetworkShape.demo(
                vocabulary.size(),
                vocabulary.codes(),
                images.gridHeight(),
                size.hiddenSize(),
                size.intermediateSize(),
                size.layers(),
                size.heads(),
                size.maxPositions());
        return new Job(run, options, shape, vocabulary, images, words, json, text, pictures, out, listener).run(null);
    }

    /// Fine-tunes a model for the `sjd2` decoders: one of ours, or of a published family.
    ///
    /// @param model folder to start from
    /// @param out   folder that the tuned model is written to; may be the same
    /// @throws ModelFormatException if `model` is damaged, or not of the kind that this trains
    /// @throws IllegalStateException if the machine has not the memory that this takes, saying how much
    /// @throws CancellationException if the listener ends the run; the checkpoint holds what was reached
    public static Result finetune(Path model, Run run, Path out, Listener listener) throws IOException {
        // Settings before files: a wrong one is found without reading anything.
        TrainOptions options = run.options(Objective.SJD2_FINETUNE);
        ModelDescription description = ModelDescription.read(model);
        if (!description.family().equals(OWN)) {
            return FamilyFinetuning.finetune(model, description, run, out, listener);
        }
        if (run.codes() != null) {
            throw new IllegalArgumentException(
                    "codes is " + run.codes() + ", expected none: " + model + " learns from scenes or pictures");
        }
        TransformerConfig c = description.transformer();
        PatchTokenizer images = patches(model.resolve(ImageTokenizers.FOLDER));
        String json = Files.readString(model.resolve(TOKENIZER));
        Tokenizer text = Tokenizer.parse(json, model.resolve(TOKENIZER).toString());
        Vocabulary vocabulary = Vocabulary.of(text, images.codes(), images.gridHeight(), images.gridWidth());
        if (c.kvHeads() != c.heads() || images.gridHeight() != images.gridWidth()) {
            throw new ModelFormatException(
                    model.toString(),
                    "has " + c.kvHeads() + " key and value heads and a grid of " + images.gridHeight() + " x "
                            + images.gridWidth(),
                    "only models as `train` makes them can be fine-tuned");
        }
        NetworkShape shape = NetworkShape.demo(
                vocabulary.size(),
                vocabulary.codes(),
                images.gridHeight(),
                c.hiddenSize(),
                c.intermediateSize(),
                c.layers(),
                c.heads(),
                c.maxPositions());
        CaptionedPictures pictures = run.data() == null ? null : CaptionedPictures.in(run.data());
        Set<String> words = new LinkedHashSet<>(description.captionWords());
        words.addAll(pictures == null ? List.of() : pictures.words(MOST_WORDS));
        return new Job(run, options, shape, vocabulary, images, List.copyOf(words), json, text, pictures, out, listener)
                .run(model);
    }

    private static PatchTokenizer imagesFor(
            @Nullable Path tokenizer, @Nullable CaptionedPictures pictures, Path out, Listener listener)
            throws IOException {
        if (tokenizer != null) {
            return patches(tokenizer);
        }
        Path own = out.resolve(ImageTokenizers.FOLDER);
        if (Files.exists(own)) {
            return patches(own);
        }
        listener.note("training the image tokeniser, about half a minute");
        PatchCodebookTrainer.Settings settings = PatchCodebookTrainer.Settings.DEMO;
        float[] table;
        if (pictures == null) {
            SceneGenerator scenes = new SceneGenerator(TRAIN_SCENES, SceneGenerator.Split.TRAIN);
            table = PatchCodebookTrainer.train(i -> scenes.scene(i).image(), settings);
        } else {
            settings = settingsFor(pictures.size());
            table = codebook(pictures, settings);
        }
        int grid = SceneGenerator.SIDE / settings.patch();
        PatchTokenizer images = new PatchTokenizer(table, settings.codes(), settings.patch(), grid, grid);
        // Kept at once: whoever continues a stopped run must find the same codes.
        ImageTokenizers.save(images, own);
        return images;
    }

    /// Those of the demo, without codes set aside for paper: photographs have none.
    private static PatchCodebookTrainer.Settings settingsFor(int pictures) {
        PatchCodebookTrainer.Settings d = PatchCodebookTrainer.Settings.DEMO;
        return new PatchCodebookTrainer.Settings(
                d.codes(),
                0,
                d.patch(),
                Math.min(d.images(), pictures),
                0,
                d.busySamples(),
                d.quietContrast(),
                d.rounds(),
                1,
                d.seed());
    }

    private static float[] codebook(CaptionedPictures pictures, PatchCodebookTrainer.Settings settings)
            throws IOException {
        int side = SceneGenerator.SIDE;
        int patches = settings.images() * (side / settings.patch()) * (side / settings.patch());
        if (patches < 2 * settings.codes()) {
            throw new IllegalArgumentException(pictures.size() + " pictures have " + patches
                    + " patches, too few to train an image tokeniser of " + settings.codes()
                    + " codes on; add pictures, or name the folder of one with --image-tokenizer");
        }
        try {
            return PatchCodebookTrainer.train(
                    i -> {
                        try {
                            return pictures.picture(Math.toIntExact(i), side, side);
                        } catch (IOException e) {
                            throw new UncheckedIOException(e);
                        }
                    },
                    settings);
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
    }

    private static PatchTokenizer patches(Path folder) throws IOException {
        if (ImageTokenizers.load(folder) instanceof PatchTokenizer patches) {
            return patches;
        }
        throw new ModelFormatException(folder.toString(), "is no patch tokeniser", "only those can be trained with");
    }

    private record Job(
            Run run,
            TrainOptions options,
            NetworkShape shape,
            Vocabulary vocabulary,
            PatchTokenizer images,
            List<String> words,
            String tokenizerJson,
            Tokenizer text,
            @Nullable CaptionedPictures pictures,
            Path out,
            Listener listener) {

        Result run(@Nullable Path from) throws IOException {
            if (pictures != null) {
                listener.note("tokenising " + pictures.size() + " pictures");
                ImageFolderData all = ImageFolderData.open(
                        pictures,
                        images.gridWidth() * images.patch(),
                        images.gridHeight() * images.patch(),
                        images,
                        text);
                return run(from, all.training(), all.heldOut());
            }
            SceneGenerator scenes = new SceneGenerator(
                    TRAIN_SCENES, SceneGenerator.Split.TRAIN, run.passOver() == null ? 0 : run.passOver());
            try (SceneData data = new SceneData(scenes, run.scenes(), images, text);
                    SceneData heldOut =
                            new SceneData(HELD_OUT_SCENES, SceneGenerator.Split.HELD_OUT, HELD_OUT, images, text)) {
                data.makeAhead(1);
                return run(from, data, heldOut);
            }
        }

        private Result run(@Nullable Path from, TrainingData data, TrainingData heldOut) throws IOException {
            long start = System.nanoTime();
            TrainingMemory need = TrainingMemory.of(shape, options);
            listener.note("training needs " + need);
            need.require(TrainingMemory.available());
            try (Backend backend = Backends.openForTraining(run.backend(), run.threads());
                    Trainer trainer = new Trainer(backend.training(), shape, options, vocabulary, data)) {
                if (trainer.resume()) {
                    listener.note("continuing " + options.checkpoint() + " at step " + trainer.step());
                } else if (from != null) {
                    trainer.load(from);
                } else {
                    trainer.initialise(images);
                }
                TrainListener.Progress last = steps(trainer, listener);
                listener.note("writing " + out);
                if (from != null) {
                    copySettings(from, out);
                }
                ModelExport.write(trainer, run.average(), words, tokenizerJson, images, out);
                return new Result(
                        trainer.step(),
                        last == null ? Double.NaN : last.loss(),
                        heldOut.size() == 0
                                ? Double.NaN
                                : trainer.evaluate(heldOut, (int) Math.min(HELD_OUT, heldOut.size()), run.average()),
                        last == null ? 0 : last.imagesPerSecond(),
                        (System.nanoTime() - start) * 1e-9,
                        out);
            }
        }
    }

    /// Trains until the end.
    ///
    /// @return the last step's progress, or null if there was none left to do
    /// @throws CancellationException if the listener ends the run
    static TrainListener.@Nullable Progress steps(Trainer trainer, Listener listener) throws IOException {
        TrainListener.Progress[] last = new TrainListener.Progress[1];
        boolean[] stopped = new boolean[1];
        trainer.run(progress -> {
            last[0] = progress;
            listener.step(new Progress(
                    progress.step(),
                    progress.steps(),
                    progress.loss(),
                    progress.imagesPerSecond(),
                    progress.secondsLeft()));
            stopped[0] = listener.cancelled() && progress.step() < progress.steps();
            return !stopped[0];
        });
        if (stopped[0]) {
            throw new CancellationException("stopped after step " + trainer.step());
        }
        return last[0];
    }

    /// A tuned model draws with the settings of the one it was made of, but for the decoder and what that measured.
    static void copySettings(Path from, Path out) throws IOException {
        Path settings = from.resolve(ModelExport.GENERATION_FILE);
        Path copy = out.resolve(ModelExport.GENERATION_FILE);
        if (Files.exists(settings) && !Files.exists(copy)) {
            Map<String, Object> kept = new LinkedHashMap<>();
            Json all = Json.read(settings);
            for (String key : all.keys()) {
                if (!OF_ONE_DECODER.contains(key)) {
                    kept.put(key, all.get(key));
                }
            }
            Files.createDirectories(out);
            AtomicFiles.write(copy, Json.prettyText(kept));
        }
    }
}
