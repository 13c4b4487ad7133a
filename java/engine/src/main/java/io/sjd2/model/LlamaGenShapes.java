package io.sjd2.model;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// The configuration of LlamaGen's published files, which come without one: read off the shapes of the weights and, for
/// what these do not show, off the file's name.
final class LlamaGenShapes {
    private static final String EMBEDDING = "tok_embeddings.weight";
    private static final String FUSED = "layers.0.attention.wqkv.weight";
    /// Query heads of the published sizes whose heads do not have 64 elements. Source: LlamaGen's table of models.
    private static final Map<Integer, Integer> HEADS = Map.of(3200, 32, 4096, 32);

    private static final int USUAL_HEAD = 64;
    /// The picture's edge in pixels, as in `c2i_XL_384.pt` and `t2i_XL_stage2_512.pt`.
    private static final Pattern EDGE = Pattern.compile("_(\\d{2,4})(?=\\D*$)");

    private static final int USUAL_EDGE = 256;
    private static final int PIXELS = 16;

    private LlamaGenShapes() {}

    /// The configuration of the one PyTorch file of a folder, or null if that holds something else.
    static @Nullable Json infer(Path folder) throws IOException {
        List<Path> files = ModelFiles.pytorchFiles(folder);
        if (files.size() != 1) {
            return null;
        }
        try (PytorchSource source = PytorchSource.open(folder, files, true)) {
            return infer(source, files.getFirst().getFileName().toString());
        }
    }

    /// @param fileName  tells the picture's size
    static @Nullable Json infer(TensorSource source, String fileName) throws ModelFormatException {
        if (!source.has(EMBEDDING) || !source.has(FUSED)) {
            return null;
        }
        long[] embedding = matrix(source, EMBEDDING);
        int dim = (int) embedding[1];
        int heads = HEADS.getOrDefault(dim, Math.max(1, dim / USUAL_HEAD));
        int headDim = Math.max(1, dim / heads);
        int layers = 0;
        while (source.has("layers." + layers + ".attention.wqkv.weight")) {
            layers++;
        }
        Map<String, Object> config = new LinkedHashMap<>();
        config.put("model_type", "llamagen_gpt");
        config.put("dim", dim);
        config.put("n_layer", layers);
        config.put("n_head", heads);
        config.put("n_kv_head", Math.max(1, (matrix(source, FUSED)[0] / headDim - heads) / 2));
        config.put("vocab_size", embedding[0]);
        boolean captions = source.has(ConditionShape.NO_CAPTION);
        config.put("gpt_type", captions ? "t2i" : "c2i");
        if (captions) {
            long[] none = matrix(source, ConditionShape.NO_CAPTION);
            config.put("cls_token_num", none[0]);
            config.put("caption_dim", none[1]);
        } else {
            config.put("cls_token_num", 1);
            config.put("num_classes", matrix(source, ConditionShape.CLASS_TABLE)[0] - 1);
        }
        Matcher edge = EDGE.matcher(fileName.replaceFirst("\\.[a-z]+$", ""));
        int pixels = edge.find() ? Integer.parseInt(edge.group(1)) : USUAL_EDGE;
        int cells = Math.max(1, pixels / PIXELS);
        config.put("block_size", cells * cells);
        return Json.parse(Json.text(config), source.source() + ": as its weights show");
    }

    private static long[] matrix(TensorSource source, String name) throws ModelFormatException {
        long[] shape = source.info(name).shape();
        if (shape.length != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > 1 << 24 || shape[1] > 1 << 20) {
            throw new ModelFormatException(
                    source.source(),
                    "tensor " + source.info(name) + " should be a matrix",
                    "put the model's " + ModelDescription.CONFIG_FILE + " beside it");
        }
        return shape;
    }
}
