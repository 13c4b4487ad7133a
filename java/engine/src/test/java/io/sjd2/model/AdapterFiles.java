package io.sjd2.model;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;

/// The two files of a small adapter, for tests in other packages.
public final class AdapterFiles {
    private static final int HIDDEN = 6;
    private static final int SINUSOID = 4;

    private AdapterFiles() {}

    /// Writes both into `folder`.
    public static void write(Path folder) throws IOException {
        float[] ones = new float[HIDDEN];
        Arrays.fill(ones, 1);
        new SafetensorsWriter()
                .addF32("sjd2.embedding_mean", new long[] {HIDDEN}, new float[HIDDEN])
                .addF32("sjd2.embedding_std", new long[] {HIDDEN}, ones)
                .addF32("sjd2.time_embed.fc1.weight", new long[] {HIDDEN, SINUSOID}, new float[HIDDEN * SINUSOID])
                .addF32("sjd2.time_embed.fc1.bias", new long[] {HIDDEN}, ones)
                .addF32("sjd2.time_embed.fc2.weight", new long[] {HIDDEN, HIDDEN}, new float[HIDDEN * HIDDEN])
                .addF32("sjd2.time_embed.fc2.bias", new long[] {HIDDEN}, ones)
                .write(folder.resolve(NoiseAdapter.TENSORS_FILE));
        AtomicFiles.write(
                folder.resolve(NoiseAdapter.SETTINGS_FILE),
                "{\"format\": 1, \"parametrisation\": \"vp\", \"rho\": 7, \"levels\": 2, \"timestep_scale\": 100.0,"
                        + " \"timestep_shift\": 500, \"sinusoid_dim\": " + SINUSOID
                        + ", \"inference_lambda_min\": 0.5, \"inference_lambda_max\": 30.0}");
    }

    /// Reads them as an engine does, schedule and level table included.
    public static void read(Path folder) throws IOException {
        NoiseAdapter adapter = NoiseAdapter.find(folder, HIDDEN).orElseThrow();
        adapter.levelTable(adapter.schedule(adapter.defaultLevels()));
    }
}
