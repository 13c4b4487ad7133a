package io.sjd2.kernel;

import io.sjd2.kernel.cuda.EmulatedDriver;

/// The contract through the CUDA backend, on the fake driver.
class CudaEmulatedKernelsTest extends KernelsContract {
    @Override
    Backend open(int threads) {
        return EmulatedDriver.open();
    }
}
