/// `include/sjd2/kernels.h` bound once through the foreign function interface, over whichever library is opened.
///
/// {@link io.sjd2.kernel.ffm.NativeLibrary} resolves symbols and reads errors, {@link io.sjd2.kernel.ffm.NativeStream}
/// owns a stream, {@link io.sjd2.kernel.ffm.NativeKernels} is one method per operation. `Linker` and `MethodHandle`
/// appear in this package alone; every class here serves the CPU and the CUDA libraries alike.
package io.sjd2.kernel.ffm;
