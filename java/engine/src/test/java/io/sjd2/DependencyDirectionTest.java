package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.Backend;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.spi.ToolProvider;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/// Who may use whom: a package reaches what lies behind its arrows, never the other way.
class DependencyDirectionTest {
    private static final String ROOT = "io.sjd2";

    /// Arrows of the architecture, names below {@link #ROOT}; `""` is the public package. A package that is not here
    /// has no
    /// place yet: give it one.
    private static final Map<String, Set<String>> ARROWS = Map.ofEntries(
            Map.entry("", Set.of("decode", "vq", "tokenizer", "train", "io")),
            Map.entry("debug", Set.of("decode", "vq", "tokenizer", "train", "io")),
            Map.entry("decode", Set.of("model")),
            Map.entry("train", Set.of("decode", "model", "vq", "scenes", "tokenizer", "io")),
            Map.entry("model", Set.of("kernel", "io")),
            Map.entry("vq", Set.of("kernel", "io")),
            Map.entry("kernel", Set.of("tensor")),
            Map.entry("scenes", Set.of("tensor")),
            Map.entry("tokenizer", Set.of("io")),
            Map.entry("io", Set.of("tensor")),
            Map.entry("tensor", Set.of()),
            Map.entry("kernel.cpu", Set.of("kernel.ffm")),
            Map.entry("kernel.cuda", Set.of("kernel.ffm")),
            Map.entry("kernel.ffm", Set.of("kernel")),
            Map.entry("kernel.reference", Set.of("kernel")));

    private static final Pattern DEPENDENCY = Pattern.compile("^\\s+(\\S+)\\s+->\\s+(\\S+)\\s+(.*)$");

    /// A class uses another; `module` is where jdeps found the other.
    private record Use(String from, String to, String module) {
        String fromPackage() {
            return packageOf(from);
        }

        String toPackage() {
            return packageOf(to);
        }

        private static String packageOf(String name) {
            return name.substring(0, name.lastIndexOf('.'));
        }

        @Override
        public String toString() {
            return from + " -> " + to;
        }
    }

    private static final List<Use> USES = new ArrayList<>();

    @BeforeAll
    static void runJdeps() throws URISyntaxException {
        Path classes = Path.of(Backend.class
                .getProtectionDomain()
                .getCodeSource()
                .getLocation()
                .toURI());
        StringWriter out = new StringWriter();
        StringWriter err = new StringWriter();
        int status = ToolProvider.findFirst("jdeps")
                .orElseThrow(() -> new AssertionError("this JDK has no jdeps"))
                .run(
                        new PrintWriter(out, true),
                        new PrintWriter(err, true),
                        "--multi-release",
                        "base",
                        "--ignore-missing-deps",
                        "-verbose:class",
                        "-filter:none",
                        classes.toString());
        assertThat(status).as("jdeps said: %s", err).isZero();
        out.toString().lines().forEach(line -> {
            Matcher matcher = DEPENDENCY.matcher(line);
            if (matcher.matches() && matcher.group(1).startsWith(ROOT + ".")) {
                USES.add(new Use(
                        matcher.group(1), matcher.group(2), matcher.group(3).trim()));
            }
        });
    }

    @Test
    void jdepsSeesThisProject() {
        assertThat(USES)
                .as("a known use, without which the other tests would prove nothing")
                .anyMatch(use -> use.toString().equals("io.sjd2.kernel.Backend -> io.sjd2.tensor.Tensor"));
    }

    @Test
    void everyUseFollowsTheArrows() {
        Set<String> wrong = new TreeSet<>();
        for (Use use : USES) {
            if (use.toPackage().startsWith(ROOT) && !use.fromPackage().equals(use.toPackage())) {
                String from = belowRoot(use.fromPackage());
                String to = belowRoot(use.toPackage());
                if (!ARROWS.containsKey(from)) {
                    wrong.add(use.fromPackage() + " has no place in the architecture");
                } else if (!reachable(from).contains(to)) {
                    wrong.add(use.toString());
                }
            }
        }
        assertThat(wrong).isEmpty();
    }

    @Test
    void tensorUsesJavaBaseOnly() {
        assertThat(USES)
                .filteredOn(use -> use.fromPackage().equals("io.sjd2.tensor"))
                .filteredOn(use -> !use.toPackage().equals("io.sjd2.tensor"))
                .isNotEmpty()
                .allMatch(use -> use.module().startsWith("java.base"));
    }

    /// Method handles cannot be held to the same rule: every lambda and record uses them behind the scenes.
    @Test
    void theForeignLinkerIsUsedByFfmAlone() {
        assertThat(USES)
                .filteredOn(use -> use.to().equals("java.lang.foreign.Linker")
                        || use.to().equals("java.lang.foreign.FunctionDescriptor"))
                .isNotEmpty()
                .allMatch(use -> use.fromPackage().equals("io.sjd2.kernel.ffm"));
    }

    @Test
    void cudaBindingsAreUsedByTheCudaBackendAlone() {
        assertThat(USES)
                .filteredOn(use -> use.to().startsWith("jcuda."))
                .allMatch(use -> use.fromPackage().equals("io.sjd2.kernel.cuda"));
    }

    private static String belowRoot(String name) {
        return name.equals(ROOT) ? "" : name.substring(ROOT.length() + 1);
    }

    private static Set<String> reachable(String from) {
        Set<String> seen = new HashSet<>();
        Deque<String> open = new ArrayDeque<>(ARROWS.get(from));
        while (!open.isEmpty()) {
            String next = open.pop();
            if (seen.add(next)) {
                open.addAll(ARROWS.get(next));
            }
        }
        return seen;
    }
}
