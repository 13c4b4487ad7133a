package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsFile;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.tensor.DType;
import io.sjd2.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// A tiny checkpoint of a published family with outputs of its reference implementation, opened on one backend.
///
/// `golden/lm/README.md` says where they come from.
public final class LmFixture implements AutoCloseable {
    /// What f32 logits may be off by, as a share of the largest logit.
    static final double LOGITS = 5e-6;
    /// What f32 hidden states may be off by.
    static final double HIDDEN = 1e-4;
    /// What f32 embeddings may be off by.
    static final double EMBEDDINGS = 1e-5;

    /// Models conditioned on text.
    public static final List<String> TEXT = List.of("chameleon", "chameleon_swin", "emu3", "janus");

    private static final Map<String, LmFixture> OPEN = new HashMap<>();

    public final String name;
    public final Backend backend;
    public final Transformer model;
    public final ModelDescription description;
    private final Json manifest;
    private final Path folder;
    private final Map<String, SafetensorsFile> goldens = new HashMap<>();

    private LmFixture(String name, String backendName, DType dtype) throws IOException {
        this.name = name;
        this.folder = folder(name);
        this.backend = Backends.open(backendName, 2);
        this.description = ModelDescription.read(folder);
        try (ModelFiles files = ModelFiles.of(description, folder, true)) {
            this.model = Transformer.load(backend, files, dtype, Transformer.Heads.ALL, LoadListener.NONE);
        }
        this.manifest = Json.read(folder.resolve("golden/golden.json"));
    }

    /// The folder of a fixture.
    public static Path folder(String name) {
        try {
            return Path.of(LmFixture.class
                            .getResource("/golden/lm/" + name + "/config.json")
                            .toURI())
                    .getParent();
        } catch (URISyntaxException e) {
            throw new AssertionError("the tests' resources are files", e);
        }
    }

    /// Opened once per run of a test class; {@link #closeAll} ends them.
    public static LmFixture open(String name, String backend, DType dtype) {
        return OPEN.computeIfAbsent(name + "|" + backend + "|" + dtype, key -> {
            try {
                return new LmFixture(name, backend, dtype);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
    }

    public static LmFixture open(String name, String backend) {
        return open(name, backend, DType.F32);
    }

    public static void closeAll() {
        OPEN.values().forEach(LmFixture::close);
        OPEN.clear();
    }

    /// The manifest's entry of a case.
    public Json golden(String caseName) throws IOException {
        for (Json each : manifest.get("cases").items()) {
            if (each.get("name").string().equals(caseName)) {
                return each;
            }
        }
        throw new AssertionError(name + " has no case " + caseName);
    }

    public boolean hasTensor(String file, String tensor) throws IOException {
        return file(file).find(tensor).isPresent();
    }

    public float[] floats(String file, String tensor) throws IOException {
        return file(file).tensor(tensor).toFloats();
    }

    public int[] ints(String file, String tensor) throws IOException {
        return file(file).tensor(tensor).toInts();
    }

    long[] shape(String file, String tensor) throws IOException {
        return file(file).tensor(tensor).shape();
    }

    private SafetensorsFile file(String name) throws IOException {
        SafetensorsFile open = goldens.get(name);
        if (open == null) {
            open = SafetensorsFile.open(folder.resolve("golden").resolve(name + ".safetensors"));
            goldens.put(name, open);
        }
        return open;
    }

    /// Chameleon's variants share one.
    public Tokenizer tokenizer() throws IOException {
        Path own = folder.resolve("tokenizer.json");
        return Tokenizer.load(Files.exists(own) ? own : folder("chameleon").resolve("tokenizer.json"));
    }

    /// Conditional and unconditional prompt of a LlamaGen fixture.
    public List<Prompt> conditions() throws IOException {
        Conditions conditions = model.conditions();
        if (hasTensor("lm", "cond.labels")) {
            int[] labels = ints("lm", "cond.labels");
            return List.of(conditions.label(labels[0]), conditions.label(labels[1]));
        }
        int[] mask = ints("lm", "cond.mask");
        boolean[] live = new boolean[mask.length];
        for (int i = 0; i < mask.length; i++) {
            live[i] = mask[i] != 0;
        }
        return List.of(conditions.caption(floats("lm", "cond.caption"), live), conditions.noCaption(live));
    }

    static float largest(float[] values) {
        float largest = 0;
        for (float v : values) {
            largest = Math.max(largest, Math.abs(v));
        }
        return largest;
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
        goldens.values().forEach(SafetensorsFile::close);
        model.close();
        backend.close();
    }
}
