package io.sjd2.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Made-up models on the command line.
class SyntheticCommandTest {
    @TempDir
    Path folder;

    @Test
    void inspectTellsCostsWithoutLoading() throws IOException {
        Session session = Session.run("inspect", "--model", "synthetic:llamagen-xl", "--window", "8", "--json");
        assertThat(session.code()).as(session.err()).isZero();
        Json json = Json.parse(session.out(), "standard output");
        assertThat(json.get("layers").int32()).isEqualTo(36);
        assertThat(json.get("kv_bytes_per_token").int64()).isEqualTo(180 * 1024);
        Json pass = json.get("pass");
        assertThat(pass.get("window").int32()).isEqualTo(8);
        assertThat(pass.get("sequences").int32()).isEqualTo(2);
        // Sixteen rows: twice the weights that a pass reads, and attention over what is cached.
        double products = 2.0 * 16 * pass.get("weight_bytes").int64() / 2;
        double attention = 4.0 * 16 * 36 * 1280 * pass.get("kv_len").int32();
        assertThat(pass.get("flop").number() / (products + attention)).isBetween(0.99, 1.01);
        assertThat(json.get("image_tokeniser").get("decode_flop").number()).isBetween(5e11, 2e12);
        assertThat(Session.run("inspect", "--model", "synthetic:llamagen-xl").out())
                .contains("a pass over window 16", "GFLOP", "KV cache");
    }

    @Test
    void generateRunsTheRealLoop() throws IOException {
        Path out = folder.resolve("noise.png");
        Session session = Session.run(
                "generate",
                "--model",
                "synthetic:lumina-mgpt-7b-768?layers=1&seed=5",
                "--size",
                "64x32",
                "--window",
                "4",
                "--out",
                out.toString(),
                "--json",
                "a red circle");
        assertThat(session.code()).as(session.err()).isZero();
        Json json = Json.parse(session.out(), "standard output");
        // Two codes by four, a row end behind each row, and the picture's end.
        assertThat(json.get("tokens").int32()).isEqualTo(11);
        assertThat(json.get("ms_per_pass").number()).isPositive();
        // The adapter of fine-tuned models is made up as well, so that their decoder is the default.
        assertThat(json.get("decoder").string()).isEqualTo("sjd2-mc");
        assertThat(json.get("levels").int32()).isPositive();
        assertThat(out).isNotEmptyFile();
    }

    @Test
    void presetsThatAreNotThereAreNamed() {
        Session session = Session.run("generate", "--model", "synthetic:emu4", "a red circle");
        assertThat(session.code()).isNotZero();
        assertThat(session.err()).contains("synthetic:emu4", "janus-pro-1b");
    }
}
