package io.sjd2.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.decode.DecodeListener;
import io.sjd2.decode.DecodeOptions;
import io.sjd2.decode.DecodeRequest;
import io.sjd2.decode.Decoder;
import io.sjd2.decode.DecoderSpec;
import io.sjd2.decode.SamplingOptions;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.kernel.cuda.EmulatedDriver;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// Where NVIDIA's library multiplies, on one that adds up in another order for every number of rows: no sequence sees
/// its neighbours for all that, and no window sees its width.
class PromptProductsTest {
    private static final Prompt LONG = prompt(180, 1);
    private static final Prompt LONGER = prompt(300, 2);
    private static final Prompt SHORT = prompt(40, 3);
    private static final int LENGTH = 140;

    private static Prompt prompt(int length, int seed) {
        int[] ids = new int[length];
        for (int i = 0; i < length; i++) {
            ids[i] = 3 + (i * i + 7 * i * seed + seed) % 40;
        }
        return new Prompt.Tokens(ids);
    }

    /// What is done with a model on the emulated device.
    private interface Use<T> {
        T with(Transformer model);
    }

    private static <T> T on(String products, DType dtype, Use<T> use) throws IOException {
        try (Backend backend = EmulatedDriver.openWithProducts(products)) {
            EmulatedDriver.reset();
            ModelDescription description = ModelDescription.read(LmFixture.folder("chameleon"));
            try (ModelFiles files = ModelFiles.of(description, LmFixture.folder("chameleon"), true);
                    Transformer model =
                            Transformer.load(backend, files, dtype, Transformer.Heads.CODES, LoadListener.NONE)) {
                return use.with(model);
            }
        }
    }

    /// Logits of the first position behind the prompt of sequence `which`.
    private static float[] logits(Transformer model, int which, Prompt... prompts) {
        int batch = prompts.length;
        int codes = model.description().codes();
        Backend backend = model.backend();
        try (Arena arena = Arena.ofConfined();
                TransformerForward forward = new TransformerForward(model, batch, 1, 400)) {
            forward.prefill(List.of(prompts));
            StateBlock state = new StateBlock(backend, arena, batch, batch, 1);
            WindowState window =
                    WindowState.allocate(backend, arena, batch, 1, LENGTH, codes, forward.hiddenSize(), false, false);
            for (int b = 0; b < batch; b++) {
                state.set(b, ImageField.LENGTH, LENGTH);
                state.set(b, ImageField.WINDOW, 1);
                state.set(b, SequenceField.IMAGE, b);
                state.set(b, SequenceField.ROWS, 1);
                state.set(b, SequenceField.KV_LEN, forward.promptLength(b));
                state.set(b, SequenceField.POSITION, forward.promptPosition(b));
            }
            state.push();
            Tensor input = backend.allocate(arena, DType.F32, batch, 1, forward.hiddenSize());
            Tensor logits = backend.allocate(arena, DType.F32, batch, 1, codes);
            forward.run(input, logits, window, state);
            float[] all = new float[batch * codes];
            backend.download(MemorySegment.ofArray(all), logits);
            return Arrays.copyOfRange(all, which * codes, (which + 1) * codes);
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F32", "BF16"})
    void aSequenceDoesNotSeeItsNeighbours(DType dtype) throws IOException {
        float[] withLibrary = on("auto", dtype, model -> {
            float[] alone = logits(model, 0, LONG);
            assertThat(EmulatedDriver.count("ran cublasGemmEx"))
                    .as("products by the library")
                    .isPositive();
            assertThat(logits(model, 0, LONG, SHORT)).containsExactly(alone);
            assertThat(logits(model, 1, LONGER, LONG, SHORT)).containsExactly(alone);
            assertThat(logits(model, 1, LONG, SHORT)).containsExactly(logits(model, 0, SHORT));
            return alone;
        });
        float[] own = on("own", dtype, model -> {
            float[] alone = logits(model, 0, LONG);
            assertThat(EmulatedDriver.count("ran cublasGemmEx")).isZero();
            return alone;
        });
        // Another order of sums, or the test could not tell.
        assertThat(withLibrary).isNotEqualTo(own);
        assertThat(LmFixture.difference(withLibrary, own))
                .isLessThan((dtype == DType.F32 ? 1e-4 : 5e-2) * LmFixture.largest(own));
    }

    @Test
    void shortPromptsNeverComeToTheLibrary() throws IOException {
        long products = on("auto", DType.F32, model -> {
            logits(model, 0, SHORT, SHORT, SHORT, SHORT, SHORT);
            return EmulatedDriver.count("ran cublasGemmEx");
        });
        assertThat(products).isZero();
    }

    @Test
    void whereTheLibraryTakesEverythingNeighboursShow() throws IOException {
        boolean same =
                on("cublas", DType.F32, model -> Arrays.equals(logits(model, 0, LONG), logits(model, 0, LONG, SHORT)));
        assertThat(same).isFalse();
    }

    /// Through JCublas and inside of a graph. Another order of sums could change a token only where two tie within its
    /// rounding, and this seed has no such tie.
    @Test
    void theLibraryMultipliesInRecordedIterations() throws IOException {
        int[] own = on("own", DType.F32, model -> decoded(model, "exact", 80));
        int[] library = on("cublas", DType.F32, model -> {
            int[] tokens = decoded(model, "exact", 80);
            long replays = EmulatedDriver.count("cuGraphLaunch");
            assertThat(replays).isGreaterThan(3);
            assertThat(EmulatedDriver.count("ran cublasGemmEx"))
                    .as("products of layers and head in every iteration")
                    .isGreaterThan(replays * 4L * model.config().layers());
            return tokens;
        });
        assertThat(library).containsExactly(own);
    }

    /// Windows beyond the library's 128 rows, too.
    @Test
    void exactIsAutoregressionBehindALongPrompt() throws IOException {
        int[] ar = on("auto", DType.BF16, model -> decoded(model, "ar", 1));
        for (int window : new int[] {24, LENGTH}) {
            int[] exact = on("auto", DType.BF16, model -> decoded(model, "exact", window));
            assertThat(exact).as("window %d", window).containsExactly(ar);
        }
    }

    private static int[] decoded(Transformer model, String decoder, int window) {
        try (TransformerForward forward = new TransformerForward(model, 2, window, 300 + LENGTH)) {
            forward.prefill(List.of(LONG, SHORT));
            DecodeRequest.Image image = new DecodeRequest.Image(11, 0, 0, 1);
            SamplingOptions sampling = SamplingOptions.PLAIN.withTopK(40).withGuidance(3);
            return new Decoder(forward)
                    .decode(
                            new DecodeRequest(LENGTH, null, List.of(image)),
                            new DecodeOptions(DecoderSpec.parse(decoder), sampling, window),
                            DecodeListener.NONE)
                    .tokens()[0];
        }
    }
}
