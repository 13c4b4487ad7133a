package io.sjd2.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.kernel.KernelException;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;

/// What an embedder sees who left JCuda out: in a process of its own, as classes are loaded once.
class WithoutJCudaTest {
    /// Opens what it is told to and prints the backend's name, or why there is none.
    static final class Program {
        private Program() {}

        public static void main(String[] names) {
            for (String name : names) {
                try (Backend backend = Backends.open(name, 1)) {
                    System.out.println(backend.name());
                } catch (KernelException e) {
                    System.out.println(e.getMessage());
                }
            }
        }
    }

    @Test
    void theCpuWorksAndTheDeviceSaysWhatIsMissing() throws IOException, InterruptedException {
        List<String> lines =
                ChildProcess.run(Program.class, "j(cuda|cublas).*", List.of(), "auto", "cuda-emulated", "cpu");
        assertThat(lines).hasSize(3);
        assertThat(lines.get(0)).startsWith("cpu-");
        assertThat(lines.get(1)).contains("JCuda is not on the class path", "--backend cpu");
        assertThat(lines.get(2)).startsWith("cpu-");
    }
}
