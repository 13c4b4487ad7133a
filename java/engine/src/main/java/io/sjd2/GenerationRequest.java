package io.sjd2;

import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// What to generate. Null settings take the model's defaults.
///
/// @param prompt       what the picture shows; with `rawPrompt` the whole token text, special tokens included
/// @param rawPrompt    whether `prompt` already has the model's frame
/// @param images       pictures to make; picture `i` depends on (`seed`, `i`) alone
/// @param seed         any 64-bit number
/// @param decoder      one of `ar, jacobi, sjd, sjd-mc, sjd-gs, exact, sjd2, sjd2-mc, sjd2-gs, sjd2-exact`; null:
/// `sjd2-mc`
///                     where the model is fine-tuned for it, else `sjd-mc`
/// @param sampler      how `ar` draws: `gumbel` or `inverse-cdf`; null: `gumbel`
/// @param window       positions refined per pass; 0: auto
/// @param levels       noise levels of the `sjd2` decoders; null: the model's
/// @param restart      failed passes in a row behind which a window starts again; 0: never; null: as it pays
/// @param guidance     classifier-free guidance scale; 1 runs without an unconditional sequence
/// @param temperature  divides the logits; > 0
/// @param topK         keep the k largest logits; 0: all
/// @param topP         keep the smallest set of probability at least this; 1: all
/// @param target       size, negative prompt and what takes a prompt's place
public record GenerationRequest(
        String prompt,
        boolean rawPrompt,
        int images,
        long seed,
        @Nullable String decoder,
        @Nullable String sampler,
        int window,
        @Nullable Integer levels,
        @Nullable Integer restart,
        @Nullable Double guidance,
        @Nullable Double temperature,
        @Nullable Integer topK,
        @Nullable Double topP,
        Target target) {

    /// What else says which picture is wanted.
    ///
    /// @param width      pixels; null together with `height`: the model's usual size
    /// @param height     pixels
    /// @param negative   prompt that guidance leads away from; null: the model's own
    /// @param condition  for models that take no text; null for the others
    public record Target(
            @Nullable Integer width,
            @Nullable Integer height,
            @Nullable String negative,
            @Nullable Condition condition) {
        /// The model's usual size, and nothing else.
        public static final Target USUAL = new Target(null, null, null, null);

        public Target {
            if ((width == null) != (height == null)) {
                throw new IllegalArgumentException(
                        "size has width " + width + " and height " + height + ", expected both");
            }
            if (width != null && (width < 1 || height < 1 || width > 65_536 || height > 65_536)) {
                throw new IllegalArgumentException(
                        "size is " + width + "x" + height + ", expected 1 to 65536 pixels each way");
            }
        }
    }

    /// Window that lets the engine choose.
    public static final int AUTO_WINDOW = 0;

    public GenerationRequest {
        Objects.requireNonNull(prompt, "prompt");
        if (images < 1 || images > 65_536) {
            throw new IllegalArgumentException("n is " + images + ", expected 1 to 65536 images");
        }
        if (window < 0 || window > 65_536) {
            throw new IllegalArgumentException("window is " + window + ", expected 1 to 65536, or auto");
        }
        if (levels != null && (levels < 1 || levels > 1024)) {
            throw new IllegalArgumentException("levels is " + levels + ", expected 1 to 1024");
        }
        if (restart != null && restart < 0) {
            throw new IllegalArgumentException("restart is " + restart + ", expected 0 (never) or more");
        }
        if (guidance != null && !(guidance >= 0 && guidance <= 1000)) {
            throw new IllegalArgumentException("cfg is " + guidance + ", expected 0 to 1000 (1 is off)");
        }
        if (temperature != null && !(temperature > 0 && temperature <= 1000)) {
            throw new IllegalArgumentException(
                    "temperature is " + temperature + ", expected above 0 up to 1000 (use --top-k 1 for greedy)");
        }
        if (topK != null && topK < 0) {
            throw new IllegalArgumentException("top-k is " + topK + ", expected 0 (off) or more");
        }
        if (topP != null && !(topP > 0 && topP <= 1)) {
            throw new IllegalArgumentException("top-p is " + topP + ", expected above 0 up to 1 (1 is off)");
        }
    }

    /// A picture of the model's usual size, from a prompt.
    public GenerationRequest(
            String prompt,
            boolean rawPrompt,
            int images,
            long seed,
            @Nullable String decoder,
            @Nullable String sampler,
            int window,
            @Nullable Integer levels,
            @Nullable Double guidance,
            @Nullable Double temperature,
            @Nullable Integer topK,
            @Nullable Double topP) {
        this(
                prompt,
                rawPrompt,
                images,
                seed,
                decoder,
                sampler,
                window,
                levels,
                null,
                guidance,
                temperature,
                topK,
                topP,
                Target.USUAL);
    }

    /// Prompt of the unconditional sequence; null: the model's own.
    public @Nullable String negative() {
        return target.negative();
    }

    /// What stands for a prompt; null: the prompt.
    public @Nullable Condition condition() {
        return target.condition();
    }

    /// One picture of `prompt` with every default and seed 0.
    public static GenerationRequest of(String prompt) {
        return new GenerationRequest(prompt, false, 1, 0, null, null, AUTO_WINDOW, null, null, null, null, null);
    }

    public GenerationRequest withSeed(long value) {
        return with(draft -> draft.seed = value);
    }

    public GenerationRequest withImages(int count) {
        return with(draft -> draft.images = count);
    }

    public GenerationRequest withDecoder(@Nullable String name) {
        return with(draft -> draft.decoder = name);
    }

    public GenerationRequest withSampler(@Nullable String name) {
        return with(draft -> draft.sampler = name);
    }

    public GenerationRequest withWindow(int rows) {
        return with(draft -> draft.window = rows);
    }

    public GenerationRequest withLevels(@Nullable Integer count) {
        return with(draft -> draft.levels = count);
    }

    public GenerationRequest withRestart(@Nullable Integer failedPasses) {
        return with(draft -> draft.restart = failedPasses);
    }

    public GenerationRequest withGuidance(@Nullable Double scale) {
        return with(draft -> draft.guidance = scale);
    }

    public GenerationRequest withSampling(
            @Nullable Double newTemperature, @Nullable Integer newTopK, @Nullable Double newTopP) {
        return with(draft -> {
            draft.temperature = newTemperature;
            draft.topK = newTopK;
            draft.topP = newTopP;
        });
    }

    public GenerationRequest withTarget(Target value) {
        return with(draft -> draft.target = value);
    }

    private GenerationRequest with(Consumer<Draft> change) {
        Draft draft = new Draft(this);
        change.accept(draft);
        return draft.request();
    }

    /// A request that can be changed, for as long as that takes.
    private static final class Draft {
        private final String prompt;
        private final boolean rawPrompt;
        private int images;
        private long seed;
        private @Nullable String decoder;
        private @Nullable String sampler;
        private int window;
        private @Nullable Integer levels;
        private @Nullable Integer restart;
        private @Nullable Double guidance;
        private @Nullable Double temperature;
        private @Nullable Integer topK;
        private @Nullable Double topP;
        private Target target;

        Draft(GenerationRequest from) {
            this.prompt = from.prompt;
            this.rawPrompt = from.rawPrompt;
            this.images = from.images;
            this.seed = from.seed;
            this.decoder = from.decoder;
            this.sampler = from.sampler;
            this.window = from.window;
            this.levels = from.levels;
            this.restart = from.restart;
            this.guidance = from.guidance;
            this.temperature = from.temperature;
            this.topK = from.topK;
            this.topP = from.topP;
            this.target = from.target;
        }

        GenerationRequest request() {
            return new GenerationRequest(
                    prompt,
                    rawPrompt,
                    images,
                    seed,
                    decoder,
                    sampler,
                    window,
                    levels,
                    restart,
                    guidance,
                    temperature,
                    topK,
                    topP,
                    target);
        }
    }
}
