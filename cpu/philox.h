// Philox4x32-10 and what is made of its words; the same bits on every backend. docs/decoding.md, "Randomness".
#ifndef SJD2_CPU_PHILOX_H
#define SJD2_CPU_PHILOX_H

#include <cmath>

#include "common.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace sjd2::SJD2_ISA {

struct PhiloxBlock {
  uint32_t word[4];
};

struct PhiloxKey {
  uint32_t low, high;
};

// Counter = (element / 4, image, stream low, stream high); element e is word e % 4.
static inline PhiloxBlock philox(PhiloxKey key, uint32_t block, uint32_t image, uint32_t stream_lo, uint32_t stream_hi) {
  uint32_t c0 = block, c1 = image, c2 = stream_lo, c3 = stream_hi;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key.low;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key.high;
    c3 = static_cast<uint32_t>(product0);
    key.low += 0x9E3779B9u;
    key.high += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Blocks [first, first + kPhiloxBatch) of one stream, word j of block b at words[j][b]. One block is a chain of ten
// dependent multiplications; side by side, the chains overlap.
#if defined(__AVX2__)
constexpr int64_t kPhiloxBatch = 8;
typedef __m256i PhiloxVector;
static inline PhiloxVector philox_splat(uint32_t v) { return _mm256_set1_epi32(static_cast<int32_t>(v)); }
static inline PhiloxVector philox_xor(PhiloxVector a, PhiloxVector b) { return _mm256_xor_si256(a, b); }
static inline void philox_multiply(PhiloxVector a, PhiloxVector m, PhiloxVector* high, PhiloxVector* low) {
  const PhiloxVector even = _mm256_mul_epu32(a, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), m);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
#else
constexpr int64_t kPhiloxBatch = 1;
#endif

static inline void philox_batch(uint32_t words[4][kPhiloxBatch], PhiloxKey key, uint32_t first, uint32_t image,
                                uint32_t stream_lo, uint32_t stream_hi) {
#if defined(__AVX2__)
  for (int64_t b = 0; b < kPhiloxBatch; ++b) words[0][b] = first + static_cast<uint32_t>(b);
  PhiloxVector c0, c1 = philox_splat(image), c2 = philox_splat(stream_lo), c3 = philox_splat(stream_hi);
  std::memcpy(&c0, words[0], sizeof c0);
  const PhiloxVector m0 = philox_splat(0xD2511F53u), m1 = philox_splat(0xCD9E8D57u);
  for (int round = 0; round < 10; ++round) {
    PhiloxVector high0, low0, high1, low1;
    philox_multiply(c0, m0, &high0, &low0);
    philox_multiply(c2, m1, &high1, &low1);
    c0 = philox_xor(philox_xor(high1, c1), philox_splat(key.low));
    c1 = low1;
    c2 = philox_xor(philox_xor(high0, c3), philox_splat(key.high));
    c3 = low0;
    key.low += 0x9E3779B9u;
    key.high += 0xBB67AE85u;
  }
  std::memcpy(words[0], &c0, sizeof c0);
  std::memcpy(words[1], &c1, sizeof c1);
  std::memcpy(words[2], &c2, sizeof c2);
  std::memcpy(words[3], &c3, sizeof c3);
#else
  const PhiloxBlock block = philox(key, first, image, stream_lo, stream_hi);
  for (int j = 0; j < 4; ++j) words[j][0] = block.word[j];
#endif
}

static inline uint32_t stream_high(sjd2_purpose purpose, int32_t iteration) {
  return static_cast<uint32_t>(purpose) << 24 | static_cast<uint32_t>(iteration);
}

// In [0, 1), exact in f32.
static inline float uniform24(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// In (0, 1), exact in f64.
static inline double uniform_open(uint32_t word) { return (word + 0.5) * 0x1p-32; }

// Standard normals of elements [0, n), in f64 and rounded once: Box-Muller on word pairs.
static inline void philox_normals(float* out, PhiloxKey key, uint32_t image, uint32_t stream_lo, uint32_t stream_hi,
                                  int64_t n) {
  constexpr double kTwoPi = 6.283185307179586;
  for (int64_t i = 0; i < n; i += 4) {
    const PhiloxBlock block = philox(key, static_cast<uint32_t>(i / 4), image, stream_lo, stream_hi);
    for (int64_t j = 0; j < 4 && i + j < n; j += 2) {
      const double radius = std::sqrt(-2.0 * std::log(uniform_open(block.word[j])));
      const double angle = kTwoPi * uniform_open(block.word[j + 1]);
      out[i + j] = static_cast<float>(radius * std::cos(angle));
      if (i + j + 1 < n) out[i + j + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
}

}  // namespace sjd2::SJD2_ISA

#endif  // SJD2_CPU_PHILOX_H
