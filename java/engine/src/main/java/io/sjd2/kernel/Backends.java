package io.sjd2.kernel;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.ServiceLoader;
import java.util.stream.Collectors;

/// Opens backends by name and says which there are. A request is never answered with something else.
public final class Backends {
    /// The request that takes the best backend that opens.
    public static final String AUTO = "auto";

    /// System property that names the backend where `auto` is asked for: `-Dsjd2.backend=cpu`.
    public static final String PROPERTY = "sjd2.backend";

    private static final Logger LOG = System.getLogger(Backends.class.getName());

    private Backends() {}

    /// One provider as `doctor` shows it.
    ///
    /// @param name       what to ask for
    /// @param available  whether it opens here
    /// @param chosen     whether `auto` takes it
    /// @param detail     what was found
    /// @param reason     why it is not available, or why it is not better; may be empty
    public record Report(String name, boolean available, boolean chosen, List<String> detail, String reason) {}

    /// Opens what `request` asks for.
    ///
    /// @param request  `auto`, or the name of a provider: `cpu`, `reference`, ...
    /// @param threads  worker threads; 0 takes every core that the process may run on
    /// @throws IllegalArgumentException if there is no such backend, `threads` is out of range, or the environment
    ///     asks for an instruction set that cannot be used
    /// @throws KernelException if the requested one, or with `auto` every one, cannot be opened; says why
    public static Backend open(String request, int threads) {
        return open(orProperty(request), threads, providers());
    }

    /// As {@link #open}, where `auto` takes the best backend that trains.
    public static Backend openForTraining(String request, int threads) {
        String wanted = orProperty(request);
        return open(
                wanted,
                threads,
                providers().stream()
                        .filter(provider -> !wanted.equals(AUTO) || provider.trains())
                        .toList());
    }

    private static String orProperty(String request) {
        return request.equals(AUTO) ? System.getProperty(PROPERTY, AUTO) : request;
    }

    static Backend open(String request, int threads, List<BackendProvider> providers) {
        if (threads < 0) {
            throw new IllegalArgumentException(
                    "threads is " + threads + ", expected a number from 1, or 0 for every core");
        }
        if (!request.equals(AUTO)) {
            return named(request, providers).open(threads);
        }
        List<String> refusals = new ArrayList<>();
        for (BackendProvider provider : providers) {
            if (!provider.automatic()) {
                continue;
            }
            try {
                Backend backend = provider.open(threads);
                LOG.log(
                        Level.INFO,
                        () -> "backend " + backend.name() + " with " + backend.threads() + " threads"
                                + (refusals.isEmpty() ? "" : "; not " + String.join("; not ", refusals)));
                return backend;
            } catch (KernelException e) {
                refusals.add(provider.name() + ": " + e.getMessage());
            }
        }
        throw new KernelException("no backend can be opened: " + String.join("; ", refusals), 0);
    }

    /// What there is, best first.
    ///
    /// @param threads  as in {@link #open}
    public static List<Report> report(int threads) {
        return report(threads, providers());
    }

    static List<Report> report(int threads, List<BackendProvider> providers) {
        List<Report> reports = new ArrayList<>();
        boolean taken = false;
        for (BackendProvider provider : providers) {
            BackendProvider.Probe probe = provider.probe(threads);
            boolean chosen = probe.available() && provider.automatic() && !taken;
            taken |= chosen;
            reports.add(new Report(provider.name(), probe.available(), chosen, probe.detail(), probe.reason()));
        }
        return reports;
    }

    /// The names that {@link #open} answers to, `auto` first.
    public static List<String> names() {
        List<String> names = new ArrayList<>(List.of(AUTO));
        providers().forEach(provider -> names.add(provider.name()));
        return names;
    }

    private static BackendProvider named(String request, List<BackendProvider> providers) {
        return providers.stream()
                .filter(provider -> provider.name().equals(request))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException("there is no backend `" + request + "`, expected auto, "
                        + providers.stream().map(BackendProvider::name).collect(Collectors.joining(", "))));
    }

    /// Best first. Found through this class's own loader, so that an embedder's context loader does not matter.
    private static List<BackendProvider> providers() {
        return ServiceLoader.load(BackendProvider.class, Backends.class.getClassLoader()).stream()
                .map(ServiceLoader.Provider::get)
                .sorted(Comparator.comparingInt(BackendProvider::priority).reversed())
                .toList();
    }
}
