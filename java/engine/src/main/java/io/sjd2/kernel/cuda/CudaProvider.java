package io.sjd2.kernel.cuda;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.BackendProvider;
import io.sjd2.kernel.KernelException;
import java.util.ArrayList;
import java.util.List;

/// Registers the CUDA backend: the best there is where a device is.
public final class CudaProvider implements BackendProvider {
    private static final int PRIORITY = 200;

    @Override
    public String name() {
        return "cuda";
    }

    @Override
    public int priority() {
        return PRIORITY;
    }

    @Override
    public Probe probe(int threads) {
        return probe(CudaDriver.Kind.DEVICE);
    }

    @Override
    public Backend open(int threads) {
        return open(CudaDriver.Kind.DEVICE);
    }

    static Backend open(CudaDriver.Kind kind) {
        try {
            return new CudaBackend(CudaDriver.load(kind));
        } catch (NoClassDefFoundError e) {
            throw withoutBinding(e);
        }
    }

    static Probe probe(CudaDriver.Kind kind) {
        try {
            CudaDriver driver = CudaDriver.load(kind);
            try (CudaBackend backend = new CudaBackend(driver)) {
                return new Probe(true, detail(driver, backend), "");
            }
        } catch (KernelException e) {
            return new Probe(false, CudaFindings.withoutDevice(), e.getMessage());
        } catch (NoClassDefFoundError e) {
            return new Probe(
                    false, CudaFindings.withoutDevice(), withoutBinding(e).getMessage());
        }
    }

    /// An embedder may leave JCuda out, which only this backend needs.
    private static KernelException withoutBinding(NoClassDefFoundError missing) {
        return new KernelException(
                "JCuda is not on the class path (" + missing.getMessage()
                        + "): add org.jcuda:jcuda and org.jcuda:jcublas, or use --backend cpu",
                missing);
    }

    private static List<String> detail(CudaDriver driver, CudaBackend backend) {
        CudaDevice device = backend.device();
        CudaDevice.Memory memory = device.memory();
        List<String> lines = new ArrayList<>();
        lines.add("driver for CUDA " + driver.version() + ", " + driver.devices()
                + (driver.devices() == 1 ? " device" : " devices"));
        if (driver.kind() == CudaDriver.Kind.DEVICE) {
            lines.add(CudaFindings.kernelModule());
        }
        if (driver.devices() > 1) {
            lines.addAll(CudaFindings.devices(driver, CudaBackend.ordinal()));
        }
        lines.add(device.description() + ", " + device.architecture() + ", " + device.multiprocessors()
                + " multiprocessors, " + CudaDevice.mib(memory.free()) + " of " + CudaDevice.mib(memory.total())
                + " free");
        lines.add("library " + driver.kernels().description() + " ("
                + driver.kernels().isa() + ")");
        lines.add(CudaFindings.products(backend));
        return lines;
    }
}
