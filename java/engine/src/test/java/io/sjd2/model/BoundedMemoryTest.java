package io.sjd2.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Loading a sharded checkpoint keeps no more in memory than the packed weights and one shard, whether files are
/// mapped or read. Another process loads, so that nothing but loading counts.
class BoundedMemoryTest {
    private static final Path STATUS = Path.of("/proc/self/status");
    private static final long SHARD = 24_000_000;
    /// What the process takes for itself while it loads: classes, code, garbage.
    private static final long OVERHEAD = 56_000_000;

    @TempDir
    Path folder;

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void loadingTakesTheWeightsAndOneShard(boolean map) throws IOException, InterruptedException {
        assumeTrue(Files.isReadable(STATUS), "no /proc here to tell the memory of a process");
        long files = write();
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--enable-native-access=ALL-UNNAMED",
                        "-Xmx64m",
                        "-XX:+UseSerialGC",
                        "-cp",
                        System.getProperty("java.class.path"),
                        BoundedMemoryTest.class.getName(),
                        folder.toString(),
                        Boolean.toString(map))
                .redirectErrorStream(true)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
        String[] numbers = output.lines()
                .filter(line -> line.startsWith("memory "))
                .findFirst()
                .orElseThrow(() -> new AssertionError(output))
                .split(" ");
        long grown = Long.parseLong(numbers[1]);
        long weights = Long.parseLong(numbers[2]);
        long limit = weights + SHARD + OVERHEAD;
        // Holding on to the files, or to half of them, must be seen.
        assertThat(files / 2).isGreaterThan(SHARD + OVERHEAD);
        assertThat(grown).isBetween(weights / 2, limit);
    }

    /// @return bytes of all files
    private long write() throws IOException {
        Map<String, Object> config = new LinkedHashMap<>();
        config.put("model_type", "sjd2");
        config.put("hidden_size", 1024);
        config.put("intermediate_size", 2816);
        config.put("num_hidden_layers", 8);
        config.put("num_attention_heads", 16);
        config.put("vocab_size", 1040);
        config.put("max_position_embeddings", 128);
        config.put("bos_token_id", 1);
        config.put("image_begin_token_id", 2);
        config.put("image_first_token_id", 16);
        config.put("image_codes", 1024);
        config.put("grid_height", 8);
        config.put("grid_width", 8);
        config.put("patch_size", 4);
        AtomicFiles.write(folder.resolve(ModelDescription.CONFIG_FILE), Json.prettyText(config));
        ModelDescription description = ModelDescription.read(folder);
        try (Arena arena = Arena.ofShared();
                SyntheticWeights weights = new SyntheticWeights(description, "test", 1)) {
            SafetensorsWriter writer = new SafetensorsWriter();
            for (String name : weights.names()) {
                TensorEntry entry = weights.read(name, arena);
                writer.add(name, entry.dtype(), entry.shape(), entry.data());
            }
            List<Path> shards = writer.writeFolder(folder, SHARD);
            assertThat(shards.size()).isGreaterThan(5);
            long bytes = 0;
            for (Path shard : shards) {
                bytes += Files.size(shard);
            }
            return bytes;
        }
    }

    /// Loads once and prints by how much memory grew at most, and what the weights take.
    public static void main(String[] args) throws IOException {
        Path model = Path.of(args[0]);
        ModelDescription description = ModelDescription.read(model);
        try (Backend backend = Backends.open("cpu", 1)) {
            long before = kibibytes("VmRSS:");
            try (ModelFiles files = ModelFiles.of(description, model, Boolean.parseBoolean(args[1]));
                    Transformer loaded =
                            Transformer.load(backend, files, DType.BF16, Transformer.Heads.CODES, LoadListener.NONE)) {
                long most = kibibytes("VmHWM:");
                System.out.println("memory " + ((most - before) << 10) + " " + loaded.weightBytes());
            }
        }
    }

    private static long kibibytes(String key) throws IOException {
        return Files.readAllLines(STATUS).stream()
                .filter(line -> line.startsWith(key))
                .map(line -> line.replaceAll("\\D", ""))
                .mapToLong(Long::parseLong)
                .findFirst()
                .orElseThrow();
    }
}
