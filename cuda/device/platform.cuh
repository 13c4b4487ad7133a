// One source for two compilers: nvcc for the device, g++ over emulation/cuda_emulation.h for the host.
//
// Kernels use threadIdx and its like, __syncthreads, full-warp collectives of device/warp.cuh and SJD2_SHARED, and nothing
// else that a compiler has to know about. Multiply-adds that are to be fused are spelled fmaf: neither compiler fuses others.
#ifndef SJD2_CUDA_PLATFORM_CUH
#define SJD2_CUDA_PLATFORM_CUH

#include <cmath>
#include <cstdint>

#include "sjd2/kernels.h"
#include "stream.h"

#if defined(__CUDACC__)

#include <cuda_runtime.h>

// The block's shared memory, seen as one struct: its fields are the kernel's shared-memory map.
#define SJD2_SHARED(Type, name)                                         \
  extern __shared__ __align__(128) unsigned char sjd2_shared_bytes[]; \
  Type& name = *reinterpret_cast<Type*>(sjd2_shared_bytes)

namespace sjd2::cuda {

// What a block may use without being asked for it.
constexpr size_t kSharedByDefault = 48 << 10;

template <typename... Parameters, typename... Arguments>
int32_t launch(sjd2_stream stream, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
               Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return SJD2_OK;
  if (shared > kSharedByDefault) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (status != cudaSuccess) return launch_failed(name, static_cast<int32_t>(status));
  }
  kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream->native)>>>(static_cast<Parameters>(arguments)...);
  const cudaError_t status = cudaGetLastError();
  return status == cudaSuccess ? SJD2_OK : launch_failed(name, static_cast<int32_t>(status));
}

}  // namespace sjd2::cuda

#else

#include "emulation/cuda_emulation.h"

#define SJD2_SHARED(Type, name) Type& name = *static_cast<Type*>(::sjd2::emulation::block_shared())

namespace sjd2::cuda {

template <typename... Parameters, typename... Arguments>
int32_t launch(sjd2_stream stream, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
               Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return SJD2_OK;
  const int32_t status = emulation::enqueue(stream->native, name, kernel, grid, block, shared,
                                            static_cast<Parameters>(arguments)...);
  return status == 0 ? SJD2_OK : launch_failed(name, status);
}

}  // namespace sjd2::cuda

#endif

// Enqueues kernel(arguments...) and makes the calling function return where the device refuses it. A kernel with template
// arguments goes in parentheses.
#define SJD2_LAUNCH(kernel, grid, block, shared, stream, ...)                                                      \
  do {                                                                                                             \
    const int32_t sjd2_launched = ::sjd2::cuda::launch(stream, #kernel, kernel, grid, block, shared, __VA_ARGS__); \
    if (sjd2_launched != SJD2_OK) return sjd2_launched;                                                            \
  } while (false)

#endif  // SJD2_CUDA_PLATFORM_CUH
