// Philox4x32-10 and what is made of its words; the same bits on every backend. docs/decoding.md, "Randomness".
#ifndef SJD2_CPU_PHILOX_H
#define SJD2_CPU_PHILOX_H

#include <cmath>

#include "common.h"

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
