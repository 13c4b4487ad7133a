package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.io.PngReader;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GenerateCommandTest {
    @TempDir
    static Path shared;

    private static String model;

    @TempDir
    Path folder;

    @BeforeAll
    static void writeModel() throws IOException {
        model = TinyModel.write(shared.resolve("tiny"), true).toString();
    }

    private Session generate(String... args) {
        String[] all = new String[args.length + 3];
        all[0] = "generate";
        all[1] = "--model";
        all[2] = model;
        System.arraycopy(args, 0, all, 3, args.length);
        return Session.run(all);
    }

    @Test
    void writesThePictureAndSaysWhatItCost() throws IOException {
        Path file = folder.resolve("circle.png");
        Session session = generate("a red circle", "--out", file.toString(), "--seed", "7", "--window", "8");
        assertThat(session.err()).doesNotContain("warning");
        assertThat(session.code()).isZero();
        assertThat(session.out())
                .contains(file.toString(), "passes", "256 tokens", "step compression", "window 8", "time", "seed 7");
        RgbImage image = PngReader.read(file);
        assertThat(image.width()).isEqualTo(64);
        assertThat(image.height()).isEqualTo(64);
        assertThat(PngReader.text(file))
                .containsAllEntriesOf(Map.of(
                        "prompt", "a red circle",
                        "seed", "7",
                        "model", "tiny",
                        "decoder", "sjd2-mc",
                        "window", "8",
                        "levels", "2",
                        "Software", "sjd2"));
        assertThat(TinyModel.files(folder)).containsExactly("circle.png");
    }

    /// Whatever was set, and whatever was not: the text of a PNG file holds all of it.
    @Test
    void theTextOfAPictureIsEnoughToMakeItAgain() throws IOException {
        List<List<String>> runs = List.of(
                List.of("--window", "12", "--levels", "3", "--restart", "2", "--cfg", "1.7", "--temperature", "0.8"),
                List.of("--decoder", "sjd-gs", "--top-k", "40", "--top-p", "0.9", "--window", "8", "--dtype", "bf16"),
                List.of("--decoder", "ar", "--sampler", "inverse-cdf", "--cfg", "1"),
                List.of());
        Map<String, String> options = Map.of(
                "seed",
                "--seed",
                "decoder",
                "--decoder",
                "sampler",
                "--sampler",
                "restart",
                "--restart",
                "cfg",
                "--cfg",
                "temperature",
                "--temperature",
                "top_k",
                "--top-k",
                "top_p",
                "--top-p",
                "dtype",
                "--dtype");
        for (List<String> run : runs) {
            Path file = folder.resolve("first.png");
            List<String> args =
                    new ArrayList<>(List.of("a blue star", "--seed", "11", "--json", "--out", file.toString()));
            args.addAll(run);
            Session session = generate(args.toArray(String[]::new));
            assertThat(session.code()).as(session.err()).isZero();
            Map<String, String> text = PngReader.text(file);
            Json json = Json.parse(session.out(), "standard output");
            Path again = folder.resolve("again.png");
            args = new ArrayList<>(List.of(text.get("prompt"), "--out", again.toString()));
            for (Map.Entry<String, String> option : options.entrySet()) {
                assertThat(json.has(option.getKey())).as(option.getKey()).isTrue();
                args.addAll(List.of(option.getValue(), text.get(option.getKey())));
            }
            if (!text.get("decoder").equals("ar")) {
                args.addAll(List.of("--window", text.get("window")));
            }
            if (!text.get("levels").equals("0")) {
                args.addAll(List.of("--levels", text.get("levels")));
            }
            Session second = generate(args.toArray(String[]::new));
            assertThat(second.code()).as(second.err()).isZero();
            assertThat(PngReader.read(again)).as("%s", run).isEqualTo(PngReader.read(file));
            assertThat(PngReader.text(again)).isEqualTo(text);
        }
    }

    @Test
    void jsonIsAllThatStandardOutputHolds() throws IOException {
        Path file = folder.resolve("circle.png");
        Session session = generate("a red circle", "--out", file.toString(), "--decoder", "ar", "--json");
        Json json = Json.parse(session.out(), "standard output");
        assertThat(json.get("prompt").string()).isEqualTo("a red circle");
        assertThat(json.get("seed").int64()).isZero();
        assertThat(json.get("decoder").string()).isEqualTo("ar");
        assertThat(json.get("window").int32()).isEqualTo(1);
        assertThat(json.get("passes").int32()).isEqualTo(256);
        assertThat(json.get("tokens").int32()).isEqualTo(256);
        assertThat(json.get("step_compression").number()).isEqualTo(1);
        assertThat(json.get("seconds").number()).isPositive();
        assertThat(json.get("ms_per_pass").number()).isPositive();
        assertThat(json.get("image").string()).isEqualTo(file.toString());
        assertThat(session.code()).isZero();
    }

    @Test
    void pictureOfManyEqualsThatPictureAlone() throws IOException {
        Path out = folder.resolve("star.png");
        Session several = generate(
                "a star",
                "--n",
                "3",
                "--out",
                out.toString(),
                "--window",
                "16",
                "--json",
                "--tokens-out",
                folder.resolve("star.json").toString());
        assertThat(several.code()).as(several.err()).isZero();
        List<Json> reports = Json.parse(several.out(), "standard output").items();
        assertThat(reports).hasSize(3);
        assertThat(reports.get(2).get("index").int32()).isEqualTo(2);
        assertThat(TinyModel.files(folder))
                .containsExactly("star-0.json", "star-0.png", "star-1.json", "star-1.png", "star-2.json", "star-2.png");
        Path alone = folder.resolve("alone.png");
        assertThat(generate("a star", "--out", alone.toString(), "--window", "16")
                        .code())
                .isZero();
        assertThat(PngReader.read(alone)).isEqualTo(PngReader.read(folder.resolve("star-0.png")));
        assertThat(PngReader.read(alone)).isNotEqualTo(PngReader.read(folder.resolve("star-1.png")));
    }

    @Test
    void tokensAndCodesTellTheSamePicture() throws IOException {
        Path tokens = folder.resolve("tokens.json");
        Session session =
                generate("a star", "--out", folder.resolve("star.png").toString(), "--tokens-out", tokens.toString());
        assertThat(session.code()).as(session.err()).isZero();
        Json json = Json.read(tokens);
        List<Json> ids = json.get("tokens").items();
        List<Json> rows = json.get("codes").items();
        assertThat(json.keys()).containsExactly("tokens", "codes");
        assertThat(ids).hasSize(256);
        assertThat(rows).hasSize(16);
        int first = ids.get(0).int32() - rows.get(0).items().get(0).int32();
        for (int i = 0; i < 256; i++) {
            assertThat(ids.get(i).int32() - rows.get(i / 16).items().get(i % 16).int32())
                    .isEqualTo(first);
        }
    }

    @Test
    void namesInAFolderAreTellingAndOverwriteNothing() throws IOException {
        String out = folder.resolve("new").toString();
        for (int i = 0; i < 2; i++) {
            assertThat(generate("A red circle!", "--seed", "5", "--out", out).code())
                    .isZero();
        }
        assertThat(TinyModel.files(folder.resolve("new")))
                .containsExactly("a-red-circle-seed5-2.png", "a-red-circle-seed5.png");
    }

    @Test
    void readsPromptsFromAFile() throws IOException {
        Path prompts = Files.writeString(folder.resolve("prompts.txt"), "a star\n\n  a red ring  \n");
        Session session = generate("--prompts", prompts.toString(), "--out", folder.toString(), "--json");
        List<Json> reports = Json.parse(session.out(), "standard output").items();
        assertThat(reports).hasSize(2);
        assertThat(reports.get(1).get("prompt").string()).isEqualTo("a red ring");
    }

    @Test
    void exactGivesTheTokensOfAutoregression() throws IOException {
        Path ar = folder.resolve("ar.json");
        Path exact = folder.resolve("exact.json");
        String png = folder.resolve("x.png").toString();
        generate("a star", "--decoder", "ar", "--seed", "3", "--out", png, "--tokens-out", ar.toString());
        generate(
                "a star",
                "--decoder",
                "exact",
                "--window",
                "24",
                "--seed",
                "3",
                "--out",
                png,
                "--tokens-out",
                exact.toString());
        assertThat(Files.readString(exact)).isEqualTo(Files.readString(ar));
    }

    @Test
    void warnsOfUnknownWordsAndListsTheKnownOnes() {
        Session session =
                generate("a red banana", "--out", folder.resolve("x.png").toString());
        assertThat(session.code()).isZero();
        assertThat(session.err()).contains("warning", "banana", "circle", "purple");
    }

    @Test
    void rawPromptIsAFlagOrCarriesTheText() throws IOException {
        Path asFlag = folder.resolve("flag.png");
        Path asValue = folder.resolve("value.png");
        assertThat(generate("--raw-prompt", "<bos> a star<boi>", "--out", asValue.toString())
                        .code())
                .isZero();
        assertThat(generate("<bos> a star<boi>", "--raw-prompt", "--out", asFlag.toString())
                        .code())
                .isZero();
        assertThat(PngReader.read(asFlag)).isEqualTo(PngReader.read(asValue));
    }
}
