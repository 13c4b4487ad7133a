package io.sjd2.cli;

import io.sjd2.Diagnosis;
import io.sjd2.Diagnosis.BackendFinding;
import io.sjd2.Engine;
import io.sjd2.Reports;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// `sjd2 doctor`: what was found and chosen, and why not better.
@Command(
        name = "doctor",
        header = "Say what was found on this machine, what is chosen, and why nothing better.",
        description = {
            "",
            "Ends with exit code 0 if a picture could be made with the model named, else 1.",
            "",
            "Example:",
            "  sjd2 doctor",
            ""
        })
final class DoctorCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model = new ModelOptions();

    @Option(names = "--json", description = "Print JSON, and nothing else, to standard output.")
    private boolean json;

    @Mixin
    private final CommonOptions common;

    private final Console console;

    DoctorCommand(Console console) {
        this.console = console;
        this.common = new CommonOptions(console);
    }

    @Override
    public Integer call() {
        Diagnosis diagnosis = Diagnosis.run(model.threads());
        boolean opens = false;
        String finding;
        try (Engine engine = model.open(console)) {
            opens = true;
            finding = "opens on " + engine.info().backend();
        } catch (IOException | RuntimeException e) {
            finding = Errors.oneLine(String.valueOf(e.getMessage()));
        }
        if (json) {
            Map<String, Object> report = new LinkedHashMap<>(diagnosis.toJson());
            Map<String, Object> modelReport = new LinkedHashMap<>();
            modelReport.put("folder", model.folder().toString());
            modelReport.put("opens", opens);
            modelReport.put("finding", finding);
            report.put("model", modelReport);
            console.out().print(Reports.json(report));
        } else {
            print(diagnosis, opens, finding);
        }
        return opens && diagnosis.healthy() ? 0 : Errors.FAILURE;
    }

    private void print(Diagnosis diagnosis, boolean opens, String finding) {
        console.out().println("version  " + String.join(", ", new Version().getVersion()));
        console.out().println("java     " + diagnosis.java());
        console.out()
                .println("machine  " + diagnosis.system() + ", " + diagnosis.cores() + " cores"
                        + (diagnosis.memory() == 0
                                ? ""
                                : String.format(Locale.ROOT, ", %.1f GB memory", diagnosis.memory() / 1e9)));
        for (BackendFinding backend : diagnosis.backends()) {
            String verdict = backend.chosen() ? "chosen" : backend.available() ? "available" : "not available";
            console.out().println("backend  " + backend.name() + ": " + verdict);
            backend.detail().forEach(line -> console.out().println("           " + line));
            if (!backend.reason().isBlank()) {
                console.out()
                        .println("           " + (backend.available() ? "why not better: " : "why not: ")
                                + backend.reason());
            }
        }
        console.out().println("model    " + model.folder() + ": " + (opens ? "" : "does not open: ") + finding);
    }
}
