// Numbers: bf16 and f16 by their bits, and integer helpers.
#ifndef SJD2_CUDA_ARITH_CUH
#define SJD2_CUDA_ARITH_CUH

#include "device/platform.cuh"

namespace sjd2::cuda {

__device__ __forceinline__ float bits_to_float(uint32_t bits) {
#if defined(__CUDACC__)
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

__device__ __forceinline__ uint32_t float_to_bits(float value) {
#if defined(__CUDACC__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

__device__ __forceinline__ float from_bf16(uint32_t value) { return bits_to_float(value << 16); }

// To nearest, ties to even; a NaN stays a (quiet) NaN.
__device__ __forceinline__ uint16_t to_bf16(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const uint32_t result = (bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits | 0x400000u) : rounded;
  return static_cast<uint16_t>(result >> 16);
}

// Two neighbours in one word, the first in the lower half.
__device__ __forceinline__ uint32_t pair_bf16(float first, float second) {
  return to_bf16(first) | static_cast<uint32_t>(to_bf16(second)) << 16;
}

__device__ __forceinline__ float from_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7FFFu;
  if (magnitude >= 0x7C00u) return bits_to_float(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  // The half's exponent and mantissa in the float's place are too small by 2^112, subnormals included.
  const float scaled = bits_to_float(magnitude << 13) * 0x1p112f;
  return bits_to_float(sign | float_to_bits(scaled));
}

__device__ __forceinline__ uint16_t to_f16(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u | (magnitude >> 13 & 0x1FFu));
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // from 65520 on it rounds to infinity
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 puts the half's last place at the float's last place, and the addition rounds.
    const float aligned = bits_to_float(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (float_to_bits(aligned) - 0x3F000000u));
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | rounded >> 13);
}

__device__ __forceinline__ float load_as_float(const float* p) { return *p; }
__device__ __forceinline__ float load_as_float(const uint16_t* p) { return from_bf16(*p); }
__device__ __forceinline__ void store_from_float(float* p, float value) { *p = value; }
__device__ __forceinline__ void store_from_float(uint16_t* p, float value) { *p = to_bf16(value); }

// src_dtype is a sjd2_dtype of f32, bf16 or f16.
__device__ __forceinline__ float load_dtype(const void* src, int64_t i, int32_t dtype) {
  if (dtype == SJD2_F32) return static_cast<const float*>(src)[i];
  const uint16_t half = static_cast<const uint16_t*>(src)[i];
  return dtype == SJD2_BF16 ? from_bf16(half) : from_f16(half);
}
__device__ __forceinline__ void store_dtype(void* dst, int64_t i, float value, int32_t dtype) {
  if (dtype == SJD2_F32) {
    static_cast<float*>(dst)[i] = value;
  } else {
    static_cast<uint16_t*>(dst)[i] = dtype == SJD2_BF16 ? to_bf16(value) : to_f16(value);
  }
}

__host__ __device__ constexpr int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
__host__ __device__ constexpr int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
__host__ __device__ constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
__host__ __device__ constexpr int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }

__device__ __forceinline__ float infinity() { return bits_to_float(0x7F800000u); }

// The first to come writes; the host reads once the stream is idle.
__device__ inline void raise(Fault* fault, FaultKind kind, int64_t a, int64_t b = 0, int64_t c = 0,
                             FaultOperation operation = kOneOperation) {
  if (atomicCAS(&fault->kind, kNoFault, kind) != kNoFault) return;
  fault->operation = operation;
  fault->values[0] = a;
  fault->values[1] = b;
  fault->values[2] = c;
}

// Threads for a row of `width` elements: four or more each, whole warps, at most `most`. A row's sums depend on this
// number, and it depends on the width alone.
inline uint32_t row_threads(int64_t width, uint32_t most) {
  const int64_t threads = round_up(div_up(width, 4), 32);
  return threads < static_cast<int64_t>(most) ? static_cast<uint32_t>(threads) : most;
}

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_ARITH_CUH
