package io.sjd2.kernel.cuda;

import static jcuda.driver.JCudaDriver.cuCtxSetCurrent;
import static jcuda.driver.JCudaDriver.cuDeviceGet;
import static jcuda.driver.JCudaDriver.cuDeviceGetAttribute;
import static jcuda.driver.JCudaDriver.cuDeviceGetName;
import static jcuda.driver.JCudaDriver.cuDevicePrimaryCtxRetain;
import static jcuda.driver.JCudaDriver.cuMemAlloc;
import static jcuda.driver.JCudaDriver.cuMemFree;
import static jcuda.driver.JCudaDriver.cuMemGetInfo;

import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.cuda.CudaPointers.DevicePointer;
import io.sjd2.kernel.ffm.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import org.jspecify.annotations.Nullable;

/// A device with its primary context, which the kernels' library uses too. Shared by all backends on it; safe to use
/// from any thread.
///
/// The context is retained for as long as the process lives: what an arena frees after its backend is closed still
/// needs it.
final class CudaDevice {
    /// Tensor cores for bf16 and asynchronous copies came with it.
    private static final int OLDEST_MAJOR = 8;

    private static final Map<Integer, CudaDevice> OPEN = new HashMap<>();
    private static final ThreadLocal<@Nullable CudaDevice> CURRENT = new ThreadLocal<>();

    private final String description;
    private final CUcontext context;
    private final int major;
    private final int minor;
    private final int multiprocessors;
    private volatile boolean lost;

    private CudaDevice(String description, CUcontext context, int major, int minor, int multiprocessors) {
        this.description = description;
        this.context = context;
        this.major = major;
        this.minor = minor;
        this.multiprocessors = multiprocessors;
    }

    /// Memory of a device, in bytes.
    record Memory(long free, long total) {}

    /// @throws KernelException if there is no such device, or it refuses a context
    static CudaDevice open(CudaDriver driver, int ordinal) {
        synchronized (OPEN) {
            CudaDevice open = OPEN.get(ordinal);
            if (open == null) {
                open = create(driver, ordinal);
                OPEN.put(ordinal, open);
            }
            return open;
        }
    }

    private static CudaDevice create(CudaDriver driver, int ordinal) {
        String where = "device " + ordinal;
        if (driver.devices() == 0) {
            throw new KernelException("the CUDA driver sees no device; is CUDA_VISIBLE_DEVICES set to hide them?", 0);
        }
        CUdevice device = new CUdevice();
        check(cuDeviceGet(device, ordinal), "cuDeviceGet", where, "there are " + driver.devices());
        byte[] name = new byte[256];
        check(cuDeviceGetName(name, name.length, device), "cuDeviceGetName", where, "");
        int major = attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
        int minor = attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
        String description = new String(name, StandardCharsets.US_ASCII).split("\0", 2)[0];
        if (major < OLDEST_MAJOR) {
            throw new KernelException(
                    where + ", " + description + ", has compute capability " + major + "." + minor
                            + "; the kernels need " + OLDEST_MAJOR + ".0 (Ampere) or newer: use --backend cpu",
                    NativeLibrary.UNSUPPORTED);
        }
        CUcontext context = new CUcontext();
        check(cuDevicePrimaryCtxRetain(context, device), "cuDevicePrimaryCtxRetain", where, "");
        return new CudaDevice(
                description,
                context,
                major,
                minor,
                attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device));
    }

    private static int attribute(int code, CUdevice device) {
        int[] value = new int[1];
        check(cuDeviceGetAttribute(value, code, device), "cuDeviceGetAttribute", device.toString(), "");
        return value[0];
    }

    private static void check(int result, String operation, String where, String about) {
        if (result != 0) {
            throw CudaErrors.failure(result, operation, where, about);
        }
    }

    /// The device's own name.
    String description() {
        return description;
    }

    /// `sm90`.
    String architecture() {
        return "sm" + major + minor;
    }

    int multiprocessors() {
        return multiprocessors;
    }

    /// Makes the context current on this thread; nearly free if it is.
    void enter() {
        if (CURRENT.get() != this) {
            requireUnlessLost(cuCtxSetCurrent(context), "cuCtxSetCurrent");
            CURRENT.set(this);
        }
    }

    /// @throws KernelException if `result` is not success
    void require(int result, String operation, String about) {
        if (result != 0) {
            KernelException failure = CudaErrors.failure(result, operation, description, about);
            noticeLoss(failure);
            throw failure;
        }
    }

    /// For giving back what a lost device took with it: only other failures are thrown.
    void requireUnlessLost(int result, String operation) {
        if (result != 0) {
            KernelException failure = CudaErrors.failure(result, operation, description, "");
            if (failure.status() != NativeLibrary.DEVICE_LOST) {
                throw failure;
            }
        }
    }

    /// Remembers that the device is gone, if that is what an exception says: closing is quiet from then on.
    void noticeLoss(KernelException e) {
        lost |= e.status() == NativeLibrary.DEVICE_LOST;
    }

    boolean lost() {
        return lost;
    }

    Memory memory() {
        enter();
        long[] free = new long[1];
        long[] total = new long[1];
        require(cuMemGetInfo(free, total), "cuMemGetInfo", "");
        return new Memory(free[0], total[0]);
    }

    /// Device memory as a segment of its size that the host may not read, freed when `owner` closes.
    ///
    /// @param what  for the message, should there not be that much
    MemorySegment allocate(Arena owner, long bytes, String what) {
        enter();
        DevicePointer pointer = new DevicePointer();
        int result = cuMemAlloc(pointer, Math.max(1, bytes));
        if (result != 0) {
            require(result, "allocate", what + " needs " + mib(bytes) + ", " + available());
        }
        long address = pointer.address();
        try {
            return MemorySegment.ofAddress(address).reinterpret(bytes, owner, segment -> free(address));
        } catch (RuntimeException e) {
            free(address);
            throw e;
        }
    }

    /// For messages: what is free.
    String available() {
        long[] free = new long[1];
        long[] total = new long[1];
        // A device that is lost does not answer; what it was asked for is the message then.
        return cuMemGetInfo(free, total) == 0
                ? mib(free[0]) + " of " + mib(total[0]) + " are free"
                : "what is free it does not say";
    }

    private void free(long address) {
        // On whatever thread closes the arena.
        enter();
        requireUnlessLost(cuMemFree(new DevicePointer(address)), "cuMemFree");
    }

    static String mib(long bytes) {
        return bytes < 10 << 20
                ? String.format(Locale.ROOT, "%.1f KiB", bytes / 1024.0)
                : String.format(Locale.ROOT, "%.1f MiB", bytes / 1048576.0);
    }
}
