package io.sjd2.hostile;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import io.sjd2.GenerationSettings;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PictureReader;
import io.sjd2.io.PngReader;
import io.sjd2.io.PngWriter;
import io.sjd2.io.PytorchFile;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.reference.ReferenceBackend;
import io.sjd2.model.AdapterFiles;
import io.sjd2.model.LmFixture;
import io.sjd2.model.LoadListener;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.Transformer;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.RgbImage;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.tokenizer.WordTokenizerBuilder;
import io.sjd2.vq.VqConfig;
import io.sjd2.vq.YamlText;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// Every file is read, or refused by an error that is meant for it.
@Timeout(value = 30, unit = TimeUnit.MINUTES, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class HostileFilesTest {
    private static final long ALL = Long.getLong("sjd2.mutants", 100_000);
    private static final int THREADS = 2;
    /// What reading may allocate whatever the file's size, in bytes.
    private static final long ALLOWANCE = 16L << 20;

    private static final String TEXT = "A large red circle, 12 <boi> \u00e9\ud83d\ude00\n";

    @TempDir
    Path folder;

    /// Reads a file and everything in it.
    private interface Loader {
        /// @param place  a folder of this thread's own
        void read(byte[] file, Path place) throws IOException;
    }

    /// Tries a share of all mutants.
    ///
    /// @param perByte bytes that may be allocated for each of the file's
    private void attack(double share, Mutator mutator, List<byte[]> seeds, long perByte, Loader loader)
            throws Exception {
        for (byte[] seed : seeds) {
            loader.read(seed, Files.createDirectories(folder.resolve("sound")));
        }
        long count = Math.round(share * ALL);
        AtomicLong next = new AtomicLong();
        AtomicLong refused = new AtomicLong();
        AtomicReference<AssertionError> failure = new AtomicReference<>();
        ThreadMXBean memory = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < THREADS; t++) {
            Path place = Files.createDirectories(folder.resolve("thread-" + t));
            threads.add(Thread.ofPlatform().start(() -> {
                for (long i = next.getAndIncrement(); i < count && failure.get() == null; i = next.getAndIncrement()) {
                    byte[] file = mutator.make(seeds, i);
                    long before = memory.getCurrentThreadAllocatedBytes();
                    try {
                        loader.read(file, place);
                    } catch (ModelFormatException e) {
                        refused.incrementAndGet();
                    } catch (IOException | RuntimeException | Error e) {
                        failure.compareAndSet(null, new AssertionError("file " + i + ": " + e, e));
                    }
                    long taken = memory.getCurrentThreadAllocatedBytes() - before;
                    if (taken > ALLOWANCE + perByte * file.length) {
                        failure.compareAndSet(
                                null,
                                new AssertionError(
                                        "file " + i + " of " + file.length + " bytes: its reader took " + taken));
                    }
                }
            }));
        }
        for (Thread thread : threads) {
            thread.join();
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        // A test whose files are all sound, or all refused at the door, would prove nothing.
        assertThat(refused.get()).isBetween(count / 20, count - 1);
    }

    private static Path golden(String name) {
        try {
            return Path.of(HostileFilesTest.class.getResource("/golden/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError("the tests' resources are files", e);
        }
    }

    private static byte[] bytes(String name) throws IOException {
        return Files.readAllBytes(golden(name));
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /// Looks at every byte of a tensor, which is where a wrong extent would end the process.
    private static void touch(TensorEntry entry) {
        long sum = entry.elementCount();
        MemorySegment data = entry.data();
        for (long i = 0; i < data.byteSize(); i++) {
            sum += data.get(ValueLayout.JAVA_BYTE, i);
        }
        assertThat(entry + " " + sum).isNotEmpty();
        if (entry.dtype().equals("F32")
                || entry.dtype().equals("BF16")
                || entry.dtype().equals("F16")) {
            assertThat(entry.toFloats()).hasSize(Math.toIntExact(entry.elementCount()));
        }
    }

    private static void touch(SafetensorsFile file) throws ModelFormatException {
        for (String name : file.names()) {
            touch(file.tensor(name));
        }
    }

    @Test
    void safetensors() throws Exception {
        Path small = folder.resolve("small.safetensors");
        new SafetensorsWriter()
                .metadata("format", "pt")
                .addF32("a.weight", new long[] {3, 2}, new float[6])
                .addBf16("a.bias", new long[] {3}, new float[3])
                .addF32("empty", new long[] {0, 4}, new float[0])
                .write(small);
        List<byte[]> seeds = List.of(Files.readAllBytes(small), bytes("pytorch/expected.safetensors"));
        attack(0.25, Mutator.SAFETENSORS, seeds, 200, (file, place) -> {
            touch(SafetensorsFile.parse(MemorySegment.ofArray(file), "mutant.safetensors"));
        });
    }

    @Test
    void pytorchFiles() throws Exception {
        List<byte[]> seeds = List.of(bytes("pytorch/kinds.pt"), bytes("pytorch/legacy.pt"));
        attack(0.2, Mutator.BYTES, seeds, 2000, (file, place) -> {
            try (PytorchFile read = PytorchFile.parse(MemorySegment.ofArray(file), "mutant.pt")) {
                for (String name : read.names()) {
                    touch(read.tensor(name));
                }
                assertThat(read.values().toString()).isNotNull();
            }
        });
    }

    @Test
    void shardIndexes() throws Exception {
        Path model = Files.createDirectory(folder.resolve("model"));
        byte[] shard;
        SafetensorsWriter one = new SafetensorsWriter().addF32("a", new long[] {2}, new float[2]);
        one.addF32("b", new long[] {1}, new float[1]).write(model.resolve("one.safetensors"));
        shard = Files.readAllBytes(model.resolve("one.safetensors"));
        String index = "{\"metadata\": {\"total_size\": 12}, \"weight_map\": {\"a\": \"one.safetensors\", \"b\":"
                + " \"one.safetensors\"}}";
        // Were it reachable, reading it would succeed.
        Files.write(folder.resolve("model.safetensors"), shard);
        attack(0.06, Mutator.JSON, List.of(utf8(index)), 200, (file, place) -> {
            Path own = place.resolve("model");
            Files.createDirectories(own);
            Files.write(own.resolve("one.safetensors"), shard);
            Files.write(own.resolve(SafetensorsFolder.INDEX_FILE), file);
            Files.write(place.resolve("model.safetensors"), shard);
            try (SafetensorsFolder read = SafetensorsFolder.open(own)) {
                assertThat(read.fileNames()).allMatch("one.safetensors"::equals);
                for (String name : read.names()) {
                    touch(read.tensor(name));
                }
            }
        });
    }

    /// A configuration and the files beside it that it is read with.
    private static void describe(String name, byte[] config, Path place) throws IOException {
        Path own = Files.createDirectories(place.resolve(name));
        for (String beside : List.of("tokenizer.json", "tokenizer_config.json")) {
            Path file = LmFixture.folder(name).resolve(beside);
            if (Files.exists(file) && !Files.exists(own.resolve(beside))) {
                Files.copy(file, own.resolve(beside));
            }
        }
        Files.write(own.resolve(ModelDescription.CONFIG_FILE), config);
        assertThat(ModelDescription.read(own).toString()).isNotEmpty();
    }

    @Test
    void configurations() throws Exception {
        for (String name : List.of("chameleon", "emu3", "janus", "llamagen_c2i", "llamagen_t2i")) {
            byte[] config = Files.readAllBytes(LmFixture.folder(name).resolve(ModelDescription.CONFIG_FILE));
            attack(0.02, Mutator.JSON, List.of(config), 400, (file, place) -> describe(name, file, place));
        }
    }

    /// Whole models whose configuration lies about them.
    @Test
    void configurationsOfLoadedModels() throws Exception {
        for (String name : List.of("chameleon_swin", "janus", "llamagen_t2i")) {
            byte[] config = Files.readAllBytes(LmFixture.folder(name).resolve(ModelDescription.CONFIG_FILE));
            attack(0.001, Mutator.JSON, List.of(config), 6000, (file, place) -> {
                Path own = place.resolve(name);
                if (!Files.exists(own.resolve("model.safetensors"))) {
                    Files.createDirectories(own);
                    Files.copy(LmFixture.folder(name).resolve("model.safetensors"), own.resolve("model.safetensors"));
                }
                describe(name, file, place);
                try (Backend backend = new ReferenceBackend();
                        Transformer model = Transformer.load(
                                backend, own, ModelDescription.read(own), DType.F32, LoadListener.NONE)) {
                    assertThat(model.parameters()).isPositive();
                }
            });
        }
    }

    @Test
    void tokenizers() throws Exception {
        byte[] small = utf8(WordTokenizerBuilder.build(List.of("red", "circle"), 8));
        Loader loader = (file, place) -> {
            Tokenizer tokenizer = Tokenizer.parse(new String(file, StandardCharsets.UTF_8), "tokenizer.json");
            assertThat(tokenizer.decode(tokenizer.encode(TEXT, true), false)).isNotNull();
        };
        attack(0.08, Mutator.JSON, List.of(small), 2000, loader);
        List<byte[]> published = new ArrayList<>();
        for (String name : List.of("chameleon", "emu3", "emu3_tiktoken_split", "janus")) {
            published.add(bytes("tokenizer/" + name + "/tokenizer.json"));
        }
        attack(0.02, Mutator.JSON, published, 2000, loader);
    }

    @Test
    void adaptersOfFineTuning() throws Exception {
        Path model = Files.createDirectory(folder.resolve("adapter"));
        AdapterFiles.write(model);
        byte[] settings = Files.readAllBytes(model.resolve("sjd2.json"));
        byte[] tensors = Files.readAllBytes(model.resolve("sjd2.safetensors"));
        attack(0.04, Mutator.JSON, List.of(settings), 400, (file, place) -> {
            Files.write(place.resolve("sjd2.json"), file);
            Files.write(place.resolve("sjd2.safetensors"), tensors);
            AdapterFiles.read(place);
        });
        attack(0.03, Mutator.SAFETENSORS, List.of(tensors), 400, (file, place) -> {
            Files.write(place.resolve("sjd2.json"), settings);
            Files.write(place.resolve("sjd2.safetensors"), file);
            AdapterFiles.read(place);
        });
    }

    @Test
    void generationSettings() throws Exception {
        List<byte[]> seeds = List.of(
                Files.readAllBytes(LmFixture.folder("janus").resolve("generation_config.json")),
                utf8("{\"decoder\": \"sjd-mc\", \"guidance_scale\": 1.5, \"temperature\": 1.0, \"top_k\": 100,"
                        + " \"top_p\": 0.9}"));
        attack(0.04, Mutator.JSON, seeds, 400, (file, place) -> {
            Files.write(place.resolve("generation_config.json"), file);
            assertThat(GenerationSettings.read(place).temperature()).isPositive();
        });
    }

    @Test
    void imageTokenisers() throws Exception {
        List<byte[]> configs = List.of(
                bytes("vq/chameleon/vqgan/config.json"),
                bytes("vq/emu3/config.json"),
                bytes("vq/janus/config.json"),
                bytes("vq/llamagen_t2i/vq/config.json"));
        attack(0.04, Mutator.JSON, configs, 400, (file, place) -> {
            assertThat(VqConfig.parse(Json.parse(file, "config.json")).toString())
                    .isNotEmpty();
        });
        attack(0.03, Mutator.BYTES, List.of(bytes("pytorch/vqgan.yaml")), 2000, (file, place) -> {
            Path yaml = place.resolve("vqgan.yaml");
            Files.write(yaml, file);
            assertThat(VqConfig.parse(YamlText.read(yaml)).toString()).isNotEmpty();
        });
    }

    private static RgbImage picture() {
        byte[] rgb = new byte[3 * 24 * 17];
        for (int i = 0; i < rgb.length; i++) {
            rgb[i] = (byte) (i * i / 7);
        }
        return new RgbImage(24, 17, rgb);
    }

    @Test
    void pngPictures() throws Exception {
        List<byte[]> seeds =
                List.of(PngWriter.encode(picture(), Map.of("prompt", "a star")), bytes("vq/chameleon/golden/vq1.png"));
        attack(0.12, Mutator.PNG, seeds, 4000, (file, place) -> {
            assertThat(PngReader.text(file, "mutant.png")).isNotNull();
            assertThat(PictureReader.read(file, "mutant.png").width()).isPositive();
        });
    }

    @Test
    void jpegPictures() throws Exception {
        BufferedImage image = new BufferedImage(24, 17, BufferedImage.TYPE_INT_RGB);
        for (int i = 0; i < 24 * 17; i++) {
            image.setRGB(i % 24, i / 24, 0x010307 * i);
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ImageIO.write(image, "jpg", out);
        attack(0.047, Mutator.BYTES, List.of(out.toByteArray()), 10_000, (file, place) -> {
            assertThat(PictureReader.read(file, "mutant.jpg").width()).isPositive();
        });
    }
}
