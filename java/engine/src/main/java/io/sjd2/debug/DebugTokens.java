package io.sjd2.debug;

import io.sjd2.io.AtomicFiles;
import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import io.sjd2.model.ModelDescription;
import io.sjd2.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Texts to token ids, as a model's text tokeniser makes them.
public final class DebugTokens {
    private DebugTokens() {}

    /// Reads a JSON list of strings and writes a list of `{"ids": [..], "ids_with_special": [..]}`; the latter are
    /// the ids with what the tokeniser's post-processor adds.
    ///
    /// @param folder  holds the text tokeniser; needs no other file of a model
    /// @return how many texts there were
    /// @throws ModelFormatException if there is no tokeniser, or `in` is no list of strings
    /// @throws IOException if reading or writing fails
    public static int run(Path folder, Path in, Path out) throws IOException {
        Path file = ModelDescription.tokenizerFile(folder);
        if (!Files.exists(file)) {
            throw new ModelFormatException(
                    folder.toString(), "holds no tokenizer.json", "give the folder of a model that takes text");
        }
        Tokenizer tokenizer = Tokenizer.load(file);
        List<Object> results = new ArrayList<>();
        for (Json text : Json.read(in).items()) {
            Map<String, Object> ids = new LinkedHashMap<>();
            ids.put("ids", list(tokenizer.encode(text.string(), false)));
            ids.put("ids_with_special", list(tokenizer.encode(text.string(), true)));
            results.add(ids);
        }
        AtomicFiles.write(out, Json.text(results) + "\n");
        return results.size();
    }

    private static List<Integer> list(int[] ids) {
        return Arrays.stream(ids).boxed().toList();
    }
}
