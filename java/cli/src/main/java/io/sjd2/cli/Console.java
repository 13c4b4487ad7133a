package io.sjd2.cli;

import java.io.PrintStream;
import java.util.concurrent.atomic.AtomicBoolean;

/// The two streams of a run, and whether the user has had enough.
final class Console {
    private final PrintStream out;
    private final PrintStream err;
    private final int columns;
    private final AtomicBoolean cancelled = new AtomicBoolean();
    private boolean quiet;

    /// @param columns width of the terminal behind `err`; 0 if there is none
    Console(PrintStream out, PrintStream err, int columns) {
        this.out = out;
        this.err = err;
        this.columns = columns;
    }

    /// For results.
    PrintStream out() {
        return out;
    }

    /// For everything else.
    PrintStream err() {
        return err;
    }

    /// Drops notes and progress from now on; warnings and errors stay.
    void quiet(boolean value) {
        quiet = value;
        if (value) {
            ConsoleLoggerFinder.lowest(System.Logger.Level.WARNING);
        }
    }

    /// Says what is going on.
    void note(String text) {
        if (!quiet) {
            err.println("sjd2: " + text);
        }
    }

    /// Says what the user should know although it works.
    void warn(String text) {
        err.println("sjd2: warning: " + Errors.oneLine(text));
    }

    /// Shows how far a task has come until it is closed.
    Progress progress(String task, long total, String unit) {
        return quiet
                ? Progress.SILENT
                : columns > 0 ? Progress.bar(err, columns, task, total, unit) : Progress.lines(err, task, unit);
    }

    /// From another thread: ends the run at the next opportunity.
    void cancel() {
        cancelled.set(true);
    }

    boolean cancelled() {
        return cancelled.get();
    }
}
