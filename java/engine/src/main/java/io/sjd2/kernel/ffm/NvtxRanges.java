package io.sjd2.kernel.ffm;

import io.sjd2.kernel.Backend.Recurring;
import io.sjd2.kernel.Kernels;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Ranges on the timeline of NVIDIA's profilers, named after operations: `attention` inside `decode_step`.
///
/// Off, and then without any cost, unless `-Dsjd2.nvtx=true` is set and NVIDIA's tools extension is installed; where it
/// is not, a line in the log says so and nothing else happens. A range spans the host's call, which enqueues the
/// operation; where a recorded iteration is replayed, only `decode_step` shows (`-Dsjd2.cuda.graphs=false` shows all).
public final class NvtxRanges {
    /// System property: `true` asks for ranges.
    public static final String PROPERTY = "sjd2.nvtx";

    /// The range around an iteration of decoding.
    public static final String DECODE_STEP = "decode_step";

    /// CUDA 12 has the first; CUDA 13, which keeps NVTX in headers, has the others for languages other than C.
    private static final List<String> LIBRARIES =
            List.of("libnvToolsExt.so.1", "libnvToolsExt.so", "libnvtx3interop.so.1", "libnvtx3interop.so");

    private static final Logger LOG = System.getLogger(NvtxRanges.class.getName());
    private static final @Nullable NvtxRanges INSTALLED = Boolean.getBoolean(PROPERTY) ? open() : null;

    private final MethodHandle push;
    private final MethodHandle pop;
    private final Arena names = Arena.ofShared();

    /// @param push  `int nvtxRangePushA(const char*)`
    /// @param pop   `int nvtxRangePop(void)`
    NvtxRanges(MemorySegment push, MemorySegment pop) {
        Linker linker = Linker.nativeLinker();
        this.push = linker.downcallHandle(push, FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS));
        this.pop = linker.downcallHandle(pop, FunctionDescriptor.of(ValueLayout.JAVA_INT));
    }

    private static @Nullable NvtxRanges open() {
        for (String name : LIBRARIES) {
            try {
                SymbolLookup library = SymbolLookup.libraryLookup(name, Arena.global());
                NvtxRanges ranges =
                        new NvtxRanges(library.findOrThrow("nvtxRangePushA"), library.findOrThrow("nvtxRangePop"));
                LOG.log(Level.INFO, "NVTX ranges through {0}", name);
                return ranges;
            } catch (RuntimeException e) {
                LOG.log(Level.DEBUG, "no NVTX through {0}: {1}", name, e.getMessage());
            }
        }
        LOG.log(Level.INFO, "no NVTX ranges: none of {0} is installed", String.join(", ", LIBRARIES));
        return null;
    }

    /// `kernels`, each of its operations in a range of its own if ranges are on.
    public static Kernels around(Kernels kernels) {
        return INSTALLED == null ? kernels : INSTALLED.of(kernels);
    }

    /// `work`, in a range of that name if ranges are on.
    public static Recurring around(String name, Recurring work) {
        return INSTALLED == null ? work : INSTALLED.of(name, work);
    }

    /// Every call of `kernels` inside a range that has the operation's name.
    Kernels of(Kernels kernels) {
        Map<Method, MemorySegment> stems = new HashMap<>();
        for (Method method : Kernels.class.getMethods()) {
            stems.put(method, names.allocateFrom(stem(method.getName())));
        }
        return (Kernels) Proxy.newProxyInstance(
                Kernels.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, arguments) -> {
                    MemorySegment name = stems.get(method);
                    if (name == null) {
                        return call(kernels, method, arguments);
                    }
                    enter(name);
                    try {
                        return call(kernels, method, arguments);
                    } finally {
                        leave();
                    }
                });
    }

    Recurring of(String name, Recurring work) {
        MemorySegment text = names.allocateFrom(name);
        return new Recurring() {
            @Override
            public void run() {
                enter(text);
                try {
                    work.run();
                } finally {
                    leave();
                }
            }

            @Override
            public void close() {
                work.close();
            }
        };
    }

    /// The operation's stem: `ropeAppend` is `rope_append` everywhere else.
    static String stem(String method) {
        return method.replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT);
    }

    private static @Nullable Object call(Kernels kernels, Method method, Object @Nullable [] arguments)
            throws Throwable {
        try {
            return method.invoke(kernels, arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    private void enter(MemorySegment name) {
        try {
            int depth = (int) push.invokeExact(name);
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
    }

    private void leave() {
        try {
            int depth = (int) pop.invokeExact();
        } catch (Throwable t) {
            throw Downcalls.unexpected(t);
        }
    }
}
