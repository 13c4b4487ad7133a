// Philox4x32-10 and what is made of its words; the same bits on every backend. docs/decoding.md, "Randomness".
#ifndef SJD2_CUDA_PHILOX_CUH
#define SJD2_CUDA_PHILOX_CUH

#include "device/arith.cuh"

namespace sjd2::cuda {

struct PhiloxBlock {
  uint32_t word[4];
};

struct PhiloxKey {
  uint32_t low, high;
};

// Counter = (element / 4, image, stream low, stream high); element e is word e % 4.
__device__ inline PhiloxBlock philox(PhiloxKey key, uint32_t block, uint32_t image, uint32_t stream_lo, uint32_t stream_hi) {
  uint32_t c0 = block, c1 = image, c2 = stream_lo, c3 = stream_hi;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ key.low;
    c1 = low1;
    c2 = high0 ^ c3 ^ key.high;
    c3 = low0;
    key.low += 0x9E3779B9u;
    key.high += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

__device__ __forceinline__ uint32_t stream_high(sjd2_purpose purpose, int32_t iteration) {
  return static_cast<uint32_t>(purpose) << 24 | static_cast<uint32_t>(iteration);
}

// In [0, 1), exact in f32.
__device__ __forceinline__ float uniform_low(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// In (0, 1), exact in f64.
__device__ __forceinline__ double uniform_open(uint32_t word) { return (word + 0.5) * 0x1p-32; }

// Standard normals of a block's four elements, in f64 and rounded once: Box-Muller on word pairs.
__device__ inline void philox_normals(float (&out)[4], const PhiloxBlock& block) {
  constexpr double kTwoPi = 6.283185307179586;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const double radius = sqrt(-2.0 * log(uniform_open(block.word[j])));
    const double angle = kTwoPi * uniform_open(block.word[j + 1]);
    out[j] = static_cast<float>(radius * cos(angle));
    out[j + 1] = static_cast<float>(radius * sin(angle));
  }
}

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_PHILOX_CUH
