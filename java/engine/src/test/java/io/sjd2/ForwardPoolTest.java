package io.sjd2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.decode.DecodeExtents;
import io.sjd2.decode.DecodeListener;
import io.sjd2.decode.DecodeOptions;
import io.sjd2.decode.DecodeRequest;
import io.sjd2.decode.Decoder;
import io.sjd2.decode.DecoderSpec;
import io.sjd2.decode.SamplingOptions;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.cuda.EmulatedDriver;
import io.sjd2.model.LmFixture;
import io.sjd2.model.Prompt;
import io.sjd2.model.TransformerForward;
import io.sjd2.tensor.DType;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Recorded iterations that outlive their decode: how often one is recorded, what it costs, and when it goes. On a tiny
/// model and the emulated device.
class ForwardPoolTest {
    private static final int ROWS = 8;
    private static final int OUT_OF_MEMORY = 2;

    private static LmFixture fixture;

    private ForwardPool pool;
    private long before;

    @BeforeAll
    static void openFixture() {
        EmulatedDriver.open().close(); // skips the tests where it cannot be had
        EmulatedDriver.reset();
        fixture = LmFixture.open("chameleon", "cuda-emulated");
    }

    @AfterAll
    static void closeFixture() {
        LmFixture.closeAll();
    }

    @BeforeEach
    void openPool() {
        EmulatedDriver.reset();
        before = EmulatedDriver.liveAllocations();
        pool = new ForwardPool(fixture.model);
    }

    /// Whatever a test did: what was lent was given back, and the pool frees the rest.
    @AfterEach
    void closeAndCountWhatIsLeft() {
        if (pool != null) {
            EmulatedDriver.setMemory(1L << 40);
            pool.close();
            assertThat(EmulatedDriver.liveAllocations())
                    .as("device allocations")
                    .isEqualTo(before);
            assertThat(EmulatedDriver.count("cuGraphExecDestroy"))
                    .as("recordings that were forgotten")
                    .isEqualTo(EmulatedDriver.count("cuGraphInstantiateWithFlags"));
        }
    }

    /// A picture of 24 positions: how to decode it, and after which prompts.
    private record Picture(String decoder, int window, long seed, List<Prompt> prompts) {
        private static final int LENGTH = 24;

        DecodeRequest request() {
            return new DecodeRequest(LENGTH, null, List.of(new DecodeRequest.Image(seed, 0, 0, 1)));
        }

        DecodeOptions options() {
            return new DecodeOptions(
                    DecoderSpec.parse(decoder),
                    SamplingOptions.PLAIN.withTopK(40).withGuidance(2),
                    window,
                    1);
        }

        DecodeExtents extents() {
            return DecodeExtents.of(request(), options());
        }

        int entries() {
            return LENGTH + Math.max(prompts.get(0).length(), prompts.get(1).length());
        }
    }

    private static Picture picture(String decoder, int window, long seed, int promptLength) {
        int[] ids = new int[promptLength];
        for (int i = 0; i < promptLength; i++) {
            ids[i] = (int) (3 + (seed * 7 + i * 5) % 40);
        }
        return new Picture(decoder, window, seed, List.of(new Prompt.Tokens(ids), new Prompt.Tokens(new int[] {3, 4})));
    }

    private ForwardPool.Lease lend(Picture picture) {
        return pool.lend(pool.capacity(picture.entries()), pool.longest(17), picture.extents(), 1 << 20);
    }

    private int[] decode(Picture picture, DecodeListener listener) {
        try (ForwardPool.Lease lease = lend(picture)) {
            lease.forward().prefill(picture.prompts());
            int[] tokens = lease.decoder()
                    .decode(picture.request(), picture.options(), listener)
                    .tokens()[0];
            lease.keep();
            return tokens;
        }
    }

    private int[] decode(Picture picture) {
        return decode(picture, DecodeListener.NONE);
    }

