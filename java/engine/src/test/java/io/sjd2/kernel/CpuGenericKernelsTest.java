package io.sjd2.kernel;

class CpuGenericKernelsTest extends CpuKernelsContract {
    CpuGenericKernelsTest() {
        super("generic");
    }
}
