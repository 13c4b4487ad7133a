package io.sjd2.cli;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/// One run of the command line with both streams caught.
///
/// @param code exit code
/// @param out  standard output
/// @param err  standard error
record Session(int code, String out, String err) {

    static Session run(String... args) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        Console console = new Console(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                0);
        return new Session(Sjd2.run(console, args), out, err);
    }

    Session(int code, ByteArrayOutputStream out, ByteArrayOutputStream err) {
        this(code, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
    }

    /// The first line of standard error.
    String firstError() {
        return err.lines().findFirst().orElse("");
    }
}
