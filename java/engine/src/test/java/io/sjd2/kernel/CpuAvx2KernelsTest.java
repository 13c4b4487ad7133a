package io.sjd2.kernel;

class CpuAvx2KernelsTest extends CpuKernelsContract {
    CpuAvx2KernelsTest() {
        super("avx2");
    }
}
