package io.sjd2.cli;

import io.sjd2.GenerationRequest;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// How to draw from the model: what every command that makes pictures takes.
final class DecodingOptions {
    private static final List<String> DECODERS =
            List.of("ar", "jacobi", "sjd", "sjd-mc", "sjd-gs", "exact", "sjd2", "sjd2-mc", "sjd2-gs", "sjd2-exact");
    private static final int WIDEST = 65_536;

    /// Words that `--decoder` takes.
    static final class Decoders implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return DECODERS.iterator();
        }
    }

    /// Reads the name of a decoder.
    static final class DecoderConverter implements ITypeConverter<String> {
        @Override
        public String convert(String text) {
            if (!DECODERS.contains(text)) {
                throw new TypeConversionException(
                        "\"" + text + "\" is no decoder: expected one of " + String.join(", ", DECODERS));
            }
            return text;
        }
    }

    /// Reads `auto` or a number of positions.
    static final class WindowConverter implements ITypeConverter<Integer> {
        @Override
        public Integer convert(String text) {
            if (text.equals("auto")) {
                return GenerationRequest.AUTO_WINDOW;
            }
            return (int) number(text, 1, WIDEST, "auto, or 1 to " + WIDEST + " positions per pass");
        }
    }

    /// Reads a seed; `random` draws one, which is then reported like any other.
    static final class SeedConverter implements ITypeConverter<Long> {
        @Override
        public Long convert(String text) {
            if (text.equals("random")) {
                // Few enough digits that it can be copied by hand.
                return ThreadLocalRandom.current().nextLong(1L << 31);
            }
            return number(text, Long.MIN_VALUE, Long.MAX_VALUE, "random, or a whole number of 64 bits");
        }
    }

    static long number(String text, long low, long high, String expected) {
        try {
            long value = Long.parseLong(text);
            if (value >= low && value <= high) {
                return value;
            }
        } catch (NumberFormatException e) {
            throw new TypeConversionException("\"" + text + "\" is no whole number: expected " + expected);
        }
        throw new TypeConversionException(text + " is out of range: expected " + expected);
    }

    @Option(
            names = {"-s", "--seed"},
            paramLabel = "N",
            defaultValue = "0",
            converter = SeedConverter.class,
            description =
                    "Any number, or random. The same seed and settings give the same picture. Default: ${DEFAULT-VALUE}.")
    private long seed;

    @Option(
            names = "--sampler",
            paramLabel = "NAME",
            description = "How the decoder ar draws: gumbel or inverse-cdf. Default: gumbel.")
    private @Nullable String sampler;

    @Option(
            names = "--levels",
            paramLabel = "N",
            description = "Noise levels of the sjd2 decoders, 1 to 1024. Default: the model's.")
    private @Nullable Integer levels;

    @Option(
            names = "--restart",
            paramLabel = "N",
            description = "Start a window again behind N passes in a row that failed at its first draft; 0: never, as "
                    + "published. Changes how many passes pictures take, not their law. Default: the model's.")
    private @Nullable Integer restart;

    @Option(
            names = "--cfg",
            paramLabel = "SCALE",
            description = "Classifier-free guidance, 0 to 1000; 1 is off. Default: the model's.")
    private @Nullable Double guidance;

    @Option(
            names = "--temperature",
            paramLabel = "T",
            description = "Divides the logits, above 0. Default: the model's.")
    private @Nullable Double temperature;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            description = "Keep the K most likely tokens; 0 keeps all, 1 is greedy. Default: the model's.")
    private @Nullable Integer topK;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            description = "Keep the most likely tokens of total probability P; 1 keeps all. Default: the model's.")
    private @Nullable Double topP;

    long seed() {
        return seed;
    }

    /// A request with these settings.
    ///
    /// @throws IllegalArgumentException naming the setting that is out of range
    GenerationRequest request(String prompt, boolean raw, int images, @Nullable String decoder, int window) {
        return new GenerationRequest(
                        prompt, raw, images, seed, decoder, sampler, window, levels, guidance, temperature, topK, topP)
                .withRestart(restart);
    }
}
