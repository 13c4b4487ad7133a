package io.sjd2.kernel.cuda;

import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.ffm.NativeLibrary;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;

/// Results of the driver as exceptions with the status that the kernels' library would give.
final class CudaErrors {
    private CudaErrors() {}

    /// The exception for a result that is not success.
    ///
    /// @param where  the backend or device, for the message
    /// @param about  shapes, sizes and what to do; may be empty
    static KernelException failure(int result, String operation, String where, String about) {
        String[] text = new String[1];
        JCudaDriver.cuGetErrorString(result, text);
        String name = CUresult.stringFor(result);
        return new KernelException(
                operation + " on " + where + " failed: " + name
                        + (text[0] == null || text[0].equals(name) ? "" : ": " + text[0])
                        + (about.isEmpty() ? "" : "; " + about)
                        + (statusOf(result) == NativeLibrary.DEVICE_LOST
                                ? "; the device cannot be used any more: close the backend and start another process"
                                : ""),
                statusOf(result));
    }

    private static int statusOf(int result) {
        return switch (result) {
            case CUresult.CUDA_ERROR_OUT_OF_MEMORY -> NativeLibrary.OUT_OF_MEMORY;
            case CUresult.CUDA_ERROR_DEINITIALIZED,
                    CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE,
                    CUresult.CUDA_ERROR_ECC_UNCORRECTABLE,
                    CUresult.CUDA_ERROR_NVLINK_UNCORRECTABLE,
                    CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,
                    CUresult.CUDA_ERROR_LAUNCH_TIMEOUT,
                    CUresult.CUDA_ERROR_CONTEXT_IS_DESTROYED,
                    CUresult.CUDA_ERROR_ASSERT,
                    CUresult.CUDA_ERROR_HARDWARE_STACK_ERROR,
                    CUresult.CUDA_ERROR_ILLEGAL_INSTRUCTION,
                    CUresult.CUDA_ERROR_MISALIGNED_ADDRESS,
                    CUresult.CUDA_ERROR_INVALID_ADDRESS_SPACE,
                    CUresult.CUDA_ERROR_INVALID_PC,
                    CUresult.CUDA_ERROR_LAUNCH_FAILED,
                    CUresult.CUDA_ERROR_UNKNOWN -> NativeLibrary.DEVICE_LOST;
            case CUresult.CUDA_ERROR_STUB_LIBRARY,
                    CUresult.CUDA_ERROR_NO_DEVICE,
                    CUresult.CUDA_ERROR_INVALID_DEVICE,
                    CUresult.CUDA_ERROR_DEVICE_NOT_LICENSED,
                    CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU,
                    CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
                    CUresult.CUDA_ERROR_NOT_PERMITTED,
                    CUresult.CUDA_ERROR_NOT_SUPPORTED,
                    CUresult.CUDA_ERROR_SYSTEM_NOT_READY,
                    CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
                    CUresult.CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE -> NativeLibrary.UNSUPPORTED;
            default -> NativeLibrary.LAUNCH_FAILED;
        };
    }
}
