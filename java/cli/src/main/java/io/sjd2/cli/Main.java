package io.sjd2.cli;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/// Where the program starts.
public final class Main {
    /// How long an interrupt waits for the command to put its things away: an atomic write or a checkpoint.
    private static final Duration LONGEST_FAREWELL = Duration.ofSeconds(20);

    private Main() {}

    /// Runs one command and ends the virtual machine with its exit code: 0 done, 1 failed, 2 wrong usage, 130
    /// interrupted.
    public static void main(String[] args) {
        PrintStream out = utf8(FileDescriptor.out);
        PrintStream err = utf8(FileDescriptor.err);
        String columns = System.getProperty("sjd2.columns", "");
        Console console = new Console(out, err, columns.isEmpty() ? 0 : width(Integer.parseInt(columns)));
        CountDownLatch finished = new CountDownLatch(1);
        Thread farewell = new Thread(() -> farewell(console, finished), "sjd2-interrupt");
        Runtime.getRuntime().addShutdownHook(farewell);
        int code;
        try {
            code = Sjd2.run(console, args);
        } finally {
            out.flush();
            err.flush();
            finished.countDown();
        }
        // During an interrupt this call waits for ever, and the virtual machine ends with the interrupt's own code.
        System.exit(code);
    }

    /// Some terminals do not tell their width, and then say 0.
    private static int width(int columns) {
        return columns < 20 ? 80 : Math.min(columns, 160);
    }

    private static void farewell(Console console, CountDownLatch finished) {
        console.cancel();
        try {
            if (!finished.await(LONGEST_FAREWELL.toMillis(), TimeUnit.MILLISECONDS)) {
                System.err.println("sjd2: interrupted: the command did not stop in time; unfinished files are removed");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static PrintStream utf8(FileDescriptor descriptor) {
        return new PrintStream(new FileOutputStream(descriptor), true, StandardCharsets.UTF_8);
    }
}
