package io.sjd2.vq;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.cpu.CpuLibrary;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/// A tiny image tokeniser of a published family with what its reference implementation decodes, opened on one backend.
///
/// `golden/vq/README.md` says where they come from.
final class VqFixture implements AutoCloseable {
    /// Every family's, with the folder below the fixture's that is published.
    static final List<String> NAMES = List.of("chameleon", "emu3", "janus", "llamagen_t2i");
    /// What f32 pictures, finished ones and those between layers, may be off by.
    static final double PICTURES = 1e-4;
    /// What bf16 pictures may be off by, at most and on average.
    static final double PICTURES_BF16 = 6e-2;

    static final double PICTURES_BF16_MEAN = 1e-2;

    private static final String CPU = "cpu";

    final String name;
    final Backend backend;
    final VqTokenizer tokenizer;
    private final SafetensorsFile goldens;

    private VqFixture(String name, Backend backend, VqTokenizer tokenizer, SafetensorsFile goldens) {
        this.name = name;
        this.backend = backend;
        this.tokenizer = tokenizer;
        this.goldens = goldens;
    }

    /// The folder of a fixture.
    static Path folder(String name) {
        return resource("vq/" + name + "/golden/vq.safetensors").getParent().getParent();
    }

    /// A file of the goldens.
    static Path resource(String name) {
        try {
            return Path.of(VqFixture.class.getResource("/golden/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError("the tests' resources are files", e);
        }
    }

    /// The oracle, and the library with every instruction set that this machine has; whoever uses it ends with {@link
    /// #backToTheBest}.
    static Stream<String> backends() {
        return Stream.concat(
                Stream.of("reference"),
                CpuLibrary.get().availableIsas().stream().map(isa -> CPU + "-" + isa));
    }

    static void backToTheBest() {
        CpuLibrary.get().selectIsa("");
    }

    /// Two threads, so that a race can show even in small tests.
    static Backend backend(String name) {
        if (name.startsWith(CPU)) {
            CpuLibrary.get().selectIsa(name.equals(CPU) ? "" : name.substring(CPU.length() + 1));
            return Backends.open(CPU, 2);
        }
        return Backends.open(name, 2);
    }

    static VqFixture open(String name, String backend, DType dtype) throws IOException {
        return open(name, folder(name), backend, dtype);
    }

    /// @param name   of the fixture whose goldens are held against it
    /// @param folder that is opened
    static VqFixture open(String name, Path folder, String backendName, DType dtype) throws IOException {
        Backend backend = backend(backendName);
        VqTokenizer tokenizer = null;
        try {
            tokenizer = ImageTokenizers.open(folder, backend, dtype, true);
            return new VqFixture(
                    name, backend, tokenizer, SafetensorsFile.open(folder(name).resolve("golden/vq.safetensors")));
        } catch (IOException | RuntimeException | Error e) {
            if (tokenizer != null) {
                tokenizer.close();
            }
            backend.close();
            throw e;
        }
    }

    boolean has(String tensor) {
        return goldens.has(tensor);
    }

    float[] floats(String tensor) throws IOException {
        return goldens.tensor(tensor).toFloats();
    }

    int[] ints(String tensor) throws IOException {
        return goldens.tensor(tensor).toInts();
    }

    int[] shape(String tensor) throws IOException {
        long[] shape = goldens.tensor(tensor).shape();
        int[] out = new int[shape.length];
        for (int i = 0; i < shape.length; i++) {
            out[i] = Math.toIntExact(shape[i]);
        }
        return out;
    }

    Path png(String codes) {
        return folder(name).resolve("golden/" + codes + ".png");
    }

    /// The picture of a golden's codes.
    float[] decode(String codes) throws IOException {
        int[] shape = shape(codes + ".codes");
        return tokenizer.decode(ints(codes + ".codes"), shape[1], shape[2], VqListener.NONE);
    }

    /// What the network shows on its way, by name.
    Map<String, float[]> shown(String codes, int frames) throws IOException {
        int[] shape = shape(codes + ".codes");
        Map<String, float[]> shown = new HashMap<>();
        tokenizer.decode(ints(codes + ".codes"), shape[1], shape[2], frames, VqListener.NONE, shown::put);
        return shown;
    }

    /// `[n, pixels, channels]` as `[n, channels, pixels]`.
    static float[] planes(float[] pictures, int n, int channels) {
        float[] out = new float[pictures.length];
        int pixels = pictures.length / n / channels;
        for (int i = 0; i < n; i++) {
            for (int p = 0; p < pixels; p++) {
                for (int c = 0; c < channels; c++) {
                    out[(i * channels + c) * pixels + p] = pictures[(i * pixels + p) * channels + c];
                }
            }
        }
        return out;
    }

    /// The largest absolute difference; infinite where one is not a number.
    static double difference(float[] a, float[] b) {
        if (a.length != b.length) {
            throw new AssertionError(a.length + " values against " + b.length);
        }
        double worst = 0;
        for (int i = 0; i < a.length; i++) {
            double d = Math.abs((double) a[i] - b[i]);
            worst = Double.isNaN(d) ? Double.POSITIVE_INFINITY : Math.max(worst, d);
        }
        return worst;
    }

    static double meanDifference(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += Math.abs((double) a[i] - b[i]);
        }
        return sum / a.length;
    }

    @Override
    public void close() {
        goldens.close();
        tokenizer.close();
        backend.close();
    }
}
