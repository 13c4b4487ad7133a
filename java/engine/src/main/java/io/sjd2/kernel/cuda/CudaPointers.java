package io.sjd2.kernel.cuda;

import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUstream;

/// Addresses as JCuda's objects, and back: its constructors and accessors for them are protected.
final class CudaPointers {
    private CudaPointers() {}

    /// Device memory.
    static final class DevicePointer extends CUdeviceptr {
        private static final CUdeviceptr NOTHING = new CUdeviceptr();

        /// To be filled by an allocation.
        DevicePointer() {}

        DevicePointer(long address) {
            super(NOTHING, address);
        }

        long address() {
            return getNativePointer() + getByteOffset();
        }
    }

    /// Memory of the host.
    static final class HostPointer extends Pointer {
        /// To be filled by an allocation.
        HostPointer() {}

        HostPointer(long address) {
            super(address);
        }

        long address() {
            return getNativePointer() + getByteOffset();
        }
    }

    /// A stream whose handle can be handed to a native library.
    static final class Stream extends CUstream {
        long address() {
            return getNativePointer();
        }
    }
}
