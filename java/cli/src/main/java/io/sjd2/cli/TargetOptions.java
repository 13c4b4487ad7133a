package io.sjd2.cli;

import io.sjd2.Condition;
import io.sjd2.GenerationRequest;
import java.io.IOException;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// Which picture is wanted, beside its prompt.
final class TargetOptions {
    /// @param width pixels
    record Size(int width, int height) {}

    /// Reads `WxH`.
    static final class SizeConverter implements ITypeConverter<Size> {
        private static final Pattern SIZE = Pattern.compile("(\\d{1,5})[xX](\\d{1,5})");

        @Override
        public Size convert(String text) {
            Matcher matcher = SIZE.matcher(text);
            if (!matcher.matches()) {
                throw new TypeConversionException(
                        "\"" + text + "\" is no size: expected width x height in pixels, as 768x512");
            }
            return new Size(Integer.parseInt(matcher.group(1)), Integer.parseInt(matcher.group(2)));
        }
    }

    @Option(
            names = "--size",
            paramLabel = "WxH",
            converter = SizeConverter.class,
            description = "Width and height of the picture in pixels. Default: the model's.")
    private @Nullable Size size;

    @Option(
            names = "--negative",
            paramLabel = "TEXT",
            description = "What guidance leads away from, for models that take text. Default: the model's.")
    private @Nullable String negative;

    @Option(
            names = "--class",
            paramLabel = "N",
            description = "Number of a class, instead of a prompt, for models that take classes.")
    private @Nullable Integer label;

    @Option(
            names = "--caption-features",
            paramLabel = "FILE",
            description =
                    "Features of a caption, instead of a prompt, for models that take those: a safetensors file with"
                            + " caption [T,C] or [1,T,C], and mask [T] or [1,T], 0 where a row is padding; padding stands first.")
    private @Nullable Path features;

    /// What was asked for.
    ///
    /// @throws IOException if the features cannot be read
    /// @throws IllegalArgumentException if two things exclude each other
    GenerationRequest.Target read() throws IOException {
        if (label != null && features != null) {
            throw new IllegalArgumentException("--class: --caption-features is given too: a model takes one of them");
        }
        Condition condition =
                label != null ? new Condition.Label(label) : features != null ? Condition.Caption.read(features) : null;
        return new GenerationRequest.Target(
                size == null ? null : size.width(), size == null ? null : size.height(), negative, condition);
    }

    /// What stands for the prompt in names of files and in reports.
    String conditionName() {
        return label != null ? "class " + label : features != null ? "caption " + features.getFileName() : "";
    }
}
