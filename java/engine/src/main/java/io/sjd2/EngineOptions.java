package io.sjd2;

import io.sjd2.model.LoadListener;
import io.sjd2.tensor.DType;
import org.jspecify.annotations.Nullable;

/// How to open a model.
///
/// @param backend   `auto`, `cpu` or `reference`; a named backend is never replaced by another
/// @param dtype     what weights are stored and multiplied as, f32 or bf16; null takes f32 where they
///                  are stored as F32, else bf16
/// @param threads   worker threads; 0 takes every core
/// @param mapping   whether files of weights are mapped; false reads them, for files that others may truncate
/// @param listener  told while weights load
public record EngineOptions(
        String backend, @Nullable DType dtype, int threads, boolean mapping, LoadListener listener) {
    public EngineOptions {
        if (threads < 0 || threads > 4096) {
            throw new IllegalArgumentException("threads is " + threads + ", expected 0 (all cores) to 4096");
        }
    }

    /// Best backend, the weights' own dtype, all cores.
    public static EngineOptions defaults() {
        return new EngineOptions("auto", null, 0, true, LoadListener.NONE);
    }

    public EngineOptions withBackend(String name) {
        return new EngineOptions(name, dtype, threads, mapping, listener);
    }

    public EngineOptions withDtype(@Nullable DType type) {
        return new EngineOptions(backend, type, threads, mapping, listener);
    }

    public EngineOptions withThreads(int count) {
        return new EngineOptions(backend, dtype, count, mapping, listener);
    }

    public EngineOptions withMapping(boolean map) {
        return new EngineOptions(backend, dtype, threads, map, listener);
    }

    public EngineOptions withListener(LoadListener loadListener) {
        return new EngineOptions(backend, dtype, threads, mapping, loadListener);
    }
}
