package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.sjd2.Diagnosis;
import io.sjd2.io.Json;
import io.sjd2.io.PngWriter;
import io.sjd2.tensor.RgbImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrainCommandTest {
    @TempDir
    Path folder;

    private Path tokenizer;

    @BeforeEach
    void writeTokenizer() throws IOException {
        boolean trains =
                Diagnosis.run(1).backends().stream().anyMatch(b -> b.name().equals("cpu") && b.available());
        assumeTrue(trains, "the native CPU library is not built: nothing here trains");
        tokenizer = TinyModel.write(folder.resolve("tiny"), false).resolve("vq");
    }

    private String[] train(Path out, String... more) {
        // Later options replace earlier ones, so that a test can vary any.
        List<String> args = new ArrayList<>(List.of(
                "train",
                "--out",
                out.toString(),
                "--image-tokenizer",
                tokenizer.toString(),
                "--hidden",
                "32",
                "--intermediate",
                "48",
                "--heads",
                "2",
                "--layers",
                "1",
                "--steps",
                "4",
                "--batch",
                "4",
                "--scenes",
                "32"));
        args.addAll(List.of(more));
        return args.toArray(String[]::new);
    }

    @Test
    void trainedAndTunedModelsMakePictures() throws IOException {
        Path base = folder.resolve("base");
        Path tuned = folder.resolve("tuned");
        Session trained = Session.run(train(base, "--json"));
        assertThat(trained.code()).as(trained.err()).isZero();
        Json report = Json.parse(trained.out(), "standard output");
        assertThat(report.get("steps").int64()).isEqualTo(4);
        assertThat(report.get("held_out_loss").number()).isBetween(0.1, 10.0);
        Session fine = Session.run(
                "finetune",
                "--model",
                base.toString(),
                "--out",
                tuned.toString(),
                "--steps",
                "2",
                "--batch",
                "2",
                "--scenes",
                "16");
        assertThat(fine.code()).as(fine.err()).isZero();
        assertThat(fine.out()).contains("held-out loss");
        Path picture = folder.resolve("x.png");
        Session made = Session.run(
                "generate",
                "--model",
                tuned.toString(),
                "--decoder",
                "sjd2-mc",
                "--window",
                "8",
                "--out",
                picture.toString(),
                "a red star");
        assertThat(made.code()).as(made.err()).isZero();
        assertThat(picture).exists();
    }

    /// Pictures of a colour each, under captions with words that no scene has.
    private Path pictures(int count) throws IOException {
        Path pictures = Files.createDirectory(folder.resolve("pictures"));
        SplittableRandom random = new SplittableRandom(6);
        for (int i = 0; i < count; i++) {
            byte[] rgb = new byte[3 * 80 * 64];
            random.nextBytes(rgb);
            PngWriter.write(pictures.resolve("p%02d.png".formatted(i)), new RgbImage(80, 64, rgb), Map.of());
            Files.writeString(
                    pictures.resolve("p%02d.txt".formatted(i)), i % 2 == 0 ? "A tabby cat" : "a dog, sleeping");
        }
        return pictures;
    }

    @Test
    void folderOfPicturesTrainsAndTunes() throws IOException {
        Path pictures = pictures(21);
        Path base = folder.resolve("cats");
        Session trained = Session.run(train(base, "--data", pictures.toString(), "--json"));
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(Json.parse(trained.out(), "standard output")
                        .get("held_out_loss")
                        .number())
                .isBetween(0.1, 10.0);
        Json config = Json.read(base.resolve("config.json"));
        assertThat(config.get("caption_words").toString())
                .contains("\"cat\"", "\"sleeping\"")
                .doesNotContain("circle");
        // A model draws as it did before it was tuned, but with the decoder that tuning is for.
        Files.writeString(
                base.resolve("generation_config.json"),
                "{\"decoder\": \"sjd-mc\", \"top_k\": 7, \"tokens_per_pass\": {\"sjd-mc\": {\"8\": 2.0}}}");
        Path tuned = folder.resolve("tuned-cats");
        Session fine = Session.run(
                "finetune",
                "--model",
                base.toString(),
                "--data",
                pictures.toString(),
                "--out",
                tuned.toString(),
                "--steps",
                "2",
                "--batch",
                "2");
        assertThat(fine.code()).as(fine.err()).isZero();
        Json settings = Json.read(tuned.resolve("generation_config.json"));
        assertThat(settings.get("top_k").int32()).isEqualTo(7);
        assertThat(settings.keys()).containsExactly("top_k");
        Session made = Session.run(
                "generate",
                "--model",
                tuned.toString(),
                "--json",
                "--window",
                "8",
                "--out",
                folder.resolve("cat.png").toString(),
                "a tabby cat under a circle");
        assertThat(made.code()).as(made.err()).isZero();
        assertThat(Json.parse(made.out(), "out").get("decoder").string()).isEqualTo("sjd2-mc");
        assertThat(made.err()).contains("under, circle");
    }

    @Test
    void imageTokeniserIsTrainedOnTheFolderToo() throws IOException {
        Path out = folder.resolve("own-codes");
        Session trained = Session.run(
                "train",
                "--data",
                pictures(4).toString(),
                "--out",
                out.toString(),
                "--hidden",
                "32",
                "--intermediate",
                "48",
                "--heads",
                "2",
                "--layers",
                "1",
                "--steps",
                "1",
                "--batch",
                "2");
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(trained.out()).contains("too few examples");
        assertThat(Json.read(out.resolve("vq/config.json")).get("codes").int32())
                .isEqualTo(512);
        assertThat(Json.read(out.resolve("generation_config.json")).get("top_k").int32())
                .isEqualTo(100);
    }

    @Test
    void folderWithoutPicturesOrCaptionsIsNamed() throws IOException {
        Path empty = Files.createDirectory(folder.resolve("empty"));
        Path out = folder.resolve("none");
        assertRefused(Session.run(train(out, "--data", empty.toString())), empty.toString(), "no pictures");
        Files.write(empty.resolve("lonely.png"), new byte[] {1});
        Session session = Session.run(train(out, "--data", empty.toString()));
        assertThat(session.firstError()).contains("lonely.png", "lonely.txt");
        assertThat(session.code()).isEqualTo(1);
        assertThat(out).doesNotExist();
    }

    @Test
    void stoppedRunGoesOnAndEndsAsIfItNeverStopped() throws IOException {
        Path whole = folder.resolve("whole");
        Path parts = folder.resolve("parts");
        assertThat(Session.run(train(whole)).code()).isZero();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        Console console = new Console(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                0);
        console.cancel();
        Session stopped = new Session(Sjd2.run(console, train(parts)), out, err);
        assertThat(stopped.code()).isEqualTo(130);
        assertThat(stopped.err()).contains("stopped after step 1");
        assertThat(parts.resolve("config.json")).doesNotExist();
        Session continued = Session.run(train(parts));
        assertThat(continued.code()).as(continued.err()).isZero();
        assertThat(continued.err()).contains("at step 1");
        assertThat(Files.readAllBytes(parts.resolve("model.safetensors")))
                .isEqualTo(Files.readAllBytes(whole.resolve("model.safetensors")));
    }

    @Test
    void wrongSettingsAreNamed() {
        Path out = folder.resolve("out");
        assertRefused(Session.run("train"), "--out");
        assertRefused(Session.run(train(out, "--optimizer", "magic")), "optimizer", "magic", "adamw");
        assertRefused(Session.run(train(out, "--lr", "-1")), "lr", "-1");
        assertRefused(Session.run(train(out, "--micro-batch", "3")), "micro-batch 3");
        assertRefused(Session.run(train(out, "--pass-over", "1")), "pass-over is 1");
        assertRefused(Session.run(train(out, "--scenes", "3")), "scenes is 3");
        assertRefused(Session.run(train(out, "--warmup", "9")), "warm-up");
        assertRefused(
                Session.run("finetune", "--model", "x", "--out", out.toString(), "--noisy-share", "2"), "noisy-share");
        assertThat(out).doesNotExist();
    }

    @Test
    void aRunThatDoesNotFitInMemoryIsRefusedBeforeItStarts() {
        Path out = folder.resolve("huge");
        Session session = Session.run(train(out, "--hidden", "16384", "--intermediate", "65536", "--layers", "500"));
        assertThat(session.code()).isEqualTo(Errors.FAILURE);
        assertThat(session.err())
                .contains("training needs", "GB of memory (weights and optimiser", "are available", "--micro-batch")
                .doesNotContain("\tat ");
        assertThat(out).doesNotExist();
    }

    private static void assertRefused(Session session, String... words) {
        assertThat(session.firstError()).contains(words);
        assertThat(session.code()).as(session.err()).isEqualTo(Errors.USAGE);
    }

    @Test
    void modelToTuneMustBeThere() {
        Path missing = folder.resolve("missing");
        Session session = Session.run(
                "finetune",
                "--model",
                missing.toString(),
                "--out",
                folder.resolve("out").toString());
        assertThat(session.code()).isEqualTo(1);
        assertThat(session.firstError()).contains(missing.toString());
    }
}
