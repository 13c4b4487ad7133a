package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.util.ArrayList;
import java.util.List;

/// The last stage: puts the model's own tokens around those of the text.
///
/// @param before ids that come before the text's
/// @param after  ids that come after
record PostProcessor(List<Integer> before, List<Integer> after) {
    static final PostProcessor NONE = new PostProcessor(List.of(), List.of());

    /// @param json the component, `{"type": ...}`
    /// @throws ModelFormatException naming a component that is not built
    static PostProcessor parse(Json json) throws ModelFormatException {
        Json type = json.get("type");
        return switch (type.string()) {
            // It only shifts offsets, and offsets are not computed.
            case "ByteLevel" -> NONE;
            case "Sequence" -> {
                List<Integer> before = new ArrayList<>();
                List<Integer> after = new ArrayList<>();
                for (Json part : json.get("processors").items()) {
                    PostProcessor inner = parse(part);
                    before.addAll(0, inner.before);
                    after.addAll(inner.after);
                }
                yield new PostProcessor(before, after);
            }
            case "TemplateProcessing" -> template(json);
            default -> throw type.unexpected("a post-processor that is built: Sequence, TemplateProcessing, ByteLevel");
        };
    }

    private static PostProcessor template(Json json) throws ModelFormatException {
        List<Integer> before = new ArrayList<>();
        List<Integer> after = new ArrayList<>();
        boolean seen = false;
        Json single = json.get("single");
        for (Json part : single.items()) {
            if (part.has("SpecialToken")) {
                Json token = part.get("SpecialToken").get("id");
                for (Json id : json.get("special_tokens")
                        .get(token.string())
                        .get("ids")
                        .items()) {
                    (seen ? after : before).add(id.int32());
                }
            } else if (!seen && part.get("Sequence").get("id").string().equals("A")) {
                seen = true;
            } else {
                throw part.unexpected("SpecialToken, or Sequence A once");
            }
        }
        if (!seen) {
            throw single.unexpected("a template in which Sequence A occurs");
        }
        return new PostProcessor(before, after);
    }
}
