package io.sjd2.kernel;

class CpuAmxKernelsTest extends CpuKernelsContract {
    CpuAmxKernelsTest() {
        super("amx");
    }
}
