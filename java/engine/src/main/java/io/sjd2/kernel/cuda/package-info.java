/// Runs the engine on an NVIDIA GPU: JCuda's driver binding owns memory, the stream, events and graphs of the device's
/// primary context; `libsjd2_cuda` holds the kernels, bound as every native library is.
///
/// `cuda-emulated` is the same backend over a driver and kernels that run on the CPU: for tests, slow, and never chosen
/// unless it is asked for. A process runs one of the two, as there is one `libcuda.so.1` in it.
@NullMarked
package io.sjd2.kernel.cuda;

import org.jspecify.annotations.NullMarked;
