package io.sjd2.kernel;

class CpuAvx512KernelsTest extends CpuKernelsContract {
    CpuAvx512KernelsTest() {
        super("avx512");
    }
}
