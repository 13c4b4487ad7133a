package io.sjd2.cli;

import java.io.IOException;
import java.util.concurrent.CancellationException;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;

/// Turns what went wrong into one line and an exit code.
final class Errors {
    /// A failure that is not the caller's.
    static final int FAILURE = 1;
    /// A wrong argument.
    static final int USAGE = 2;
    /// As a shell reports a program that an interrupt ended.
    static final int INTERRUPTED = 130;

    private static final int LONGEST = 600;

    private Errors() {}

    /// For a command that throws.
    static int failed(Console console, boolean stackTrace, Throwable problem) {
        if (problem instanceof CancellationException && console.cancelled()) {
            console.err()
                    .println("sjd2: interrupted: " + oneLine(String.valueOf(problem.getMessage()))
                            + "; nothing was left half-written");
            return INTERRUPTED;
        }
        console.err().println("sjd2: " + oneLine(message(problem)));
        if (stackTrace) {
            problem.printStackTrace(console.err());
        }
        return problem instanceof IllegalArgumentException ? USAGE : FAILURE;
    }

    private static String message(Throwable problem) {
        String message = problem.getMessage();
        if (problem instanceof OutOfMemoryError) {
            return "memory: " + message
                    + ": give Java more, for instance SJD2_JAVA_OPTS=-Xmx8g, or ask for fewer pictures";
        }
        // The engine's own kinds of failure explain themselves.
        boolean telling = problem instanceof IOException
                || problem instanceof IllegalArgumentException
                || problem instanceof IllegalStateException
                || problem instanceof UnsupportedOperationException
                || (problem instanceof RuntimeException
                        && problem.getClass().getName().startsWith("io.sjd2."));
        if (telling && message != null) {
            return message;
        }
        return (message == null
                        ? problem.getClass().getName()
                        : problem.getClass().getSimpleName() + ": " + message) + " (--stacktrace shows where)";
    }

    /// For arguments that cannot be parsed.
    static int misused(Console console, ParameterException problem) {
        CommandLine command = problem.getCommandLine();
        // The parser's own preamble is longer than what it introduces.
        String message =
                problem.getMessage().replaceFirst("^Invalid value for option '([^']+)'( \\([^)]*\\))?: ", "$1: ");
        console.err().println("sjd2: " + oneLine(message));
        if (!CommandLine.UnmatchedArgumentException.printSuggestions(problem, console.err())) {
            console.err().println("sjd2: try: " + command.getCommandSpec().qualifiedName() + " --help");
        }
        return USAGE;
    }

    /// Whether the user asked to see stack traces.
    static boolean wantsStackTrace(ParseResult parsed) {
        for (ParseResult at = parsed; at != null; at = at.hasSubcommand() ? at.subcommand() : null) {
            if (at.matchedOptionValue(CommonOptions.STACK_TRACE, false)) {
                return true;
            }
        }
        return false;
    }

    /// The text without line breaks and control characters, cut where it becomes unreadable.
    static String oneLine(String text) {
        String flat = text.strip().replaceAll("\\s*[\\r\\n]+\\s*", "; ").replaceAll("\\p{Cntrl}", "?");
        return flat.length() <= LONGEST ? flat : flat.substring(0, LONGEST) + " ...";
    }
}
