// Sums and extremes over a warp and a block, always in the same tree.
#ifndef SJD2_CUDA_REDUCE_CUH
#define SJD2_CUDA_REDUCE_CUH

#include "device/arith.cuh"

namespace sjd2::cuda {

constexpr uint32_t kWholeWarp = 0xFFFFFFFFu;
constexpr int kMaxWarps = 32;

struct Sum {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Largest {
  __device__ __forceinline__ float operator()(float a, float b) const { return a > b ? a : b; }
};

template <typename T, typename Operation>
__device__ __forceinline__ T warp_reduce(T value, Operation operation) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = operation(value, __shfl_xor_sync(kWholeWarp, value, distance));
  }
  return value;
}

// Every thread gets the result. `partial` has room for one value per warp; it may be used again after a barrier, which the
// next reduction over the same room contains.
template <typename T, typename Operation>
__device__ __forceinline__ T block_reduce(T value, T (&partial)[kMaxWarps], Operation operation) {
  value = warp_reduce(value, operation);
  const int warps = static_cast<int>(blockDim.x / 32);
  if (warps == 1) return value;
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  value = partial[0];
  for (int i = 1; i < warps; ++i) value = operation(value, partial[i]);
  return value;
}

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_REDUCE_CUH
