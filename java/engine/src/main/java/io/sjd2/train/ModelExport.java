package io.sjd2.train;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.NoiseAdapter;
import io.sjd2.tensor.Tensor;
import io.sjd2.vq.ImageTokenizers;
import io.sjd2.vq.PatchTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Writes a trained network as a model folder in Hugging Face layout: bf16 weights, configuration, both tokenisers.
public final class ModelExport {
    private static final long MAX_FILE_BYTES = 8_000_000;
    private static final String TOKENIZER_FILE = "tokenizer.json";
    /// How a model draws unless told otherwise.
    public static final String GENERATION_FILE = "generation_config.json";
    /// What small models draw best with; see docs/decoding.md.
    private static final int TOP_K = 100;

    private static final double GUIDANCE = 1.5;

    private ModelExport() {}

    /// Writes the model that a trainer holds.
    ///
    /// @param average       the averaged weights instead of the current ones
    /// @param captionWords  the words that captions were written with
    /// @param tokenizerJson text of `tokenizer.json`
    /// @param folder        is made if it is not there; its `generation_config.json` stays, if it has one
    public static void write(
            Trainer trainer,
            boolean average,
            List<String> captionWords,
            String tokenizerJson,
            PatchTokenizer images,
            Path folder)
            throws IOException {
        Files.createDirectories(folder);
        Parameters params = trainer.parameters();
        Tensor flat = trainer.weights(average);
        NetworkShape shape = trainer.shape();
        SafetensorsWriter weights = new SafetensorsWriter().metadata("format", "pt");
        for (Parameters.Slot slot : params.slots()) {
            if (slot.entry().kind() != NetworkShape.Kind.LEVEL) {
                weights.addBf16(
                        slot.entry().name(),
                        slot.entry().shape(),
                        params.view(flat, slot.entry().name()).toFloats());
            }
        }
        weights.writeFolder(folder, MAX_FILE_BYTES);
        AtomicFiles.write(
                folder.resolve(ModelDescription.CONFIG_FILE),
                Json.prettyText(config(shape, trainer.vocabulary(), images.patch(), captionWords)) + "\n");
        AtomicFiles.write(folder.resolve(TOKENIZER_FILE), tokenizerJson.strip() + "\n");
        ImageTokenizers.save(images, folder.resolve(ImageTokenizers.FOLDER));
        if (!Files.exists(folder.resolve(GENERATION_FILE))) {
            AtomicFiles.write(folder.resolve(GENERATION_FILE), Json.prettyText(generation(trainer.vocabulary())));
        }
        if (trainer.options().objective() == Objective.SJD2_FINETUNE) {
            writeAdapter(trainer, flat, folder);
        } else {
            Files.deleteIfExists(folder.resolve(NoiseAdapter.SETTINGS_FILE));
            Files.deleteIfExists(folder.resolve(NoiseAdapter.TENSORS_FILE));
        }
    }

    private static Map<String, Object> config(
            NetworkShape shape, Vocabulary vocabulary, int patch, List<String> captionWords) {
        Map<String, Object> c = new LinkedHashMap<>();
        c.put("model_type", "sjd2");
        c.put("architectures", List.of("Sjd2ForImageGeneration"));
        c.put("hidden_size", shape.hiddenSize());
        c.put("intermediate_size", shape.intermediateSize());
        c.put("num_hidden_layers", shape.layers());
        c.put("num_attention_heads", shape.heads());
        c.put("num_key_value_heads", shape.kvHeads());
        c.put("head_dim", shape.headDim());
        c.put("rms_norm_eps", Double.parseDouble(Float.toString(shape.rmsNormEps())));
        c.put("rope_theta", shape.ropeTheta());
        c.put("vocab_size", vocabulary.size());
        c.put("max_position_embeddings", shape.maxPositions());
        c.put("torch_dtype", "bfloat16");
        // What generate warns by: a word that no caption had means nothing to the model.
        c.put("caption_words", captionWords);
        c.put("bos_token_id", vocabulary.bosToken());
        c.put("image_begin_token_id", vocabulary.imageBeginToken());
        c.put("image_first_token_id", vocabulary.firstImageToken());
        c.put("image_codes", vocabulary.codes());
        c.put("grid_height", vocabulary.gridHeight());
        c.put("grid_width", vocabulary.gridWidth());
        c.put("patch_size", patch);
        return c;
    }

    /// The decoder is left to the engine, which knows whether the model was fine-tuned.
    private static Map<String, Object> generation(Vocabulary vocabulary) {
        Map<String, Object> g = new LinkedHashMap<>();
        g.put("guidance_scale", GUIDANCE);
        g.put("temperature", 1.0);
        g.put("top_k", Math.min(TOP_K, vocabulary.codes()));
        g.put("top_p", 1.0);
        return g;
    }

    static void writeAdapter(Trainer trainer, Tensor flat, Path folder) throws IOException {
        NetworkShape shape = trainer.shape();
        Parameters params = trainer.parameters();
        float[][] norm = trainer.statistics(flat);
        long hidden = shape.hiddenSize();
        SafetensorsWriter tensors = new SafetensorsWriter()
                .addF32("sjd2.embedding_mean", new long[] {hidden}, norm[0])
                .addF32("sjd2.embedding_std", new long[] {hidden}, norm[1]);
        for (Parameters.Slot slot : params.slots()) {
            if (slot.entry().kind() == NetworkShape.Kind.LEVEL) {
                tensors.addF32(
                        slot.entry().name(),
                        slot.entry().shape(),
                        params.view(flat, slot.entry().name()).toFloats());
            }
        }
        tensors.write(folder.resolve(NoiseAdapter.TENSORS_FILE));
        NoiseOptions noise = trainer.options().noise();
        Map<String, Object> s = new LinkedHashMap<>();
        s.put("format", 1);
        s.put("parametrisation", "vp");
        s.put("rho", noise.rho());
        s.put("lambda_min", noise.lambdaMin());
        s.put("lambda_max", noise.lambdaMax());
        s.put("levels", 2);
        s.put("timestep_scale", noise.timestepScale());
        s.put("timestep_shift", noise.timestepShift());
        s.put("sinusoid_dim", shape.levelInputs());
        s.put("inference_lambda_min", 0.5);
        s.put("inference_lambda_max", 30.0);
        s.put("normalisation", "mean per dimension, one standard deviation");
        s.put("segment_tokens", List.of(noise.segmentMin(), noise.segmentMax()));
        s.put("noisy_share", noise.noisyShare());
        AtomicFiles.write(folder.resolve(NoiseAdapter.SETTINGS_FILE), Json.prettyText(s) + "\n");
    }
}
