package io.sjd2.benchmarks.peers;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The four products of a layer by `torch.linear`.
public class PytorchLayerProductsBenchmark extends PeerBenchmark {
    private @Nullable PeerProducts numbers;
    private final List<Torch> layers = new ArrayList<>();
    private int turn;

    @Override
    void open() throws IOException {
        PeerProducts opened = new PeerProducts(shape(), type(), rows);
        numbers = opened;
        Path program = Files.createTempFile("sjd2-peer-", ".pt");
        try {
            int count = opened.products().size();
            List<String> arguments = new ArrayList<>();
            List<String> body = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                arguments.add("x" + i);
            }
            for (int i = 0; i < count; i++) {
                arguments.add("w" + i);
                body.add("y" + i + " = torch.linear(x" + i + ", w" + i + ")");
            }
            body.add("return (y0, y1, y2, y3)");
            TorchScript.write(program, arguments, "Tuple[Tensor, Tensor, Tensor, Tensor]", body);
            for (int layer = 0; layer < opened.ring(); layer++) {
                Torch torch = Torch.open(type(), threadCount());
                layers.add(torch);
                torch.load(program);
                for (int i = 0; i < count; i++) {
                    torch.argument(
                            opened.input(i),
                            type(),
                            rows,
                            opened.products().get(i).nIn(shape()));
                }
                for (int i = 0; i < count; i++) {
                    var product = opened.products().get(i);
                    torch.argument(opened.weights(layer, i), type(), product.nOut(shape()), product.nIn(shape()));
                }
            }
            float[][] results = layers.getFirst().results();
            for (int i = 0; i < count; i++) {
                opened.check(layers.getFirst().name(), i, results[i]);
            }
        } finally {
            Files.deleteIfExists(program);
        }
    }

    @Override
    void call() {
        layers.get(turn).run();
        turn = (turn + 1) % layers.size();
    }

    @Override
    void shut() {
        layers.forEach(Torch::close);
        layers.clear();
        if (numbers != null) {
            numbers.close();
            numbers = null;
        }
    }
}
