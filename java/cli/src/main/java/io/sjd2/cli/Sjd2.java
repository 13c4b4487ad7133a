package io.sjd2.cli;

import picocli.AutoComplete;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// The command `sjd2` and everything below it.
@Command(
        name = "sjd2",
        versionProvider = Version.class,
        header = "Images from text with autoregressive models, in few forward passes.",
        description = {
            "",
            "Examples:",
            "  sjd2 generate \"a large red circle above a small blue square\"",
            "  sjd2 compare --held-out 20 --sheet sheet.png",
            "  sjd2 doctor",
            ""
        },
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {HelpCommand.class, AutoComplete.GenerateCompletion.class},
        footer = {
            "",
            "Results go to standard output, progress and errors to standard error.",
            "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.",
            "Completion in bash: source <(sjd2 generate-completion)"
        })
final class Sjd2 implements Runnable {
    @Spec
    private CommandSpec spec;

    @Option(
            names = {"-V", "--version"},
            versionHelp = true,
            description = "Show version, commit and Java runtime and exit.")
    private boolean version;

    @Mixin
    private final CommonOptions common;

    private Sjd2(Console console) {
        this.common = new CommonOptions(console);
    }

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "no command given");
    }

    /// The whole command line over `console`.
    static CommandLine commandLine(Console console) {
        CommandLine commands = new CommandLine(new Sjd2(console))
                .addSubcommand(new GenerateCommand(console))
                .addSubcommand(new CompareCommand(console))
                .addSubcommand(new TrainCommand(console))
                .addSubcommand(new FinetuneCommand(console))
                .addSubcommand(new EvaluateCommand(console))
                .addSubcommand(new InspectCommand(console))
                .addSubcommand(new BenchCommand(console))
                .addSubcommand(new TuneCommand(console))
                .addSubcommand(new DoctorCommand(console))
                .addSubcommand(DebugCommand.commandLine(console));
        // A prompt may begin with @ and must not be taken for a file of arguments.
        return commands.setExpandAtFiles(false)
                // The last of several says what counts, so that a script's settings can be overruled.
                .setOverwrittenOptionsAllowed(true)
                .setOut(new java.io.PrintWriter(console.out(), true))
                .setErr(new java.io.PrintWriter(console.err(), true))
                .setUsageHelpAutoWidth(false)
                .setUsageHelpWidth(100)
                .setParameterExceptionHandler((problem, args) -> Errors.misused(console, problem))
                .setExecutionExceptionHandler(
                        (problem, command, parsed) -> Errors.failed(console, Errors.wantsStackTrace(parsed), problem));
    }

    /// Runs one command and returns its exit code.
    static int run(Console console, String... args) {
        try {
            return commandLine(console).execute(args);
        } catch (OutOfMemoryError | StackOverflowError e) {
            // Everything else is handled by the parser; these two must still end in one line, not in a trace.
            return Errors.failed(console, false, e);
        }
    }
}
