package io.sjd2.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PytorchFileTest {
    private static final int MUTANTS = 5_000;

    private static byte[] resource(String name) throws IOException {
        try (InputStream in = PytorchFileTest.class.getResourceAsStream("/golden/pytorch/" + name)) {
            return in.readAllBytes();
        }
    }

    private static PytorchFile parse(byte[] bytes, String name) throws ModelFormatException {
        return PytorchFile.parse(MemorySegment.ofArray(bytes), name);
    }

    /// The same archive with every entry deflated.
    private static byte[] deflated(byte[] archive) throws IOException {
        Path file = Files.createTempFile("stored", ".zip");
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        Files.write(file, archive);
        try (ZipFile in = new ZipFile(file.toFile());
                ZipOutputStream out = new ZipOutputStream(bytes)) {
            for (ZipEntry entry : Collections.list(in.entries())) {
                out.putNextEntry(new ZipEntry(entry.getName()));
                in.getInputStream(entry).transferTo(out);
                out.closeEntry();
            }
        } finally {
            Files.delete(file);
        }
        return bytes.toByteArray();
    }

    @ParameterizedTest
    @ValueSource(strings = {"kinds.pt", "kinds.pt deflated", "legacy.pt"})
    void everyKindOfTensorIsReadAsItWas(String name) throws IOException {
        byte[] bytes = resource(name.split(" ")[0]);
        bytes = name.endsWith("deflated") ? deflated(bytes) : bytes;
        try (SafetensorsFile expected =
                        SafetensorsFile.parse(MemorySegment.ofArray(resource("expected.safetensors")), "expected");
                PytorchFile file = parse(bytes, name)) {
            int compared = 0;
            for (String key : expected.names()) {
                if (name.startsWith("legacy") && !file.names().contains(key)) {
                    continue; // the older file holds fewer
                }
                TensorEntry want = expected.tensor(key);
                TensorEntry got = file.tensor(key);
                assertThat(got.toString()).isEqualTo(want.toString());
                assertThat(got.data().mismatch(want.data())).as(key).isEqualTo(-1);
                compared++;
            }
            assertThat(compared).isGreaterThan(8);
        }
    }

    /// Without a mapping, no more of a file is in memory than the tensors asked for, and these go with their arena.
    @ParameterizedTest
    @ValueSource(strings = {"kinds.pt", "kinds.pt deflated", "legacy.pt"})
    void tensorsAreReadOneByOneWhereFilesAreNotMapped(String name, @TempDir Path folder) throws IOException {
        byte[] bytes = resource(name.split(" ")[0]);
        bytes = name.endsWith("deflated") ? deflated(bytes) : bytes;
        Path path = Files.write(folder.resolve("weights.pt"), bytes);
        try (PytorchFile expected = parse(bytes, name);
                PytorchFile file = PytorchFile.open(path, false)) {
            assertThat(file.names()).containsExactlyElementsOf(expected.names());
            for (String key : expected.names()) {
                TensorEntry want = expected.tensor(key);
                SafetensorsFile.Header header = file.header(key);
                assertThat(new TensorEntry(key, header.dtype(), header.shape(), want.data()))
                        .hasToString(want.toString());
                assertThat(header.bytes()).isEqualTo(want.data().byteSize());
                try (Arena arena = Arena.ofConfined()) {
                    TensorEntry got = file.read(key, arena);
                    assertThat(got.toString()).isEqualTo(want.toString());
                    assertThat(got.data().mismatch(want.data())).as(key).isEqualTo(-1);
                    if (header.bytes() > 0 && !name.endsWith("deflated")) {
                        assertThat(got.data().scope()).as(key).isEqualTo(arena.scope());
                    }
                }
            }
            Files.write(path, Arrays.copyOf(bytes, 100));
            String last = List.copyOf(file.names()).getLast();
            if (!name.endsWith("deflated")) {
                assertThatThrownBy(() -> file.tensor(last))
                        .isInstanceOf(ModelFormatException.class)
                        .hasMessageContaining("weights.pt")
                        .hasMessageContaining("shrank");
            }
        }
    }

    @Test
    void nestedValuesAreFoundByTheirKeys() throws IOException {
        try (PytorchFile file = parse(resource("kinds.pt"), "kinds.pt")) {
            assertThat(file.part()).isEmpty();
            assertThat(file.names()).contains("nested.list.0", "nested.list.1", "param");
            assertThat(file.tensor("param").shape()).containsExactly(3);
            assertThat(file.values())
                    .containsEntry("nested.n", 7L)
                    .containsEntry("nested.s", "text")
                    .containsEntry("nested.t.0", 1L)
                    .containsEntry("nested.t.1", 2.5);
            assertThat(file.find("nobody")).isEmpty();
            assertThatThrownBy(() -> file.tensor("nobody"))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("nobody");
        }
    }

    @Test
    void aCheckpointIsItsStateDictAndLiesInTheFile(@TempDir Path folder) throws IOException {
        Path path = folder.resolve("vqgan.ckpt");
        Files.write(path, resource("vqgan.ckpt"));
        for (boolean map : new boolean[] {true, false}) {
            try (PytorchFile file = PytorchFile.open(path, map)) {
                assertThat(file.part()).isEqualTo("state_dict");
                assertThat(file.names()).hasSize(75).contains("quantize.embedding.weight");
                TensorEntry table = file.tensor("quantize.embedding.weight");
                assertThat(table.toString()).isEqualTo("quantize.embedding.weight F32 [128, 16]");
                assertThat(table.firstNonFinite()).isEqualTo(-1);
                assertThat(table.data().isMapped()).isEqualTo(map);
                assertThat(table.data().isReadOnly()).isTrue();
            }
        }
    }

    @Test
    void aProgramThatCallsAFunctionIsRefusedByNameAndNotRun() throws IOException {
        PrintStream before = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try {
            byte[] bytes = resource("calls_a_function.ckpt");
            assertThatThrownBy(() -> parse(bytes, "bad.ckpt"))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("bad.ckpt")
                    .hasMessageContaining("builtins.print");
        } finally {
            System.setOut(before);
        }
        assertThat(printed.toString(StandardCharsets.UTF_8)).isEmpty();
    }

    /// A stored archive around one program.
    private static byte[] archive(String program, String... storages) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ZipOutputStream out = new ZipOutputStream(bytes)) {
            out.putNextEntry(new ZipEntry("a/data.pkl"));
            out.write(program.getBytes(StandardCharsets.ISO_8859_1));
            out.closeEntry();
            for (int i = 0; i < storages.length; i++) {
                out.putNextEntry(new ZipEntry("a/data/" + i));
                out.write(storages[i].getBytes(StandardCharsets.ISO_8859_1));
                out.closeEntry();
            }
        }
        return bytes.toByteArray();
    }

    @ParameterizedTest
    @CsvSource({
        "posix, system",
        "os, system",
        "builtins, eval",
        "torch.nn.modules.linear, Linear",
        "torch, load",
        "torch._utils, _rebuild_tensor_v2.__globals__",
        "numpy.core.multiarray, _reconstruct",
        "pytorch_lightning.callbacks, ModelCheckpoint"
    })
    void anyOtherNameIsRefused(String module, String name) throws IOException {
        for (String program : new String[] {
            "c" + module + "\n" + name + "\n(tR.",
            "\u008c" + (char) module.length() + module + "\u008c" + (char) name.length() + name + "\u0093.",
            "}(S'k'\nc" + module + "\n" + name + "\nu."
        }) {
            byte[] bytes = archive(program);
            assertThatThrownBy(() -> parse(bytes, "x"))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining(module + "." + name)
                    .hasMessageContaining("refused");
        }
    }

    private static String tensor(String shape, String strides, int offset, int elements) {
        return "ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI" + elements
                + "\ntQI" + offset + "\n" + shape + strides + "I00\n}tR";
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "]q\u0000h\u0000a.", // a list in itself
                "}q\u0000S'k'\nh\u0000s.",
                "t.",
                ".",
                "(.",
                "N",
                "h\u0007.",
                "\u008a\u00ff.",
                "}]Ns.", // a list as a key
                "\u0080\u0009.",
                "\u008d\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u007f.",
                "i__main__\nThing\n.",
                "I12x\n.",
                "c__builtin__\n",
                "Ncollections\n(R.",
                "ccollections\nOrderedDict\nNR.",
                "(S'storage'\nI1\nI2\nI3\nI4\ntQ."
            })
    void aBrokenProgramIsAnError(String program) throws IOException {
        byte[] bytes = archive(program);
        assertThatThrownBy(() -> parse(bytes, "x")).isInstanceOf(ModelFormatException.class);
    }

    @Test
    void listsOfListsOfListsDoNotMultiply() throws IOException {
        // Each list holds the one before ten times: 10^20 values in a hundred bytes.
        StringBuilder program = new StringBuilder("]q\u0000");
        for (int i = 0; i < 20; i++) {
            program.append("](").repeat("h" + (char) i, 10).append("eq").append((char) (i + 1));
        }
        byte[] bytes = archive(program.append('.').toString());
        assertThatThrownBy(() -> parse(bytes, "x"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("beyond all measure");
    }

    @Test
    void aTensorOutsideOfItsStorageIsAnError() throws IOException {
        String floats = "0123456789abcdef0123456789abcdef"; // eight of them
        byte[] good = archive("}S'w'\n" + tensor("I2\nI4\n\u0086", "I1\nI2\n\u0086", 0, 8) + "s.", floats);
        try (PytorchFile file = parse(good, "good")) {
            assertThat(file.tensor("w").toFloats()).hasSize(8);
        }
        for (String program : List.of(
                tensor("I2\nI4\n\u0086", "I4\nI1\n\u0086", 1, 8),
                tensor("I2\nI4\n\u0086", "I4\nI2\n\u0086", 0, 8),
                tensor("I9\n\u0085", "I0\n\u0085", 0, 8),
                tensor("I999999999999\n\u0085", "I0\n\u0085", 0, 8),
                tensor("I4294967296\nI4294967296\n\u0086", "I1\nI1\n\u0086", 0, 8),
                tensor("I2\n\u0085", "I9223372036854775807\n\u0085", 5, 8),
                tensor("I-1\n\u0085", "I1\n\u0085", 0, 8),
                tensor("I1\n\u0085", "I1\nI1\n\u0086", 0, 8),
                tensor("I1\n\u0085", "I1\n\u0085", -1, 8),
                tensor("I9\n\u0085", "I1\n\u0085", 0, 9),
                tensor("I1\n\u0085", "I1\n\u0085", 0, 2147483647))) {
            byte[] bytes = archive("}S'w'\n" + program + "s.", floats);
            assertThatThrownBy(() -> parse(bytes, "x").tensor("w"))
                    .as(program)
                    .isInstanceOf(ModelFormatException.class);
        }
    }

    @Test
    void filesThatAreSomethingElseAreErrors(@TempDir Path folder) throws IOException {
        assertThatThrownBy(() -> PytorchFile.open(folder.resolve("none.pt")))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("does not exist");
        assertThatThrownBy(() -> PytorchFile.open(folder)).isInstanceOf(ModelFormatException.class);
        Path empty = Files.createFile(folder.resolve("empty.pt"));
        assertThatThrownBy(() -> PytorchFile.open(empty)).isInstanceOf(ModelFormatException.class);
        assertThatThrownBy(() -> parse(new byte[100], "zeros")).isInstanceOf(ModelFormatException.class);
        ByteArrayOutputStream other = new ByteArrayOutputStream();
        try (ZipOutputStream out = new ZipOutputStream(other)) {
            out.putNextEntry(new ZipEntry("readme.txt"));
            out.closeEntry();
        }
        assertThatThrownBy(() -> parse(other.toByteArray(), "zip"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("data.pkl");
        byte[] big = resource("kinds.pt");
        int at = new String(big, StandardCharsets.ISO_8859_1).indexOf("little");
        System.arraycopy("bigbig".getBytes(StandardCharsets.ISO_8859_1), 0, big, at, 6);
        assertThatThrownBy(() -> parse(big, "big"))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("little endian");
    }

    @ParameterizedTest
    @ValueSource(strings = {"kinds.pt", "kinds.pt deflated", "legacy.pt", "calls_a_function.ckpt"})
    void mutantsAreErrorsOrFilesAndNothingElse(String name) throws IOException {
        byte[] bytes = resource(name.split(" ")[0]);
        byte[] original = name.endsWith("deflated") ? deflated(bytes) : bytes;
        SplittableRandom random = new SplittableRandom(name.hashCode());
        int refused = 0;
        for (int i = 0; i < MUTANTS; i++) {
            byte[] mutant = mutate(original, random);
            try (PytorchFile file = parse(mutant, name)) {
                for (String key : file.names()) {
                    file.tensor(key).firstNonFinite();
                }
            } catch (ModelFormatException e) {
                refused++;
                assertThat(e.getMessage()).startsWith(name + ": ");
            } catch (RuntimeException | Error e) {
                throw new AssertionError("mutant " + i + " of " + name, e);
            }
        }
        assertThat(refused).isGreaterThan(MUTANTS / 4);
    }

    private static byte[] mutate(byte[] original, SplittableRandom random) {
        byte[] bytes = original.clone();
        switch (random.nextInt(6)) {
            case 0 -> bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length));
            case 1 -> bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
            case 2 -> {
                for (int i = 0; i < 8; i++) {
                    bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
                }
            }
            case 3 -> {
                int size = random.nextBoolean() ? 4 : 8;
                ByteBuffer at = ByteBuffer.wrap(bytes, random.nextInt(bytes.length - 8), 8)
                        .order(ByteOrder.LITTLE_ENDIAN);
                long value = random.nextBoolean() ? Long.MAX_VALUE : random.nextInt(4) - 2L;
                if (size == 4) {
                    at.putInt((int) value);
                } else {
                    at.putLong(value);
                }
            }
            case 4 -> {
                int length = 1 + random.nextInt(64);
                int from = random.nextInt(bytes.length - length);
                System.arraycopy(bytes, from, bytes, random.nextInt(bytes.length - length), length);
            }
            default -> {
                int cut = random.nextInt(bytes.length - 1);
                int length = 1 + random.nextInt(Math.min(40, bytes.length - cut));
                byte[] shorter = Arrays.copyOf(bytes, bytes.length - length);
                System.arraycopy(bytes, cut + length, shorter, cut, bytes.length - cut - length);
                bytes = shorter;
            }
        }
        return bytes;
    }
}
