package io.sjd2.cli;

import picocli.CommandLine.Option;

/// What every command takes.
final class CommonOptions {
    /// The option that {@link Errors} looks for.
    static final String STACK_TRACE = "--stacktrace";

    private final Console console;

    @Option(
            names = {"-h", "--help"},
            usageHelp = true,
            description = "Show this help and exit.")
    private boolean help;

    @Option(names = STACK_TRACE, description = "Show where a failure came from.")
    private boolean stackTrace;

    CommonOptions(Console console) {
        this.console = console;
    }

    @Option(
            names = {"-q", "--quiet"},
            description = "Show warnings and errors only, no progress.")
    private void quiet(boolean value) {
        console.quiet(value);
    }
}
