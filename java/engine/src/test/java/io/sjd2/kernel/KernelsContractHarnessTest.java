package io.sjd2.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.sjd2.kernel.Bench.Slice;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import io.sjd2.testing.GuardedTensor;
import io.sjd2.testing.Tolerance;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/// Negative controls: what the contract tests promise to catch, done on purpose by a wrong backend.
class KernelsContractHarnessTest {
    private final Backend reference = Backends.open("reference", 1);

    @AfterEach
    void close() {
        reference.close();
    }

    /// Runs after every operation on its output tensor.
    private interface Sabotage {
        void on(Tensor out);
    }

    /// The contract over the reference whose operations are sabotaged. Anonymous, so that nobody runs it as a test.
    private KernelsContract opened(Sabotage sabotage) {
        KernelsContract contract = new KernelsContract() {
            @Override
            Backend open(int threads) {
                return wrongBackend(sabotage);
            }
        };
        contract.openBackend();
        return contract;
    }

    private Backend wrongBackend(Sabotage sabotage) {
        Kernels kernels = proxy(Kernels.class, (proxy, method, args) -> {
            Object result = forward(reference.kernels(), method, args);
            if (method.getReturnType() == void.class && !method.getName().equals("packWeights")) {
                sabotage.on((Tensor) args[0]);
            }
            return result;
        });
        return proxy(
                Backend.class,
                (proxy, method, args) ->
                        method.getName().equals("kernels") ? kernels : forward(reference, method, args));
    }

    private static <T> T proxy(Class<T> type, InvocationHandler handler) {
        return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler));
    }

    private static Object forward(Object target, Method method, Object[] args) throws Throwable {
        try {
            return method.invoke(target, args);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    private static void fails(String message, Executable check) {
        assertThatThrownBy(check::execute).isInstanceOf(AssertionError.class).hasMessageContaining(message);
    }

    private static final RowCase NORM = new RowCases.RmsNorm(DType.F32, 33, 4, 0, 3);

    @Test
    void theReferenceItselfPasses() {
        KernelsContract right = opened(out -> {});
        right.errorsAreThoseOfANaiveLoop(NORM);
        right.aRowNeverDependsOnTheRowsBesideIt(NORM);
    }

    @Test
    void aWriteBehindTheTensorIsCaught() {
        KernelsContract wrong = opened(out -> {
            long end = out.data().address() + out.bytes();
            MemorySegment.ofAddress(end).reinterpret(4).set(ValueLayout.JAVA_FLOAT_UNALIGNED, 0, 1);
        });
        fails("1 behind the tensor was written to", () -> wrong.errorsAreThoseOfANaiveLoop(NORM));
    }

    @Test
    void aWriteToADeadRowIsCaught() {
        KernelsContract wrong = opened(out -> out.setFloat(out.elements() - 1, 1));
        fails("dead row", () -> wrong.errorsAreThoseOfANaiveLoop(NORM));
    }

    @Test
    void anErrorOfAFewUnitsIsCaught() {
        KernelsContract wrong = opened(out -> {
            float value = out.getFloat(7);
            out.setFloat(7, value + 8 * Math.ulp(value));
        });
        fails("ulp of f32, allowed are", () -> wrong.errorsAreThoseOfANaiveLoop(NORM));
    }

    @Test
    void aResultThatIsNotANumberIsCaught() {
        KernelsContract wrong = opened(out -> out.setFloat(7, Float.NaN));
        fails("Infinity ulp", () -> wrong.errorsAreThoseOfANaiveLoop(NORM));
    }

    @Test
    void oneBitThatDependsOnTheBatchIsCaught() {
        KernelsContract wrong = opened(out -> {
            if (out.dim(0) > 1) {
                float value = out.getFloat(0);
                out.setFloat(0, Math.nextUp(value));
            }
        });
        wrong.errorsAreThoseOfANaiveLoop(NORM); // one unit is within tolerance
        fails("has other bits when computed", () -> wrong.aRowNeverDependsOnTheRowsBesideIt(NORM));
    }

    @Test
    void deadInputRowsHoldNaN() {
        try (Bench bench = new Bench(reference, List.of(new Slice(0, 0, 1)), 2, false)) {
            GuardedTensor x = bench.rows("x", DType.F32, (s, r) -> new float[] {1, 2}, 2);
            assertThat(GuardedTensor.decode(DType.F32, x.content())).containsExactly(1, 2, Double.NaN, Double.NaN);
        }
    }

    @Test
    void toleranceIsTwiceTheNaiveErrorAndAUnit() {
        Tolerance tolerance = new Tolerance(DType.F32, Tolerance.Scale.RELATIVE);
        double ulp = Math.ulp(1f);
        tolerance.add("here", new double[] {1}, new double[] {1 + 2 * ulp}, new double[] {1 + 5 * ulp});
        assertThat(tolerance.allowedUlps()).isEqualTo(5);
        assertThat(tolerance.kernelUlps()).isEqualTo(5);
        tolerance.assertMet("the bound itself");
        tolerance.add("there", new double[] {1}, new double[] {1}, new double[] {1 + 6 * ulp});
        fails("worst at there element 0", () -> tolerance.assertMet("beyond"));
    }

    @Test
    void unitsAreThoseOfTheDtype() {
        assertThat(Tolerance.ulp(DType.F32, 1)).isEqualTo(0x1p-23);
        assertThat(Tolerance.ulp(DType.BF16, 1)).isEqualTo(0x1p-7);
        assertThat(Tolerance.ulp(DType.BF16, -3)).isEqualTo(0x1p-6);
        assertThat(Tolerance.ulp(DType.F32, 0)).isEqualTo(0x1p-126);
    }
}
