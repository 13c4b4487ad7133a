package io.sjd2.vq;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.io.SafetensorsFolder;
import io.sjd2.io.SyntheticName;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SyntheticVqTest {
    /// Writes down what is asked for.
    private static final class Recorded implements WeightSource {
        private final WeightSource inner = new SyntheticVq("made up", 1);
        private final Map<String, Long> elements = new TreeMap<>();

        @Override
        public String source() {
            return inner.source();
        }

        @Override
        public boolean has(String name) {
            return inner.has(name);
        }

        @Override
        public TensorEntry read(String name, Arena arena) throws IOException {
            return inner.read(name, arena);
        }

        @Override
        public TensorEntry read(String name, Arena arena, long... shape) throws IOException {
            elements.put(name, Arrays.stream(shape).reduce(1, (a, b) -> a * b));
            return inner.read(name, arena, shape);
        }

        /// Sizes of everything but the encoder's tensors, in order.
        List<Long> decoder() {
            List<Long> sizes = new ArrayList<>();
            elements.forEach((name, size) -> {
                if (!name.startsWith("encoder") && !name.startsWith("quant_conv")) {
                    sizes.add(size);
                }
            });
            Collections.sort(sizes);
            return sizes;
        }
    }

    /// The folder of a fixture's image tokeniser, or of the model that it is a part of.
    private static Path weights(String fixture) {
        Path folder = VqFixture.folder(fixture);
        for (String inner : List.of("vqgan", "vq")) {
            if (Files.isDirectory(folder.resolve(inner))) {
                return folder.resolve(inner);
            }
        }
        return folder;
    }

    /// What is made up for a published configuration has the tensors of the publication, size for size.
    @ParameterizedTest
    @ValueSource(strings = {"chameleon", "emu3", "janus", "llamagen_t2i"})
    void tensorsAreThoseOfThePublications(String fixture) throws IOException {
        Path folder = weights(fixture);
        VqConfig config = VqConfig.parse(Json.read(folder.resolve("config.json")));
        Recorded recorded = new Recorded();
        try (Backend backend = Backends.open("reference", 1);
                VqTokenizer tokenizer = VqTokenizer.open(config, recorded, backend, DType.F32);
                SafetensorsFolder files = SafetensorsFolder.open(folder)) {
            assertThat(tokenizer.encodes()).isTrue();
            List<Long> there = new ArrayList<>();
            for (String name : files.names()) {
                boolean picture = name.contains("decoder.") || name.contains("quant") && !name.contains("tracked");
                boolean own = !name.contains("encoder.") || name.contains("decoder.");
                if (picture && own && !name.matches("(.*\\.)?quant_conv.*") && !name.contains("num_batches")) {
                    there.add(files.tensor(name).elementCount());
                }
            }
            Collections.sort(there);
            assertThat(recorded.decoder()).isEqualTo(there);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "lumina-mgpt-7b-768, 8192, 16, 256, false, false",
        "emu3-8b, 32768, 8, 4, false, true",
        "janus-pro-1b, 16384, 16, 8, true, true",
        "janus-pro-7b, 16384, 16, 8, true, true",
        "llamagen-xl, 16384, 16, 8, true, true"
    })
    void presetsHaveThePublishedShapes(
            String preset, int codes, int factor, int width, boolean normalised, boolean attention) throws IOException {
        VqConfig config = SyntheticVq.config(new SyntheticName(preset, 0, 0));
        assertThat(config.codes()).isEqualTo(codes);
        assertThat(config.factor()).isEqualTo(factor);
        assertThat(config.codeWidth()).isEqualTo(width);
        assertThat(config.normalisedCodes()).isEqualTo(normalised);
        assertThat(config.attention().getLast()).isEqualTo(attention);
    }

    @Test
    void noisePicturesStayInRange() throws IOException {
        Path name = Path.of("synthetic:llamagen-xl?seed=3");
        try (Backend backend = Backends.open("cpu", 2);
                VqTokenizer tokenizer = ImageTokenizers.open(name, backend, DType.BF16, true)) {
            float[] picture = tokenizer.decode(new int[] {0, 1, 2, 3}, 2, 2, VqListener.NONE);
            double squares = 0;
            for (float v : picture) {
                assertThat(Float.isFinite(v)).isTrue();
                squares += (double) v * v;
            }
            assertThat(squares / picture.length).isBetween(0.01, 4.0);
            assertThat(tokenizer.encode(picture, 32, 32, VqListener.NONE)).hasSize(4);
        }
    }
}
