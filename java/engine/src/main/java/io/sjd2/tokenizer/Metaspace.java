package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;

/// The convention of writing a space as a visible character, with one put before the text.
///
/// @param replacement one code point, usually U+2581
/// @param prepend     which pieces get one put before them
record Metaspace(String replacement, Prepend prepend) {
    /// Which pieces of an input get a replacement put before them.
    enum Prepend {
        ALWAYS,
        FIRST,
        NEVER
    }

    static Metaspace parse(Json json) throws ModelFormatException {
        Json replacement = json.get("replacement");
        if (replacement.string().codePoints().count() != 1) {
            throw replacement.unexpected("one character");
        }
        Prepend fallback = json.bool("add_prefix_space", true) ? Prepend.ALWAYS : Prepend.NEVER;
        Prepend prepend = fallback;
        if (json.has("prepend_scheme")) {
            Json scheme = json.get("prepend_scheme");
            prepend = switch (scheme.string()) {
                case "always" -> Prepend.ALWAYS;
                case "first" -> Prepend.FIRST;
                case "never" -> Prepend.NEVER;
                default -> throw scheme.unexpected("one of always, first, never");
            };
        }
        return new Metaspace(replacement.string(), prepend);
    }

    /// @param first whether `text` starts where the whole input starts
    String write(String text, boolean first) {
        String written = text.replace(" ", replacement);
        boolean wanted = prepend == Prepend.ALWAYS || prepend == Prepend.FIRST && first;
        return wanted && !written.startsWith(replacement) ? replacement + written : written;
    }

    /// @param first whether `token` is the first of the sequence
    String read(String token, boolean first) {
        return token.replace(replacement, first && prepend != Prepend.NEVER ? "" : " ");
    }
}
