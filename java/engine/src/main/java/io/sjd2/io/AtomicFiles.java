package io.sjd2.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/// Writes files so that no reader, and no crash, ever sees half of one.
///
/// Content goes to a temporary file beside the target, is forced to the disk, and is renamed over the target in one
/// step. A failure removes the temporary file; so does an orderly end of the virtual machine (Ctrl-C included). What
/// a killed process left behind is removed by the next write of the same target. Thread-safe; two writers of one
/// target do not mix, the later rename wins.
public final class AtomicFiles {
    private static final Set<Path> UNFINISHED = ConcurrentHashMap.newKeySet();
    private static final AtomicBoolean HOOK_INSTALLED = new AtomicBoolean();
    private static final AtomicLong SERIAL = new AtomicLong();
    private static final Duration STALE_AFTER = Duration.ofMinutes(10);
    private static final int LONGEST_STEM = 80;

    private AtomicFiles() {}

    /// Something that can be written once, front to back.
    @FunctionalInterface
    public interface Content {
        /// @param channel empty and open for writing; closed by the caller
        /// @throws IOException if the bytes cannot be written; the target then stays as it was
        void writeTo(FileChannel channel) throws IOException;
    }

    /// Replaces `target` by what `content` writes, or leaves it untouched.
    ///
    /// @throws IOException naming the target and the reason, when its folder is missing, full or not writable
    public static void write(Path target, Content content) throws IOException {
        Path destination = destination(target);
        Path temporary = writeBeside(destination, content);
        try {
            Files.move(temporary, destination, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            discard(temporary, e);
            throw unwritable(target, e);
        } finally {
            UNFINISHED.remove(temporary);
        }
        forceFolder(destination);
    }

    /// Replaces `target` by `bytes`.
    public static void write(Path target, byte[] bytes) throws IOException {
        write(target, channel -> writeFully(channel, ByteBuffer.wrap(bytes)));
    }

    /// Replaces `target` by `text` in UTF-8.
    public static void write(Path target, String text) throws IOException {
        write(target, text.getBytes(StandardCharsets.UTF_8));
    }

    /// Writes a file that did not exist before, under `stem.extension`, `stem-2.extension`, `stem-3.extension` and so
    /// on: the first name that is free at the moment of renaming, even with other processes choosing names too.
    ///
    /// @return the file that was written
    public static Path writeUnique(Path folder, String stem, String extension, Content content) throws IOException {
        Path temporary = writeBeside(folder.resolve(stem + "." + extension), content);
        try {
            while (true) {
                Path target = uniqueName(folder, stem, extension);
                try {
                    // Creating the name claims it; the rename then replaces only what this call created.
                    Files.createFile(target);
                } catch (FileAlreadyExistsException e) {
                    continue; // somebody else took the name between the look and the claim: look again
                }
                try {
                    Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
                } catch (IOException e) {
                    discard(target, e);
                    throw e;
                }
                forceFolder(target);
                return target;
            }
        } catch (IOException e) {
            discard(temporary, e);
            throw unwritable(folder.resolve(stem + "." + extension), e);
        } finally {
            UNFINISHED.remove(temporary);
        }
    }

    /// A name in `folder` that no file has now: `stem.extension`, else `stem-2.extension`, and so on. The name is not
    /// reserved; [#writeUnique] closes that gap.
    public static Path uniqueName(Path folder, String stem, String extension) {
        Path candidate = folder.resolve(stem + "." + extension);
        for (long n = 2; Files.exists(candidate, LinkOption.NOFOLLOW_LINKS); n++) {
            candidate = folder.resolve(stem + "-" + n + "." + extension);
        }
        return candidate;
    }

    /// A file name stem that tells what `text` was about: lower-case letters, digits and single hyphens, at most 80
    /// characters, never empty, safe on every platform.
    public static String stemOf(String text) {
        StringBuilder stem = new StringBuilder();
        for (int i = 0; i < text.length() && stem.length() < LONGEST_STEM; i++) {
            char c = text.charAt(i);
            boolean plain = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9';
            if (plain) {
                stem.append(c);
            } else if (!stem.isEmpty() && stem.charAt(stem.length() - 1) != '-') {
                stem.append('-');
            }
        }
        while (!stem.isEmpty() && stem.charAt(stem.length() - 1) == '-') {
            stem.setLength(stem.length() - 1);
        }
        return stem.isEmpty() ? "image" : stem.toString().toLowerCase(Locale.ROOT);
    }

    /// Writes all that remains of `buffer`; a channel may take less than it is offered.
    static void writeFully(FileChannel channel, ByteBuffer buffer) throws IOException {
        while (buffer.hasRemaining()) {
            channel.write(buffer);
        }
    }

    /// Where the bytes go: a link to a file stays a link. Renaming over a device or a pipe would destroy it, so those
    /// are refused.
    private static Path destination(Path target) throws IOException {
        if (target.getFileName() == null || Files.exists(target) && !Files.isRegularFile(target)) {
            throw new IOException(target + ": is not a regular file; give the name of a file to write");
        }
        return Files.isSymbolicLink(target) && Files.exists(target) ? target.toRealPath() : target;
    }

    private static Path writeBeside(Path target, Content content) throws IOException {
        removeStale(target);
        Path temporary = target.resolveSibling(
                temporaryPrefix(target) + ProcessHandle.current().pid() + "-" + SERIAL.incrementAndGet());
        installHook();
        UNFINISHED.add(temporary);
        try {
            try (FileChannel channel =
                    FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                content.writeTo(channel);
                // Without this a crash of the machine could leave the new name on an empty file.
                channel.force(true);
            }
            return temporary;
        } catch (IOException e) {
            discard(temporary, e);
            UNFINISHED.remove(temporary);
            throw unwritable(target, e);
        } catch (RuntimeException | Error e) {
            discard(temporary, e);
            UNFINISHED.remove(temporary);
            throw e;
        }
    }

    private static String temporaryPrefix(Path target) {
        return "." + target.getFileName() + ".tmp-";
    }

    /// Removes what earlier processes, now dead, left beside `target`. The age limit is for folders shared between
    /// machines, where the number of a process says nothing.
    private static void removeStale(Path target) throws IOException {
        Path folder = target.toAbsolutePath().getParent();
        if (folder == null || !Files.isDirectory(folder)) {
            return; // the open that follows reports the missing folder
        }
        String prefix = temporaryPrefix(target);
        try (DirectoryStream<Path> leftovers =
                Files.newDirectoryStream(folder, p -> p.getFileName().toString().startsWith(prefix))) {
            for (Path leftover : leftovers) {
                if (isAbandoned(leftover, prefix)) {
                    Files.deleteIfExists(leftover);
                }
            }
        } catch (DirectoryIteratorException e) {
            throw e.getCause();
        } catch (AccessDeniedException e) {
            // A folder may be writable and yet not readable: nothing can be tidied there, and nothing need be.
            System.getLogger(AtomicFiles.class.getName())
                    .log(System.Logger.Level.DEBUG, "{0}: cannot be listed, old temporary files stay", folder);
        }
    }

    private static boolean isAbandoned(Path leftover, String prefix) throws IOException {
        String rest = leftover.getFileName().toString().substring(prefix.length());
        int dash = rest.indexOf('-');
        if (dash <= 0 || !rest.chars().allMatch(c -> c == '-' || c >= '0' && c <= '9') || dash > 18) {
            return false;
        }
        if (ProcessHandle.of(Long.parseLong(rest.substring(0, dash))).isPresent()) {
            return false;
        }
        try {
            Instant modified = Files.getLastModifiedTime(leftover).toInstant();
            return modified.isBefore(Instant.now().minus(STALE_AFTER));
        } catch (NoSuchFileException e) {
            return false; // another writer was faster
        }
    }

    private static void installHook() throws IOException {
        if (HOOK_INSTALLED.compareAndSet(false, true)) {
            try {
                Runtime.getRuntime().addShutdownHook(new Thread(AtomicFiles::removeUnfinished, "sjd2-temporary-files"));
            } catch (IllegalStateException e) {
                HOOK_INSTALLED.set(false);
                throw new IOException("nothing is written any more: the program is ending", e);
            }
        }
    }

    private static void removeUnfinished() {
        for (Path temporary : UNFINISHED) {
            try {
                Files.deleteIfExists(temporary);
            } catch (IOException e) {
                System.getLogger(AtomicFiles.class.getName())
                        .log(System.Logger.Level.WARNING, temporary + ": could not be removed; delete it by hand", e);
            }
        }
    }

    private static void discard(Path temporary, Throwable because) {
        try {
            Files.deleteIfExists(temporary);
        } catch (IOException e) {
            because.addSuppressed(e);
        }
    }

    private static void forceFolder(Path target) throws IOException {
        Path folder = target.toAbsolutePath().getParent();
        // Only POSIX systems open a folder as a file; elsewhere the rename itself is all there is.
        if (folder != null
                && folder.getFileSystem().supportedFileAttributeViews().contains("posix")) {
            try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
                channel.force(true);
            } catch (AccessDeniedException e) {
                System.getLogger(AtomicFiles.class.getName())
                        .log(System.Logger.Level.DEBUG, "{0}: cannot be opened, so not forced to the disk", folder);
            }
        }
    }

    /// Finds out whether a file could be written there, by making an empty one beside it and taking it away again.
    /// Permissions alone do not tell: a superuser has them all, and a full or read-only disk grants them.
    ///
    /// @throws IOException naming the file, what is wrong, and what to do
    public static void check(Path target) throws IOException {
        Path temporary = writeBeside(destination(target), channel -> {});
        Files.deleteIfExists(temporary);
        UNFINISHED.remove(temporary);
    }

    private static IOException unwritable(Path target, IOException cause) {
        if (cause instanceof ModelFormatException) {
            return cause;
        }
        String reason = switch (cause) {
            case NoSuchFileException e -> {
                Path folder = target.toAbsolutePath().getParent();
                yield folder != null && Files.isDirectory(folder)
                        ? "its folder takes no files; choose another place"
                        : "its folder does not exist; create it first";
            }
            case NotDirectoryException e -> "its folder is not a folder; choose another place";
            case AccessDeniedException e -> "permission denied; choose a place you may write to";
            default -> cause.getMessage() + "; choose another place or free some space";
        };
        return new IOException(target + ": cannot be written: " + reason, cause);
    }
}
