package io.sjd2.kernel;

class CpuAvx512Bf16KernelsTest extends CpuKernelsContract {
    CpuAvx512Bf16KernelsTest() {
        super("avx512-bf16");
    }
}
