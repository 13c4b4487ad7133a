package io.sjd2.decode;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/// The JSON fixtures of samplers and schedules under `golden/sampling`.
final class Golden {
    private Golden() {}

    static JsonObject read(String name) {
        String resource = "/golden/sampling/" + name;
        try (InputStream in = Golden.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new AssertionError(resource + " is not on the class path");
            }
            return JsonParser.parseReader(new InputStreamReader(in, StandardCharsets.UTF_8))
                    .getAsJsonObject();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static List<JsonObject> objects(JsonElement array) {
        List<JsonObject> out = new ArrayList<>();
        array.getAsJsonArray().forEach(e -> out.add(e.getAsJsonObject()));
        return out;
    }

    /// Numbers, with infinities and NaN written as strings.
    static double[] doubles(JsonElement element) {
        JsonArray array = element.getAsJsonArray();
        double[] out = new double[array.size()];
        for (int i = 0; i < out.length; i++) {
            String text = array.get(i).getAsString();
            out[i] = switch (text) {
                case "-inf" -> Double.NEGATIVE_INFINITY;
                case "inf" -> Double.POSITIVE_INFINITY;
                case "nan" -> Double.NaN;
                default -> Double.parseDouble(text);
            };
        }
        return out;
    }

    static float[] floats(JsonElement element) {
        double[] values = doubles(element);
        float[] out = new float[values.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = (float) values[i];
        }
        return out;
    }

    /// Rows joined into one array.
    static float[] rows(JsonElement element) {
        JsonArray array = element.getAsJsonArray();
        int width = array.get(0).getAsJsonArray().size();
        float[] out = new float[array.size() * width];
        for (int r = 0; r < array.size(); r++) {
            System.arraycopy(floats(array.get(r)), 0, out, r * width, width);
        }
        return out;
    }

    static int[] ints(JsonElement element) {
        JsonArray array = element.getAsJsonArray();
        int[] out = new int[array.size()];
        for (int i = 0; i < out.length; i++) {
            out[i] = (int) array.get(i).getAsLong();
        }
        return out;
    }
}
