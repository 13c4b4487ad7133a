package io.sjd2.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.assertj.core.api.Condition;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AtomicFilesTest {
    @TempDir
    Path folder;

    private List<String> names() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(file -> file.getFileName().toString()).sorted().toList();
        }
    }

    @Test
    void replacesTheWholeFileAndLeavesNothingElse() throws IOException {
        Path file = folder.resolve("a.txt");
        AtomicFiles.write(file, "a long first version");
        AtomicFiles.write(file, "short");
        assertThat(file).hasContent("short");
        assertThat(names()).containsExactly("a.txt");
    }

    @Test
    void aFailureHalfWayKeepsTheOldFile() throws IOException {
        Path file = folder.resolve("a.txt");
        AtomicFiles.write(file, "old");
        AtomicFiles.Content failing = channel -> {
            channel.write(ByteBuffer.wrap(new byte[1000]));
            throw new IOException("disk on fire");
        };
        assertThatThrownBy(() -> AtomicFiles.write(file, failing))
                .isInstanceOf(IOException.class)
                .hasMessageContaining(file.toString())
                .hasMessageContaining("disk on fire");
        assertThatThrownBy(() -> AtomicFiles.write(file, (AtomicFiles.Content) channel -> {
                    throw new IllegalStateException("a bug");
                }))
                .isInstanceOf(IllegalStateException.class);
        assertThat(file).hasContent("old");
        assertThat(names()).containsExactly("a.txt");
    }

    @Test
    void placesThatCannotBeWrittenAreNamedWithTheReason() throws IOException {
        Path missing = folder.resolve("no/such/a.txt");
        assertThatThrownBy(() -> AtomicFiles.write(missing, "x"))
                .hasMessageContaining(missing + ": cannot be written: its folder does not exist");
        assertThatThrownBy(() -> AtomicFiles.write(folder, "x")).hasMessageContaining("is not a regular file");
        Path file = Files.writeString(folder.resolve("file"), "x");
        assertThatThrownBy(() -> AtomicFiles.write(file.resolve("a.txt"), "x"))
                .hasMessageContaining("cannot be written");
    }

    @Test
    void aLinkStaysALinkAndASocketASocket() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "old");
        Path link = Files.createSymbolicLink(folder.resolve("link"), file);
        AtomicFiles.write(link, "new");
        assertThat(link).isSymbolicLink();
        assertThat(file).hasContent("new");
        Path socket = folder.resolve("socket");
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(socket));
            assertThatThrownBy(() -> AtomicFiles.write(socket, "x")).hasMessageContaining("is not a regular file");
            assertThat(socket).exists().isNot(new Condition<>(Files::isRegularFile, "a regular file"));
        }
    }

    @Test
    void whatADeadProcessLeftIsRemovedAndNothingElse() throws IOException {
        // No process has this number: it is above the largest that Linux gives out.
        Path dead = Files.writeString(folder.resolve(".a.txt.tmp-4194999-1"), "half");
        Path young = Files.writeString(folder.resolve(".a.txt.tmp-4194999-2"), "half");
        Path alive = Files.writeString(
                folder.resolve(".a.txt.tmp-" + ProcessHandle.current().pid() + "-99999"), "half");
        Path foreign = Files.writeString(folder.resolve(".a.txt.tmp-notes"), "keep");
        for (Path old : List.of(dead, alive, foreign)) {
            Files.setLastModifiedTime(old, FileTime.from(Instant.now().minus(Duration.ofHours(2))));
        }
        AtomicFiles.write(folder.resolve("a.txt"), "x");
        assertThat(dead).doesNotExist();
        assertThat(young).exists();
        assertThat(alive).exists();
        assertThat(foreign).exists();
    }

    @Test
    void uniqueNamesNeverOverwrite() throws Exception {
        assertThat(AtomicFiles.uniqueName(folder, "cat", "png")).isEqualTo(folder.resolve("cat.png"));
        int writers = 40;
        try (ExecutorService pool = Executors.newFixedThreadPool(4)) {
            List<Future<Path>> written = IntStream.range(0, writers)
                    .mapToObj(i -> pool.submit(() -> AtomicFiles.writeUnique(
                            folder, "cat", "png", channel -> channel.write(ByteBuffer.wrap(new byte[] {(byte) i})))))
                    .toList();
            for (int i = 0; i < writers; i++) {
                assertThat(written.get(i).get()).hasBinaryContent(new byte[] {(byte) i});
            }
        }
        assertThat(names()).hasSize(writers).contains("cat.png", "cat-2.png", "cat-" + writers + ".png");
    }

    @Test
    void stemsTellWhatAFileShowsAndAreSafe() {
        assertThat(AtomicFiles.stemOf("A large Red circle, above/below!")).isEqualTo("a-large-red-circle-above-below");
        assertThat(AtomicFiles.stemOf("../../etc/passwd")).isEqualTo("etc-passwd");
        assertThat(AtomicFiles.stemOf("😀 \n")).isEqualTo("image");
        assertThat(AtomicFiles.stemOf("word ".repeat(5_000)))
                .hasSizeLessThanOrEqualTo(80)
                .doesNotEndWith("-");
    }

    @Test
    void anOrderlyEndOfTheProgramRemovesWhatWasHalfWritten() throws Exception {
        Process child = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-Xshare:auto",
                        "-cp",
                        System.getProperty("java.class.path"),
                        Interrupted.class.getName(),
                        folder.resolve("a.txt").toString())
                .redirectErrorStream(true)
                .start();
        assertThat(new String(child.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8))
                .contains("half written");
        assertThat(child.waitFor()).isEqualTo(3);
        assertThat(names()).isEmpty();
    }

    /// Ends the virtual machine in the middle of a write.
    static final class Interrupted {
        private Interrupted() {}

        public static void main(String[] arguments) throws IOException {
            AtomicFiles.write(Path.of(arguments[0]), (AtomicFiles.Content) channel -> {
                channel.write(ByteBuffer.wrap(new byte[1000]));
                try (Stream<Path> files = Files.list(Path.of(arguments[0]).getParent())) {
                    System.out.println(files.count() == 1 ? "half written" : "nothing there");
                }
                System.exit(3);
            });
        }
    }
}
