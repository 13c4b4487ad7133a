package io.sjd2.decode;

import io.sjd2.kernel.DecoderKind;
import java.util.List;
import java.util.stream.Collectors;

/// A decoder as users name it: how the window is verified and redrawn, and whether fresh slots start as noise.
///
/// @param kind   the rule of the `verify` operation
/// @param noise  true for the `sjd2` family: fresh slots are noisy embeddings and need a model fine-tuned for them
public record DecoderSpec(DecoderKind kind, boolean noise) {
    /// One token per pass.
    public static final DecoderSpec AR = new DecoderSpec(DecoderKind.SEQUENTIAL, false);
    /// Greedy Jacobi iteration.
    public static final DecoderSpec JACOBI = new DecoderSpec(DecoderKind.GREEDY, false);
    /// Speculative Jacobi decoding.
    public static final DecoderSpec SJD = new DecoderSpec(DecoderKind.INDEPENDENT, false);
    /// SJD with maximally coupled redraws.
    public static final DecoderSpec SJD_MC = new DecoderSpec(DecoderKind.MAXIMAL, false);
    /// SJD with Gumbel noise shared per position.
    public static final DecoderSpec SJD_GS = new DecoderSpec(DecoderKind.GUMBEL, false);
    /// Gumbel fixed point: token for token what {@link #AR} gives.
    public static final DecoderSpec EXACT = new DecoderSpec(DecoderKind.EXACT, false);
    /// Speculative Jacobi-denoising decoding.
    public static final DecoderSpec SJD2 = new DecoderSpec(DecoderKind.INDEPENDENT, true);
    /// SJD2 with maximally coupled redraws.
    public static final DecoderSpec SJD2_MC = new DecoderSpec(DecoderKind.MAXIMAL, true);
    /// SJD2 with Gumbel noise shared per position.
    public static final DecoderSpec SJD2_GS = new DecoderSpec(DecoderKind.GUMBEL, true);
    /// SJD2 slots under the Gumbel fixed point: token for token what {@link #AR} gives.
    public static final DecoderSpec SJD2_EXACT = new DecoderSpec(DecoderKind.EXACT, true);

    private static final List<DecoderSpec> ALL =
            List.of(AR, JACOBI, SJD, SJD_MC, SJD_GS, EXACT, SJD2, SJD2_MC, SJD2_GS, SJD2_EXACT);

    /// @throws IllegalArgumentException if there is no such decoder: autoregression and greedy iteration take no noise
    public DecoderSpec {
        if (noise && (kind == DecoderKind.SEQUENTIAL || kind == DecoderKind.GREEDY)) {
            throw new IllegalArgumentException("decoder: " + kind + " has no variant with noisy slots");
        }
    }

    /// All ten, in the order of the documentation.
    public static List<DecoderSpec> all() {
        return ALL;
    }

    /// The decoder of a name such as `sjd2-mc`; the inverse of {@link #toString}.
    ///
    /// @throws IllegalArgumentException listing the names, if there is no such decoder
    public static DecoderSpec parse(String name) {
        return ALL.stream()
                .filter(spec -> spec.toString().equals(name))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException("decoder '" + name + "' is unknown; use one of "
                        + ALL.stream().map(DecoderSpec::toString).collect(Collectors.joining(", "))));
    }

    /// What to use unless told otherwise: `sjd2-mc` where the model was fine-tuned for noisy slots, else `sjd-mc`.
    public static DecoderSpec defaultFor(boolean fineTuned) {
        return fineTuned ? SJD2_MC : SJD_MC;
    }

    /// Whether a token depends on the model's logits and its position's noise alone, drafts making no difference.
    public boolean exact() {
        return kind == DecoderKind.EXACT || kind == DecoderKind.SEQUENTIAL;
    }

    /// Whether one pass yields exactly one token, so that a window has no meaning.
    public boolean sequential() {
        return kind == DecoderKind.SEQUENTIAL;
    }

    /// Whether the tokens follow the model's own law. Greedy iteration alone does not: it gives the most likely token.
    public boolean lossless() {
        return kind != DecoderKind.GREEDY;
    }

    @Override
    public String toString() {
        String stem = noise ? "sjd2" : "sjd";
        return switch (kind) {
            case SEQUENTIAL -> "ar";
            case GREEDY -> "jacobi";
            case INDEPENDENT -> stem;
            case MAXIMAL -> stem + "-mc";
            case GUMBEL -> stem + "-gs";
            case EXACT -> noise ? "sjd2-exact" : "exact";
        };
    }

    /// The names, for help texts and completion.
    public static String[] names() {
        return ALL.stream().map(DecoderSpec::toString).toArray(String[]::new);
    }
}
