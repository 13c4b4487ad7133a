// Status and error text, bf16, and the rows of a pass that are live.
//
// Kernel sources are compiled once per instruction set into namespace sjd2::SJD2_ISA. Helpers in headers are
// therefore `static inline` or live in that namespace: one shared inline function would be emitted by several
// sets and the linker would keep whichever it met first, AVX-512 code on a machine without it included.
#ifndef SJD2_CPU_COMMON_H
#define SJD2_CPU_COMMON_H

#include <cstdint>
#include <cstring>

#include "sjd2/kernels.h"

#ifndef SJD2_ISA
#define SJD2_ISA generic
#endif

#define SJD2_EXPORT extern "C" __attribute__((visibility("default")))

// `restrict` is C only; the compilers that build this all know the underscored form.
#define SJD2_RESTRICT __restrict__

namespace sjd2 {

// Remembers a printf-formatted message for sjd2_last_error() of the calling thread and returns `status`.
int32_t fail(int32_t status, const char* format, ...) __attribute__((format(printf, 2, 3), cold));

static inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float from_bf16(uint16_t value) { return bits_to_float(static_cast<uint32_t>(value) << 16); }

// To nearest, ties to even; a NaN stays a (quiet) NaN.
static inline uint16_t to_bf16(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const uint32_t result = (bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits | 0x400000u) : rounded;
  return static_cast<uint16_t>(result >> 16);
}

static inline float load_as_float(const float* p) { return *p; }
static inline float load_as_float(const uint16_t* p) { return from_bf16(*p); }
static inline void store_from_float(float* p, float value) { *p = value; }
static inline void store_from_float(uint16_t* p, float value) { *p = to_bf16(value); }

static constexpr int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static constexpr int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static constexpr int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }

// The live rows of [batch, max_window] rows, in order. `sequences` may be NULL: every row is live.
struct LiveRows {
  const int32_t* index;  // live row i is row index[i]; NULL: the identity
  int64_t count;

  int64_t operator[](int64_t i) const { return index != nullptr ? index[i] : i; }
};

// Fills `live` from the stream's own storage (valid until the next call on that stream); allocates only when
// it grows.
int32_t find_live_rows(sjd2_stream stream, LiveRows* live, const sjd2_sequence* sequences, int64_t batch,
                       int64_t max_window);

}  // namespace sjd2

#endif  // SJD2_CPU_COMMON_H
