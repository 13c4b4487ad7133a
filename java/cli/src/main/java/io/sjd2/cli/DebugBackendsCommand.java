package io.sjd2.cli;

import io.sjd2.BackendComparison;
import io.sjd2.BackendComparison.Parting;
import io.sjd2.Engine;
import io.sjd2.GenerationListener;
import io.sjd2.GenerationRequest;
import java.io.IOException;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// `sjd2 debug backends`: one seed on two backends.
@Command(
        name = "backends",
        header = "Make the same pictures on two backends and say where they part.",
        description = {
            "",
            "Random numbers are the same on every backend: only rounding can part them. In f32 the tokens are the same but"
                    + " for near ties; in bf16 they may part. Where they do, the position is named, and how far the two"
                    + " backends' logits are apart there.",
            "",
            "Examples:",
            "  sjd2 debug backends --backend cpu --against cuda-emulated --dtype f32 \"a green star\"",
            "  sjd2 debug backends --backend cpu --against cuda --dtype bf16 --n 4 \"a green star\"",
            ""
        },
        footer = {"", "Exit code 0 if all tokens are the same, 1 if not."})
final class DebugBackendsCommand implements Callable<Integer> {
    @Parameters(
            arity = "1..*",
            paramLabel = "PROMPT",
            description = "What the picture shows. Several words need no quotes.")
    private List<String> words = List.of();

    @Option(
            names = "--against",
            paramLabel = "NAME",
            required = true,
            description = "The other backend; the first is that of --backend.")
    private String against = "";

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            defaultValue = "1",
            description = "Pictures. Default: ${DEFAULT-VALUE}.")
    private int images = 1;

    @Option(
            names = {"-d", "--decoder"},
            paramLabel = "NAME",
            defaultValue = "exact",
            description = "exact, sjd2-exact or ar. Default: ${DEFAULT-VALUE}.")
    private String decoder = "exact";

    @Option(
            names = {"-w", "--window"},
            paramLabel = "SIZE",
            defaultValue = "8",
            description = "Positions refined per pass; it changes no token. Default: ${DEFAULT-VALUE}.")
    private int window = 1;

    @Mixin
    private DecodingOptions decoding = new DecodingOptions();

    @Mixin
    private ModelOptions model = new ModelOptions();

    @Mixin
    private final CommonOptions common;

    private final Console console;

    DebugBackendsCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() throws IOException {
        GenerationRequest request = decoding.request(String.join(" ", words), false, images, decoder, window);
        try (Engine first = model.open(console);
                Engine second = model.open(console, against)) {
            BackendComparison comparison;
            try (Progress progress = console.progress("comparing", 0, "tokens")) {
                comparison = BackendComparison.run(first, second, request, new GenerationListener() {
                    @Override
                    public void progress(long committed, long total, long passes) {
                        progress.update(committed, total, "");
                    }

                    @Override
                    public boolean cancelled() {
                        return console.cancelled();
                    }
                });
            }
            print(comparison, first.info().backend(), second.info().backend());
            return comparison.same() ? 0 : 1;
        }
    }

    private void print(BackendComparison comparison, String first, String second) {
        for (Parting p : comparison.partings()) {
            console.out()
                    .printf(
                            Locale.ROOT,
                            "picture %d parts at position %d (row %d, column %d): %s drew %d, %s drew %d; %d leads by %.3g on"
                                    + " %s and by %.3g on %s: logit gap %.3g%s%n",
                            p.picture(),
                            p.position(),
                            p.row(),
                            p.column(),
                            first,
                            p.first(),
                            second,
                            p.second(),
                            p.first(),
                            p.firstLead(),
                            first,
                            p.secondLead(),
                            second,
                            p.logitGap(),
                            p.explainedByLogits() ? "" : " (a filter decided: see --top-k and --top-p)");
        }
        int same = comparison.pictures() - comparison.partings().size();
        console.out()
                .println(same + " of " + comparison.pictures() + " pictures are the same on " + first + " and "
                        + second);
    }
}
