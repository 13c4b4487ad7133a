package io.sjd2.io;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// The name of a model that is made up instead of read: `synthetic:<preset>`, with `?seed=7&layers=2` behind it if
/// wanted.
///
/// Stands wherever a model's folder stands, so that every tool that takes a folder takes a made-up model, too.
///
/// @param preset  whose shapes it has
/// @param seed    of its weights
/// @param layers  decoder blocks; 0 for as many as the real model has
public record SyntheticName(String preset, long seed, int layers) {
    /// What such names begin with.
    public static final String SCHEME = "synthetic:";

    /// Models whose shapes are known. Source: `docs/models.md`, "Synthetic models".
    public static final List<String> PRESETS =
            List.of("lumina-mgpt-7b-768", "emu3-8b", "janus-pro-1b", "janus-pro-7b", "llamagen-xl");

    private static final int MOST_LAYERS = 1024;
    private static final Pattern NAME = Pattern.compile(SCHEME + "([^?]*)(?:\\?(.*))?");
    private static final Pattern OPTION = Pattern.compile("(seed|layers)=(-?\\d{1,18})");

    /// @throws IllegalArgumentException if there is no such preset, or the layers are out of range
    public SyntheticName {
        if (!PRESETS.contains(preset)) {
            throw new IllegalArgumentException(
                    SCHEME + preset + ": there is no such preset; there are " + String.join(", ", PRESETS));
        }
        if (layers < 0 || layers > MOST_LAYERS) {
            throw new IllegalArgumentException(SCHEME + preset + ": layers is " + layers + ", expected 1 to "
                    + MOST_LAYERS + ", or none for as many as the real model has");
        }
    }

    /// The name that a path spells, or null if it is a folder's.
    ///
    /// @throws IllegalArgumentException if it begins like such a name and is none, naming what may stand there
    public static @Nullable SyntheticName of(Path path) {
        String text = path.toString();
        if (!text.startsWith(SCHEME)) {
            return null;
        }
        Matcher name = NAME.matcher(text);
        if (!name.matches()) {
            throw new IllegalArgumentException(text + ": expected " + SCHEME + "<preset>?seed=N&layers=N");
        }
        long seed = 0;
        int layers = 0;
        String options = name.group(2) == null ? "" : name.group(2);
        for (String option : Arrays.stream(options.split("&"))
                .filter(text2 -> !text2.isEmpty())
                .toList()) {
            Matcher matcher = OPTION.matcher(option);
            if (!matcher.matches()) {
                throw new IllegalArgumentException(
                        text + ": \"" + option + "\" is not one of seed=N, layers=N with an integer N");
            }
            long value = Long.parseLong(matcher.group(2));
            if (matcher.group(1).equals("seed")) {
                seed = value;
            } else {
                if (value < 1 || value > MOST_LAYERS) {
                    throw new IllegalArgumentException(text + ": layers is " + value + ", expected 1 to " + MOST_LAYERS
                            + ", or none for as many as the real model has");
                }
                layers = (int) value;
            }
        }
        return new SyntheticName(name.group(1), seed, layers);
    }

    @Override
    public String toString() {
        return SCHEME + preset + "?seed=" + seed + (layers == 0 ? "" : "&layers=" + layers);
    }
}