    private static int[] inNewMemory(Picture picture) {
        try (TransformerForward forward =
                new TransformerForward(fixture.model, 2, picture.extents().window(), picture.entries())) {
            forward.prefill(picture.prompts());
            return new Decoder(forward)
                    .decode(picture.request(), picture.options(), DecodeListener.NONE)
                    .tokens()[0];
        }
    }

    private static long recordings() {
        return EmulatedDriver.count("cuGraphInstantiateWithFlags");
    }

    /// Decoders, seeds and prompts differ; all of that is in the state block and the cache.
    @Test
    void picturesOfTheSameExtentsShareOneRecording() {
        List<Picture> pictures = List.of(
                picture("exact", ROWS, 1, 9),
                picture("sjd-mc", ROWS, 2, 12),
                picture("exact", ROWS, 1, 9),
                picture("sjd-gs", ROWS, 3, 17),
                picture("jacobi", ROWS, 4, 20));
        List<int[]> got = new ArrayList<>();
        for (Picture picture : pictures) {
            got.add(decode(picture));
            assertThat(recordings()).isEqualTo(1);
        }
        for (int i = 0; i < pictures.size(); i++) {
            assertThat(got.get(i)).as("picture %d", i).containsExactly(inNewMemory(pictures.get(i)));
        }
        assertThat(got.get(0)).containsExactly(got.get(2)).isNotEqualTo(got.get(1));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void anIterationIsOneLaunchAndOneWait(boolean again) {
        if (again) {
            decode(picture("exact", ROWS, 1, 9));
        }
        List<long[]> counts = new ArrayList<>();
        decode(picture("exact", ROWS, 2, 9), progress -> {
            counts.add(new long[] {
                EmulatedDriver.count("cuGraphLaunch"), EmulatedDriver.count("cuStreamSynchronize"), recordings()
            });
            return true;
        });
        assertThat(counts).hasSizeGreaterThan(3);
        for (int i = 1; i < counts.size(); i++) {
            assertThat(counts.get(i)[0] - counts.get(i - 1)[0]).as("launches").isEqualTo(1);
            assertThat(counts.get(i)[1] - counts.get(i - 1)[1]).as("waits").isEqualTo(1);
        }
        // Where it was kept, the first iteration is a launch, too.
        assertThat(counts.getFirst()[2]).isEqualTo(again ? 1 : 0);
        assertThat(counts.getLast()[2]).isEqualTo(1);
    }

    /// One decode runs through in the middle of another one of the same extents.
    @Test
    void whatIsLentIsUsedByOneAlone() {
        Picture outer = picture("exact", ROWS, 5, 9);
        Picture inner = picture("sjd-mc", ROWS, 6, 12);
        List<int[]> between = new ArrayList<>();
        int[] tokens = decode(outer, progress -> {
            if (progress.iteration() == 3) {
                between.add(decode(inner));
            }
            return true;
        });
        assertThat(tokens).containsExactly(inNewMemory(outer));
        assertThat(between.getFirst()).containsExactly(inNewMemory(inner));
        assertThat(pool.idleCount()).isEqualTo(2);
        EmulatedDriver.reset();
        decode(inner);
        decode(outer);
        assertThat(recordings()).as("both are kept").isZero();
        assertThat(EmulatedDriver.count("cuMemAlloc_v2")).as("new memory").isZero();
        pool.close();
        EmulatedDriver.reset(); // those two were not recorded since then
    }

    @Test
    void anotherThreadMayBeLentWhatOneGaveBack() {
        Picture picture = picture("exact", ROWS, 7, 9);
        int[] here = decode(picture);
        assertThat(CompletableFuture.supplyAsync(() -> decode(picture)).join()).containsExactly(here);
        assertThat(recordings()).isEqualTo(1);
    }

    @Test
    void theOldestOfManyGoes() {
        for (int window = 1; window <= ForwardPool.MOST_IDLE; window++) {
            decode(picture("exact", window, 1, 9));
        }
        decode(picture("exact", 1, 1, 9)); // used again, so 2 is the oldest
        long recorded = recordings();
        assertThat(EmulatedDriver.count("cuGraphExecDestroy")).isZero();
        decode(picture("exact", 16, 1, 9));
        assertThat(pool.idleCount()).isEqualTo(ForwardPool.MOST_IDLE);
        assertThat(EmulatedDriver.count("cuGraphExecDestroy")).isEqualTo(1);
        decode(picture("exact", 1, 1, 9));
        assertThat(recordings()).as("1 is still there").isEqualTo(recorded + 1);
        decode(picture("exact", 2, 1, 9));
        assertThat(recordings()).as("2 is not").isEqualTo(recorded + 2);
    }

    @Test
    void allButTheLastGoWhereTheyTakeMoreThanIsFree() {
        decode(picture("exact", 2, 1, 9));
        EmulatedDriver.setMemory(1L << 40);
        long used = (1L << 40) - fixture.backend.freeMemory().orElseThrow();
        EmulatedDriver.setMemory(used + (3 << 19)); // less than the two of 1 MiB each that `lend` says
        decode(picture("exact", 3, 1, 9));
        assertThat(pool.idleCount()).isEqualTo(1);
        decode(picture("exact", 3, 2, 9));
        assertThat(recordings()).as("the last one stays").isEqualTo(2);
    }

    @Test
    void whatIsIdleGoesBeforeMemoryRunsOut() {
        Backend backend = fixture.backend;
        decode(picture("exact", 2, 1, 9));
        decode(picture("exact", 3, 1, 9));
        assertThat(pool.idleCount()).isEqualTo(2);
        EmulatedDriver.setMemory(1L << 40);
        long free = 1 << 20;
        EmulatedDriver.setMemory((1L << 40) - backend.freeMemory().orElseThrow() + free);
        try (Arena arena = Arena.ofConfined()) {
            backend.allocate(arena, DType.F32, (free + 1024) / Float.BYTES);
            assertThat(pool.idleCount()).as("the older one was enough").isEqualTo(1);
            assertThatThrownBy(() -> backend.allocate(arena, DType.F32, free))
                    .isInstanceOf(KernelException.class)
                    .hasMessageContaining("needs 4096.0 KiB");
            assertThat(pool.idleCount())
                    .as("nothing is kept while something is refused")
                    .isZero();
        }
    }

    @Test
    void aRecordingThatFindsNoMemoryIsTriedAgainAsLongAsSomethingIsKept() {
        decode(picture("exact", 2, 1, 9));
        decode(picture("exact", 3, 1, 9));
        Picture wanted = picture("exact", ROWS, 1, 9);
        EmulatedDriver.fail("cuGraphInstantiateWithFlags", 0, OUT_OF_MEMORY);
        assertThat(decode(wanted)).containsExactly(inNewMemory(wanted));
        assertThat(pool.idleCount()).as("3, and the one that was wanted").isEqualTo(2);
        pool.close();
        EmulatedDriver.reset();
        EmulatedDriver.fail("cuGraphInstantiateWithFlags", 0, OUT_OF_MEMORY);
        assertThatThrownBy(() -> decode(wanted))
                .isInstanceOf(KernelException.class)
                .matches(e -> ((KernelException) e).outOfMemory())
                .hasMessageContaining("a recording of an iteration; ")
                .hasMessageContaining(" are free");
        EmulatedDriver.reset(); // counts of recordings that were refused
    }

    @Test
    void whatWasCancelledIsNotKept() {
        Picture picture = picture("exact", ROWS, 8, 9);
        assertThatThrownBy(() -> decode(picture, progress -> progress.iteration() < 3))
                .isInstanceOf(CancellationException.class);
        assertThat(pool.idleCount()).isZero();
        assertThat(decode(picture)).containsExactly(inNewMemory(picture));
    }
}
