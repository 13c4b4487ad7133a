package io.sjd2.benchmarks;

import io.sjd2.kernel.Kernels;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.openjdk.jmh.annotations.Param;

/// Random words or normals of one stream: as many as a row has dimensions, for each row.
public class PhiloxBenchmark extends OperationBenchmark {
    @Param({"words", "normals"})
    public String kind = "words";

    @Override
    Runnable prepare(Case c) {
        boolean words = kind.equals("words");
        Tensor out = c.output(words ? DType.I32 : DType.F32, (long) c.rows() * c.shape().hidden);
        Kernels kernels = c.backend().kernels();
        return words ? () -> kernels.philoxWords(out, 7, 0, 1, 2) : () -> kernels.philoxNormals(out, 7, 0, 1, 2);
    }

    @Override
    public Cost cost() {
        return Cost.of(4.0 * rows * shape().hidden, 0, DType.F32, rows);
    }
}
