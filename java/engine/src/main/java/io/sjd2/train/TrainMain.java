package io.sjd2.train;

import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.kernel.ffm.NativeStream;
import io.sjd2.kernel.ffm.NativeTrainingKernels;
import io.sjd2.scenes.SceneGenerator;
import io.sjd2.scenes.SceneVocabulary;
import io.sjd2.tensor.DType;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import io.sjd2.vq.PatchTokenizer;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/// Starts a run from the command line, `--key value` each: what the demo model is trained with.
public final class TrainMain {
    private TrainMain() {}

    public static void main(String[] args) throws IOException {
        Map<String, String> a = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            a.put(args[i].substring(2), args[i + 1]);
        }
        PatchTokenizer images = codebook(Path.of(a.get("codebook")));
        String json = WordTokenizerBuilder.build(SceneVocabulary.words(), images.codes());
        Tokenizer tokenizer = Tokenizer.parse(json, "tokenizer.json");
        Vocabulary vocabulary =
                Vocabulary.of(tokenizer, images.codes(), images.gridHeight(), images.gridWidth());
        int hidden = integer(a, "hidden", 256);
        NetworkShape shape = NetworkShape.demo(
                vocabulary.size(),
                vocabulary.codes(),
                images.gridHeight(),
                hidden,
                integer(a, "intermediate", 768),
                integer(a, "layers", 6),
                integer(a, "heads", hidden / 64),
                integer(a, "positions", 320));
        Objective objective = Objective.valueOf(a.getOrDefault("objective", "PRETRAIN"));
        TrainOptions d = TrainOptions.defaults(objective);
        NoiseOptions n = d.noise();
        TrainOptions options = d.withSeed(integer(a, "seed", 1))
                .withSteps(
                        integer(a, "steps", 1000),
                        integer(a, "warmup", (int) d.warmupSteps()),
                        integer(a, "decay", (int) d.decaySteps()))
                .withBatch(integer(a, "batch", 32), integer(a, "micro", 4))
                .withLearningRate(Float.parseFloat(a.getOrDefault("lr", Float.toString(d.learningRate()))))
                .withOptimizer(OptimizerKind.valueOf(a.getOrDefault("optimizer", "MUON")))
                .withEma(Float.parseFloat(a.getOrDefault("ema", Float.toString(d.emaDecay()))))
                .withDtype(DType.valueOf(a.getOrDefault("dtype", "BF16")))
                .withNoise(new NoiseOptions(
                        n.lambdaMin(),
                        n.lambdaMax(),
                        n.rho(),
                        Double.parseDouble(a.getOrDefault("noisy-share", "0.85")),
                        n.segmentMin(),
                        n.segmentMax(),
                        n.constantShare(),
                        n.risingShare(),
                        n.timestepScale(),
                        n.timestepShift()));
        if (a.containsKey("checkpoint")) {
            options = options.withCheckpoint(Path.of(a.get("checkpoint")), integer(a, "checkpoint-interval", 500));
        }
        PrintStream out = System.out;
        int exportEvery = integer(a, "export-interval", 0);
        int evalEvery = integer(a, "eval-interval", 500);
        try (SceneData data = new SceneData(
                        1, SceneGenerator.Split.TRAIN, integer(a, "scenes", 100_000), images, tokenizer);
                SceneData heldOut = new SceneData(2, SceneGenerator.Split.HELD_OUT, 256, images, tokenizer);
                NativeStream stream = CpuLibrary.get().openStream(integer(a, "threads", 2), MemorySegment.NULL);
                Trainer trainer = new Trainer(
                        new NativeTrainingKernels(stream, "cpu-" + CpuLibrary.get().isa()),
                        shape,
                        options,
                        vocabulary,
                        data)) {
            out.printf("%s, %s, %d weights, %s%n", shape, options, trainer.parameters().size(), vocabulary);
            data.makeAhead(integer(a, "producers", 1));
            if (!trainer.resume()) {
                if (a.containsKey("from-checkpoint")) {
                    trainer.loadCheckpoint(Path.of(a.get("from-checkpoint")), !"false".equals(a.get("average")));
                } else if (a.containsKey("from")) {
                    trainer.load(Path.of(a.get("from")));
                } else {
                    trainer.initialise(images);
                }
            }
            double[] mean = new double[2];
            long begin = System.nanoTime();
            trainer.run(p -> {
                mean[0] += p.loss();
                mean[1]++;
                if (p.step() % integer(a, "log-interval", 20) == 0) {
                    out.printf(
                            Locale.ROOT,
                            "step %d/%d loss %.4f norm %.3f lr %.5f %.1f images/s left %.0f s elapsed %.0f s%n",
                            p.step(),
                            p.steps(),
                            mean[0] / mean[1],
                            p.gradientNorm(),
                            p.learningRate(),
                            p.imagesPerSecond(),
                            p.secondsLeft(),
                            (System.nanoTime() - begin) * 1e-9);
                    mean[0] = 0;
                    mean[1] = 0;
                }
                if (p.step() % evalEvery == 0 || p.step() == p.steps()) {
                    out.printf(
                            Locale.ROOT,
                            "held-out %d: %.4f, averaged %.4f%n",
                            p.step(),
                            trainer.evaluate(heldOut, 128, false),
                            trainer.evaluate(heldOut, 128, true));
                }
                boolean last = p.step() == p.steps();
                if (a.containsKey("export") && (last || exportEvery > 0 && p.step() % exportEvery == 0)) {
                    try {
                        Path folder = Path.of(a.get("export"));
                        // After a decay the current weights are the better ones: the average lags behind.
                        ModelExport.write(trainer, !(last && "false".equals(a.get("average-last"))), json, images, folder);
                        out.println("exported " + folder + " at step " + p.step());
                    } catch (IOException e) {
                        throw new java.io.UncheckedIOException(e);
                    }
                }
                return true;
            });
        }
    }

    private static int integer(Map<String, String> a, String key, int fallback) {
        return a.containsKey(key) ? Integer.parseInt(a.get(key)) : fallback;
    }

    private static PatchTokenizer codebook(Path file) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        float[] values = new float[bytes.remaining() / Float.BYTES];
        bytes.asFloatBuffer().get(values);
        int patch = 4;
        return new PatchTokenizer(values, values.length / (3 * patch * patch), patch, 16, 16);
    }
}
