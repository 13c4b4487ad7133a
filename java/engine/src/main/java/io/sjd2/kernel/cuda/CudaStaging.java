package io.sjd2.kernel.cuda;

import static jcuda.driver.JCudaDriver.cuEventCreate;
import static jcuda.driver.JCudaDriver.cuEventDestroy;
import static jcuda.driver.JCudaDriver.cuEventRecord;
import static jcuda.driver.JCudaDriver.cuEventSynchronize;
import static jcuda.driver.JCudaDriver.cuMemFreeHost;
import static jcuda.driver.JCudaDriver.cuMemHostAlloc;
import static jcuda.driver.JCudaDriver.cuMemcpyDtoHAsync;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoDAsync;

import io.sjd2.kernel.cuda.CudaPointers.DevicePointer;
import io.sjd2.kernel.cuda.CudaPointers.HostPointer;
import io.sjd2.kernel.ffm.NativeStream;
import java.lang.foreign.MemorySegment;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUstream;

/// The way between host and device: pinned memory in two halves, so that one is filled while the other travels.
///
/// Copies are in order with the stream's kernels. Confined to the backend's thread.
final class CudaStaging implements AutoCloseable {
    /// Large enough that a copy's fixed cost does not count, small enough to be had on any machine.
    private static final long HALF = 4 << 20;

    private final CudaDevice device;
    private final CUstream stream;
    private final NativeStream kernels;
    private final long address;
    private final MemorySegment[] halves = new MemorySegment[2];
    private final CUevent[] travelled = {new CUevent(), new CUevent()};
    private int next;

    /// @param kernels  the same stream as the kernels' library knows it: waiting through it reports what kernels found
    CudaStaging(CudaDevice device, CUstream stream, NativeStream kernels) {
        this.device = device;
        this.kernels = kernels;
        this.stream = stream;
        HostPointer pinned = new HostPointer();
        device.require(
                cuMemHostAlloc(pinned, 2 * HALF, 0),
                "cuMemHostAlloc",
                "the system refuses " + CudaDevice.mib(2 * HALF) + " of pinned memory");
        this.address = pinned.address();
        MemorySegment whole = MemorySegment.ofAddress(address).reinterpret(2 * HALF);
        for (int half = 0; half < halves.length; half++) {
            halves[half] = whole.asSlice(half * HALF, HALF);
            device.require(cuEventCreate(travelled[half], CUevent_flags.CU_EVENT_DISABLE_TIMING), "cuEventCreate", "");
        }
    }

    /// Enqueues a copy to the device; `src` may be changed or freed afterwards.
    void upload(MemorySegment dst, MemorySegment src) {
        for (long at = 0; at < src.byteSize(); at += HALF) {
            long bytes = Math.min(HALF, src.byteSize() - at);
            int half = takeHalf();
            MemorySegment.copy(src, at, halves[half], 0, bytes);
            device.require(
                    cuMemcpyHtoDAsync(
                            new DevicePointer(dst.address() + at),
                            new HostPointer(halves[half].address()),
                            bytes,
                            stream),
                    "upload",
                    bytes + " bytes");
            device.require(cuEventRecord(travelled[half], stream), "cuEventRecord", "");
        }
    }

    /// Copies to the host and waits, once for up to half of the staging memory.
    void download(MemorySegment dst, MemorySegment src) {
        for (long at = 0; at < src.byteSize(); at += HALF) {
            long bytes = Math.min(HALF, src.byteSize() - at);
            int half = takeHalf();
            device.require(
                    cuMemcpyDtoHAsync(
                            new HostPointer(halves[half].address()),
                            new DevicePointer(src.address() + at),
                            bytes,
                            stream),
                    "download",
                    bytes + " bytes");
            kernels.synchronize();
            MemorySegment.copy(halves[half], 0, dst, at, bytes);
        }
    }

    /// A half that no copy reads any more.
    private int takeHalf() {
        int half = next;
        next ^= 1;
        device.require(cuEventSynchronize(travelled[half]), "cuEventSynchronize", "");
        return half;
    }

    /// To be closed when the stream is idle.
    @Override
    public void close() {
        for (CUevent event : travelled) {
            device.requireUnlessLost(cuEventDestroy(event), "cuEventDestroy");
        }
        device.requireUnlessLost(cuMemFreeHost(new HostPointer(address)), "cuMemFreeHost");
    }
}
