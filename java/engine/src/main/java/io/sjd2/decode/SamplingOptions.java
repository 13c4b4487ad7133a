package io.sjd2.decode;

import java.util.Arrays;
import java.util.Locale;

/// How logits become a distribution and how `ar` draws from it; the order is guidance, temperature, top-k, top-p.
///
/// Part of the definition of the target: every decoder but `jacobi` samples exactly this law.
///
/// @param temperature  divides the guided logits; finite and > 0. Greedy decoding is `topK` 1, not temperature 0
/// @param topK         keeps the `topK` largest logits, ties included; 0 switches it off
/// @param topP         keeps codes while the mass before them is below it; in (0, 1], 1 switches it off
/// @param guidance     `s` of `uncond + s (cond - uncond)`; finite, 1 switches it off
/// @param sampler      how `ar` draws; the other decoders do not read it
public record SamplingOptions(float temperature, int topK, float topP, float guidance, Sampler sampler) {
    /// The model's law as it is: temperature 1, nothing filtered, no guidance, Gumbel draws.
    public static final SamplingOptions PLAIN = new SamplingOptions(1, 0, 1, 1, Sampler.GUMBEL);

    /// @throws IllegalArgumentException naming the option, its value and what is allowed
    public SamplingOptions {
        if (!(temperature > 0) || Float.isInfinite(temperature)) {
            throw new IllegalArgumentException("temperature is " + temperature
                    + ", expected a finite number > 0; for greedy decoding use top-k 1");
        }
        if (topK < 0) {
            throw new IllegalArgumentException("top-k is " + topK + ", expected at least 1, or 0 to keep every code");
        }
        if (!(topP > 0) || topP > 1) {
            throw new IllegalArgumentException("top-p is " + topP + ", expected more than 0 and at most 1 (1: off)");
        }
        if (!Float.isFinite(guidance)) {
            throw new IllegalArgumentException("guidance is " + guidance + ", expected a finite number (1: off)");
        }
    }

    /// Whether unconditional sequences take part.
    public boolean guided() {
        return guidance != 1;
    }

    public SamplingOptions withTemperature(float value) {
        return new SamplingOptions(value, topK, topP, guidance, sampler);
    }

    public SamplingOptions withTopK(int value) {
        return new SamplingOptions(temperature, value, topP, guidance, sampler);
    }

    public SamplingOptions withTopP(float value) {
        return new SamplingOptions(temperature, topK, value, guidance, sampler);
    }

    public SamplingOptions withGuidance(float value) {
        return new SamplingOptions(temperature, topK, topP, value, sampler);
    }

    public SamplingOptions withSampler(Sampler value) {
        return new SamplingOptions(temperature, topK, topP, guidance, value);
    }

    /// How `ar` turns a distribution into a token. The ordinal is `sjd2_sampler` of the C ABI.
    public enum Sampler {
        /// `argmax(log p + gumbel(position))`: what `exact` reproduces at any window.
        GUMBEL,
        /// Inverse CDF in id order, one uniform per position.
        INVERSE_CDF;

        /// The sampler of a name: `gumbel` or `inverse-cdf`.
        ///
        /// @throws IllegalArgumentException listing the names, if there is no such sampler
        public static Sampler parse(String name) {
            return Arrays.stream(values())
                    .filter(sampler -> sampler.toString().equals(name))
                    .findFirst()
                    .orElseThrow(() -> new IllegalArgumentException(
                            "sampler '" + name + "' is unknown; use gumbel or inverse-cdf"));
        }

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT).replace('_', '-');
        }
    }
}
