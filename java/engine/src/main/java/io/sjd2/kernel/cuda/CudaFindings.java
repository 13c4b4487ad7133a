package io.sjd2.kernel.cuda;

import static jcuda.driver.JCudaDriver.cuDeviceGet;
import static jcuda.driver.JCudaDriver.cuDeviceGetAttribute;
import static jcuda.driver.JCudaDriver.cuDeviceGetName;
import static jcuda.driver.JCudaDriver.cuDeviceTotalMem;

import io.sjd2.kernel.ffm.CublasLibrary;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;

/// What `doctor` tells of drivers, libraries and devices, beside what a backend itself knows.
final class CudaFindings {
    private static final Path KERNEL_MODULE = Path.of("/proc/driver/nvidia/version");

    private CudaFindings() {}

    /// What can be said where no backend opens; loads nothing.
    static List<String> withoutDevice() {
        return List.of(
                kernelModule(),
                "kernels: "
                        + CudaDriver.find(CudaDriver.Kind.DEVICE)
                                .map(place -> "libsjd2_cuda.so in " + place)
                                .orElse("none, libsjd2_cuda.so was not built"));
    }

    /// The driver's part inside the system, which a container may share without the part that programs load.
    static String kernelModule() {
        if (!Files.isReadable(KERNEL_MODULE)) {
            return "driver: no NVIDIA kernel module is loaded";
        }
        try (Stream<String> lines = Files.lines(KERNEL_MODULE)) {
            return "driver: "
                    + lines.findFirst().orElse("").replaceAll("\\s+", " ").replace("NVRM version: ", "");
        } catch (IOException e) {
            return "driver: " + KERNEL_MODULE + " cannot be read: " + e.getMessage();
        }
    }

    /// Every device that the driver sees, the one in use first marked as such.
    static List<String> devices(CudaDriver driver, int inUse) {
        List<String> lines = new ArrayList<>();
        for (int ordinal = 0; ordinal < driver.devices(); ordinal++) {
            CUdevice device = new CUdevice();
            byte[] name = new byte[256];
            long[] bytes = new long[1];
            int[] major = new int[1];
            int[] minor = new int[1];
            boolean answers = cuDeviceGet(device, ordinal) == 0
                    && cuDeviceGetName(name, name.length, device) == 0
                    && cuDeviceTotalMem(bytes, device) == 0
                    && cuDeviceGetAttribute(
                                    major, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
                            == 0
                    && cuDeviceGetAttribute(
                                    minor, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
                            == 0;
            String about = answers
                    ? new String(name, StandardCharsets.UTF_8).split("\0", 2)[0] + ", sm" + major[0] + minor[0] + ", "
                            + CudaDevice.mib(bytes[0])
                    : "does not answer";
            lines.add("device " + ordinal + ": " + about
                    + (ordinal == inUse
                            ? ", in use"
                            : "; -D" + CudaBackend.DEVICE_PROPERTY + "=" + ordinal + " takes it"));
        }
        return lines;
    }

    /// Which of NVIDIA's libraries for matrix products are here, and what is made of them.
    static String products(CudaBackend backend) {
        List<String> found = Stream.of("libcublas.so.12", "libcublas.so.13")
                .filter(name -> CublasLibrary.find(name).isPresent())
                .toList();
        return backend.productsDescription() + "; cuBLAS here: "
                + (found.isEmpty() ? "none" : String.join(", ", found));
    }
}
