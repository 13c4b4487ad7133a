package io.sjd2.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsTest {
    @TempDir
    Path folder;

    private static byte[] file(String header, int bufferBytes) {
        byte[] text = header.getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(8 + text.length + bufferBytes)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(text.length)
                .put(text)
                .array();
    }

    private static SafetensorsFile parse(byte[] bytes) throws ModelFormatException {
        return SafetensorsFile.parse(MemorySegment.ofArray(bytes), "x.safetensors");
    }

    private static String entry(String dtype, String shape, String offsets) {
        return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void whatIsWrittenReadsBack(boolean map) throws IOException {
        float[] values = {1.5f, -0f, Float.MIN_VALUE, 3.1415927f, 1e30f, -7};
        byte[] odd = {1, 2, 3};
        Path path = folder.resolve("model.safetensors");
        new SafetensorsWriter()
                .add("odd", "U8", new long[] {3}, MemorySegment.ofArray(odd))
                .addF32("weights/é \"q\"", new long[] {2, 3}, values)
                .addBf16("rounded", new long[] {6}, values)
                .addI32("ids", new long[] {2, 1}, new int[] {-5, 1 << 30})
                .add("longs", "I64", new long[] {1}, MemorySegment.ofArray(new long[] {Long.MIN_VALUE}))
                .addF32("empty", new long[] {0, 7}, new float[0])
                .addF32("scalar", new long[] {}, new float[] {42})
                .metadata("format", "pt")
                .metadata("note", "zwölf")
                .write(path);
        try (SafetensorsFile file = SafetensorsFile.open(path, map)) {
            assertThat(file.names())
                    .containsExactlyInAnyOrder("odd", "weights/é \"q\"", "rounded", "ids", "longs", "empty", "scalar");
            assertThat(file.tensor("weights/é \"q\"").shape()).containsExactly(2, 3);
            assertThat(file.tensor("weights/é \"q\"").toFloats()).containsExactly(values);
            float[] rounded = new float[values.length];
            for (int i = 0; i < values.length; i++) {
                rounded[i] = FloatConversions.bf16ToFloat(FloatConversions.floatToBf16(values[i]));
            }
            assertThat(file.tensor("rounded").dtype()).isEqualTo("BF16");
            assertThat(file.tensor("rounded").toFloats()).containsExactly(rounded);
            assertThat(file.tensor("ids").toInts()).containsExactly(-5, 1 << 30);
            assertThat(file.tensor("longs").toLongs()).containsExactly(Long.MIN_VALUE);
            assertThat(file.tensor("odd").toInts()).containsExactly(1, 2, 3);
            assertThat(file.tensor("empty").toFloats()).isEmpty();
            assertThat(file.tensor("scalar").toDoubles()).containsExactly(42.0);
            assertThat(file.metadata()).containsEntry("format", "pt").containsEntry("note", "zwölf");
            for (String name : file.names()) {
                TensorEntry tensor = file.tensor(name);
                assertThat(tensor.data().address() % Safetensors.bytesPerElement(tensor.dtype()))
                        .as(name)
                        .isZero();
            }
            assertThatThrownBy(() -> file.tensor("absent"))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("no tensor \"absent\"");
            assertThatThrownBy(() -> file.tensor("odd").toFloats())
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessageContaining("odd U8 [3]");
        }
        assertThat(Files.size(path) % 8).isEqualTo(3);
    }

    @Test
    void aClosedFileRefusesUse() throws IOException {
        Path path = folder.resolve("a.safetensors");
        new SafetensorsWriter().addF32("a", new long[] {1}, new float[] {1}).write(path);
        SafetensorsFile file = SafetensorsFile.open(path);
        TensorEntry tensor = file.tensor("a");
        file.close();
        file.close();
        assertThatThrownBy(tensor::toFloats).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void everyFloatDtypeIsConvertedAndSearchedForNonFiniteValues() throws IOException {
        ByteBuffer buffer = ByteBuffer.wrap(file(
                        "{\"a\":" + entry("F64", "[3]", "[0,24]") + ",\"b\":" + entry("F32", "[3]", "[24,36]")
                                + ",\"c\":" + entry("F16", "[3]", "[36,42]") + ",\"d\":"
                                + entry("BF16", "[3]", "[42,48]") + "}",
                        48))
                .order(ByteOrder.LITTLE_ENDIAN);
        buffer.position(buffer.capacity() - 48);
        buffer.putDouble(1.5).putDouble(Double.NaN).putDouble(2);
        buffer.putFloat(1.5f).putFloat(2).putFloat(Float.NEGATIVE_INFINITY);
        buffer.putShort(Float.floatToFloat16(1.5f)).putShort((short) 0x7c01).putShort((short) 0);
        buffer.putShort((short) 0x3fc0).putShort((short) 0).putShort((short) 0xff80);
        SafetensorsFile file = parse(buffer.array());
        assertThat(file.names())
                .allSatisfy(name -> assertThat(file.tensor(name).toFloats()[0]).isEqualTo(1.5f));
        assertThat(file.tensor("a").firstNonFinite()).isEqualTo(1);
        assertThat(file.tensor("b").firstNonFinite()).isEqualTo(2);
        assertThat(file.tensor("c").firstNonFinite()).isEqualTo(1);
        assertThat(file.tensor("d").firstNonFinite()).isEqualTo(2);
    }

    @Test
    void tensorsMayStandInAnyOrderAndAtAnyAlignment() throws IOException {
        SafetensorsFile file = parse(file(
                "{\"last\":" + entry("F32", "[2]", "[5,13]") + ",\"none\":" + entry("F32", "[0]", "[5,5]")
                        + ",\"first\":" + entry("I8", "[5]", "[0,5]") + "}   ",
                13));
        assertThat(file.names()).containsExactly("last", "none", "first");
        assertThat(file.tensor("last").toFloats()).containsExactly(0, 0);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
        F32  | [2]                                        | [0,4]                    | 8  | 4 bytes, but its shape and dtype need 8
        F32  | [2]                                        | [0,8]                    | 7  | buffer of 7
        F32  | [2]                                        | [0,8]                    | 9  | bytes 8 to 9 belong to no tensor
        F32  | [2]                                        | [4,12]                   | 12 | bytes 0 to 4 belong to no tensor
        F32  | [2]                                        | [8,0]                    | 8  | bytes 8 to 0
        F32  | [2]                                        | [-8,0]                   | 8  | bytes -8 to 0
        F32  | [-2]                                       | [0,8]                    | 8  | -2
        F32  | [4611686018427387904,4]                    | [0,0]                    | 0  | 2^63
        F32  | [3037000500,3037000500]                    | [0,0]                    | 0  | 2^63
        U8   | [9223372036854775807]                      | [0,9223372036854775807]  | 8  | buffer of 8
        U8   | [9223372036854775808]                      | [0,8]                    | 8  | 64 bits
        U8   | [1e400]                                    | [0,8]                    | 8  | finite
        U8   | [2.5]                                      | [0,8]                    | 8  | 2.5
        U8   | 8                                          | [0,8]                    | 8  | expected an array
        U8   | [8]                                        | [0,8,8]                  | 8  | expected an array of 2
        U8   | [8]                                        | [0]                      | 8  | expected an array of 2
        U8   | [8]                                        | [18446744073709551615,8] | 8  | 64 bits
        F128 | [8]                                        | [0,8]                    | 8  | F128
        """)
    void brokenEntriesAreRefused(String dtype, String shape, String offsets, int buffer, String named) {
        assertThatThrownBy(() -> parse(file("{\"t\":" + entry(dtype, shape, offsets) + "}", buffer)))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith("x.safetensors: ")
                .hasMessageContaining(named);
    }

    @Test
    void overlapsDuplicatesAndForeignHeadersAreRefused() {
        String eight = entry("U8", "[8]", "[0,8]");
        assertThatThrownBy(() -> parse(file("{\"a\":" + eight + ",\"b\":" + entry("U8", "[4]", "[4,8]") + "}", 8)))
                .hasMessageContaining("inside the tensor that ends at 8");
        assertThatThrownBy(() -> parse(file("{\"a\":" + eight + ",\"b\":" + eight + "}", 8)))
                .hasMessageContaining("inside the tensor");
        assertThatThrownBy(() -> parse(file("{\"a\":" + eight + ",\"a\":" + eight + "}", 8)))
                .hasMessageContaining("twice");
        assertThatThrownBy(() -> parse(file("{\"a\":" + eight + ",\"__metadata__\":{\"k\":1}}", 8)))
                .hasMessageContaining("__metadata__.k");
        assertThatThrownBy(() -> parse(file("{\"a\":{\"dtype\":\"U8\",\"shape\":[8]}}", 8)))
                .hasMessageContaining("a.data_offsets is missing");
        assertThatThrownBy(() -> parse(file(" {}", 0))).hasMessageContaining("does not start with {");
        assertThatThrownBy(() -> parse(file("[]", 0))).isInstanceOf(ModelFormatException.class);
        assertThatThrownBy(() -> parse(file("{\"a\":" + "[".repeat(100_000) + "}", 0)))
                .isInstanceOf(ModelFormatException.class);
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 3, 100_000_001, 1L << 32, 1L << 62, Long.MAX_VALUE, Long.MIN_VALUE, -1})
    void headerLengthsBeyondTheFileAreRefusedBeforeAnythingIsAllocated(long length) {
        byte[] bytes = file("{}", 0);
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putLong(0, length);
        assertThatThrownBy(() -> parse(bytes))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining(Long.toUnsignedString(length));
    }

    @Test
    void everyTruncationIsRefused() throws IOException {
        Path path = folder.resolve("a.safetensors");
        new SafetensorsWriter()
                .addF32("a", new long[] {3}, new float[3])
                .addBf16("b", new long[] {5}, new float[5])
                .write(path);
        byte[] whole = Files.readAllBytes(path);
        for (int length = 0; length < whole.length; length++) {
            byte[] cut = java.util.Arrays.copyOf(whole, length);
            assertThatThrownBy(() -> parse(cut)).as("%d bytes", length).isInstanceOf(ModelFormatException.class);
        }
        Files.write(path, new byte[3]);
        for (boolean map : new boolean[] {true, false}) {
            assertThatThrownBy(() -> SafetensorsFile.open(path, map)).hasMessageContaining("only 3 bytes");
        }
        assertThatThrownBy(() -> SafetensorsFile.open(folder)).hasMessageContaining("not a regular file");
        assertThatThrownBy(() -> SafetensorsFile.open(folder.resolve("b"))).hasMessageContaining("does not exist");
    }

    @Test
    void mutantsAreReadOrRefusedButNeverMore() {
        byte[] sound = file(
                "{\"__metadata__\":{\"k\":\"v\"},\"a\":" + entry("F32", "[2,3]", "[0,24]") + ",\"b\":"
                        + entry("BF16", "[4]", "[24,32]") + "}",
                32);
        byte[] alphabet = "0123456789-,:[]{}\"eE.ab ".getBytes(StandardCharsets.US_ASCII);
        Random random = new Random(61);
        int refused = 0;
        int mutants = 40_000;
        for (int i = 0; i < mutants; i++) {
            byte[] mutant = sound.clone();
            int at = i % 8 == 0 ? random.nextInt(8) : 8 + random.nextInt(mutant.length - 40);
            mutant[at] = i % 4 == 0 ? (byte) random.nextInt() : alphabet[random.nextInt(alphabet.length)];
            if (i % 3 == 0) {
                mutant[8 + random.nextInt(mutant.length - 40)] = alphabet[random.nextInt(alphabet.length)];
            }
            try {
                SafetensorsFile file = parse(mutant);
                long bytes = 0;
                for (String name : file.names()) {
                    TensorEntry tensor = file.tensor(name);
                    bytes += tensor.data().byteSize();
                    tensor.firstNonFinite();
                }
                assertThat(bytes).isLessThanOrEqualTo(32);
            } catch (ModelFormatException e) {
                refused++;
                assertThat(e).hasMessageStartingWith("x.safetensors: ");
            }
        }
        assertThat(refused).isBetween(mutants / 2, mutants - 1);
    }

    @Test
    void aFolderIsOneFileOrShardsUnderOneSetOfNames() throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter().metadata("format", "pt");
        for (int i = 0; i < 10; i++) {
            float[] values = new float[1000];
            java.util.Arrays.fill(values, i);
            writer.addF32("layer." + i, new long[] {10, 100}, values);
        }
        long limit = 10_000;
        List<Path> shards = writer.writeFolder(folder, limit);
        assertThat(shards).hasSize(6).last().isEqualTo(folder.resolve(SafetensorsFolder.INDEX_FILE));
        for (Path shard : shards) {
            assertThat(Files.size(shard)).isLessThanOrEqualTo(limit);
        }
        assertLayers();
        assertThat(writer.writeFolder(folder, 1 << 20)).containsExactly(folder.resolve("model.safetensors"));
        try (Stream<Path> left = Files.list(folder)) {
            assertThat(left).as("shards and index of before are gone").hasSize(1);
        }
        assertLayers();
        assertThatThrownBy(() -> writer.writeFolder(folder, 4_000))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("layer.0");
        assertLayers();
    }

    @Test
    void longMetadataCountsOncePerShard() throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter().metadata("card", "x".repeat(5_000));
        for (int i = 0; i < 40; i++) {
            writer.addF32("t" + i, new long[] {10}, new float[10]);
        }
        assertThat(writer.writeFolder(folder, 12_000)).hasSize(1);
        for (Path shard : writer.writeFolder(folder, 8_000)) {
            assertThat(Files.size(shard)).isLessThanOrEqualTo(8_000);
        }
    }

    private void assertLayers() throws IOException {
        try (SafetensorsFolder opened = SafetensorsFolder.open(folder)) {
            assertThat(opened.names()).hasSize(10);
            for (int i = 0; i < 10; i++) {
                assertThat(opened.tensor("layer." + i).toFloats()).hasSize(1000).containsOnly(i);
            }
            assertThat(opened.metadata()).containsEntry("format", "pt");
            assertThat(opened.find("layer.10")).isEmpty();
            assertThatThrownBy(() -> opened.tensor("layer.10")).hasMessageContaining("layer.10");
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "../secret.safetensors",
                "/etc/secret.safetensors",
                "sub/secret.safetensors",
                "..\\\\secret.safetensors",
                "C:secret.safetensors",
                ".hidden.safetensors",
                "secret.safetensors\\u0000",
                "secret.bin",
                "",
                "absent.safetensors"
            })
    void anIndexReachesNothingOutsideItsFolder(String shard) throws IOException {
        Files.writeString(folder.resolve(SafetensorsFolder.INDEX_FILE), "{\"weight_map\":{\"a\":\"" + shard + "\"}}");
        assertThatThrownBy(() -> SafetensorsFolder.open(folder)).isInstanceOf(ModelFormatException.class);
    }

    @Test
    void foldersWithoutWeightsOrWithWrongIndexesAreRefused() throws IOException {
        assertThatThrownBy(() -> SafetensorsFolder.open(folder)).hasMessageContaining("holds neither");
        assertThatThrownBy(() -> SafetensorsFolder.open(folder.resolve("x"))).hasMessageContaining("is not a folder");
        new SafetensorsWriter().addF32("a", new long[] {1}, new float[1]).write(folder.resolve("s.safetensors"));
        Files.writeString(folder.resolve(SafetensorsFolder.INDEX_FILE), "{\"weight_map\":{\"b\":\"s.safetensors\"}}");
        assertThatThrownBy(() -> SafetensorsFolder.open(folder)).hasMessageContaining("no tensor \"b\"");
    }

    @Test
    void theWriterRefusesWhatItCouldNotReadBack() {
        List<Runnable> mistakes = new ArrayList<>();
        SafetensorsWriter writer = new SafetensorsWriter().addF32("a", new long[] {1}, new float[1]);
        mistakes.add(() -> writer.addF32("a", new long[] {1}, new float[1]));
        mistakes.add(() -> writer.addF32("b", new long[] {2}, new float[1]));
        mistakes.add(() -> writer.addF32("b", new long[] {-1}, new float[1]));
        mistakes.add(() -> writer.addF32("b", new long[] {1L << 62, 8}, new float[1]));
        mistakes.add(() -> writer.addF32("__metadata__", new long[] {1}, new float[1]));
        mistakes.add(() -> writer.add("b", "F128", new long[] {1}, MemorySegment.ofArray(new byte[16])));
        mistakes.add(() -> writer.add("b", "F32", new long[] {1}, MemorySegment.ofArray(new byte[5])));
        mistakes.add(() -> writer.addI32("b", new long[] {1}, new int[2]));
        for (Runnable mistake : mistakes) {
            assertThatThrownBy(mistake::run).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void tensorsLongerThanTheCopyBufferArriveWhole() throws IOException {
        int count = (1 << 19) + 77;
        short[] halves = new short[count];
        float[] floats = new float[count];
        Random random = new Random(62);
        for (int i = 0; i < count; i++) {
            halves[i] = (short) random.nextInt(0x7c00);
            floats[i] = random.nextFloat();
        }
        Path path = folder.resolve("big.safetensors");
        new SafetensorsWriter()
                .add("halves", "F16", new long[] {count}, MemorySegment.ofArray(halves))
                .addF32("floats", new long[] {count}, floats)
                .addBf16("narrow", new long[] {count}, floats)
                .write(path);
        try (SafetensorsFile file = SafetensorsFile.open(path)) {
            assertThat(file.tensor("floats").toFloats()).isEqualTo(floats);
            assertThat(file.tensor("halves").data().mismatch(MemorySegment.ofArray(halves)))
                    .isEqualTo(-1);
            float[] narrow = file.tensor("narrow").toFloats();
            for (int i = 0; i < count; i += 1009) {
                assertThat(narrow[i]).isEqualTo(FloatConversions.bf16ToFloat(FloatConversions.floatToBf16(floats[i])));
            }
        }
    }
}
