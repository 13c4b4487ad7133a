// Vectors of f32, as wide as the instruction set has them, with partial loads and stores for tails.
//
// Everything here is in namespace SJD2_ISA (see common.h). A multiplication is fused with an addition only by
// fmadd(): the sources are built with -ffp-contract=off, so that an element's value never depends on whether
// the compiler saw it in a vector body or in a tail.
#ifndef SJD2_CPU_VEC_H
#define SJD2_CPU_VEC_H

#include "common.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace sjd2::SJD2_ISA {

#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;
#endif

typedef float vf __attribute__((vector_size(kLanes * 4)));
typedef int32_t vi __attribute__((vector_size(kLanes * 4)));
typedef uint32_t vu __attribute__((vector_size(kLanes * 4)));
typedef uint16_t vh __attribute__((vector_size(kLanes * 2)));
// The same, for memory that is aligned to its elements only.
typedef float vf_unaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef uint16_t vh_unaligned __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));

#define SJD2_INLINE static inline __attribute__((always_inline))

SJD2_INLINE vf splat(float value) { return value - vf{}; }

// The same for a word whose bits are no number, such as a pair of bf16: copied, never computed with.
SJD2_INLINE vf splat_word(const float* p) {
#if defined(__AVX512F__)
  return (vf)_mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
#else
  return (vf)(vi{} + *reinterpret_cast<const int32_t*>(p));
#endif
}

SJD2_INLINE vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
SJD2_INLINE void store(float* p, vf v) { *reinterpret_cast<vf_unaligned*>(p) = v; }

SJD2_INLINE vf widen(vh h) { return (vf)(__builtin_convertvector(h, vu) << 16); }
SJD2_INLINE vf load(const uint16_t* p) { return widen(*reinterpret_cast<const vh_unaligned*>(p)); }

// To bf16, to nearest even; as to_bf16, lane by lane, but that the sets with an instruction for it make zeros
// of numbers below the normal range.
SJD2_INLINE vh narrow(vf v) {
#if defined(__AVX512BF16__)
  return (vh)_mm512_cvtneps_pbh((__m512)v);
#else
  const vu bits = (vu)v;
  const vu rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const vu quiet = bits | 0x400000u;
  const vu is_nan = (vu)((bits & 0x7FFFFFFFu) > 0x7F800000u);
  return __builtin_convertvector(((is_nan & quiet) | (~is_nan & rounded)) >> 16, vh);
#endif
}
SJD2_INLINE void store(uint16_t* p, vf v) { *reinterpret_cast<vh_unaligned*>(p) = narrow(v); }

// The first n lanes, 0 < n < kLanes; the others load as zero.
#if defined(__AVX512F__)
SJD2_INLINE __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
SJD2_INLINE vf load_first(const float* p, int64_t n) { return (vf)_mm512_maskz_loadu_ps(first_lanes(n), p); }
SJD2_INLINE void store_first(float* p, vf v, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)v);
}
SJD2_INLINE vf load_first(const uint16_t* p, int64_t n) {
  return widen((vh)_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
SJD2_INLINE void store_first(uint16_t* p, vf v, int64_t n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), (__m256i)narrow(v));
}
#else
template <typename T>
SJD2_INLINE vf load_first(const T* p, int64_t n) {
  T whole[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) whole[i] = p[i];
  return load(whole);
}
template <typename T>
SJD2_INLINE void store_first(T* p, vf v, int64_t n) {
  T whole[kLanes];
  store(whole, v);
  for (int64_t i = 0; i < n; ++i) p[i] = whole[i];
}
#endif

// Whole vectors where n allows, else the first n lanes: one spelling for body and tail.
template <typename T>
SJD2_INLINE vf load_upto(const T* p, int64_t n) {
  return n >= kLanes ? load(p) : load_first(p, n);
}
template <typename T>
SJD2_INLINE void store_upto(T* p, vf v, int64_t n) {
  if (n >= kLanes) {
    store(p, v);
  } else {
    store_first(p, v, n);
  }
}

// a * b + c, rounded once where the hardware can.
SJD2_INLINE vf fmadd(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// The larger and the smaller; b where either is a NaN, as the hardware has it.
SJD2_INLINE vf max(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_max_ps(0xFFFF, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}
SJD2_INLINE vf min(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_min_ps(0xFFFF, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}

// Lane i from lane i ^ kDistance.
template <int kDistance>
SJD2_INLINE vf swap_lanes(vf v) {
  vi order;
  for (int i = 0; i < kLanes; ++i) order[i] = i ^ kDistance;
  return __builtin_shuffle(v, order);
}

// Sums and maxima over lanes, always in the same tree.
SJD2_INLINE float sum_lanes(vf v) {
  if constexpr (kLanes > 8) v += swap_lanes<8>(v);
  if constexpr (kLanes > 4) v += swap_lanes<4>(v);
  v += swap_lanes<2>(v);
  v += swap_lanes<1>(v);
  return v[0];
}
SJD2_INLINE float max_lanes(vf v) {
  if constexpr (kLanes > 8) v = max(v, swap_lanes<8>(v));
  if constexpr (kLanes > 4) v = max(v, swap_lanes<4>(v));
  v = max(v, swap_lanes<2>(v));
  v = max(v, swap_lanes<1>(v));
  return v[0];
}

// One step of transpose(): blocks of kDistance lanes change sides of the diagonal.
template <int kDistance>
SJD2_INLINE void exchange(vf& a, vf& b) {
  vi first, second;
  for (int i = 0; i < kLanes; ++i) {
    const bool upper = (i & kDistance) != 0;
    first[i] = upper ? static_cast<int>(kLanes) + i - kDistance : i;
    second[i] = upper ? static_cast<int>(kLanes) + i : i + kDistance;
  }
  const vf low = __builtin_shuffle(a, b, first), high = __builtin_shuffle(a, b, second);
  a = low;
  b = high;
}
template <int kDistance>
SJD2_INLINE void exchange_all(vf (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kDistance) == 0) exchange<kDistance>(rows[i], rows[i + kDistance]);
  }
}

// Row i, lane j to row j, lane i.
SJD2_INLINE void transpose(vf (&rows)[kLanes]) {
  if constexpr (kLanes > 8) exchange_all<8>(rows);
  if constexpr (kLanes > 4) exchange_all<4>(rows);
  exchange_all<2>(rows);
  exchange_all<1>(rows);
}

// e^x within 2 ulp: 0 below -87.33, infinity above 88.73, NaN for NaN.
// Below -87.33 the result would be subnormal, and a vector with one subnormal result takes some hundred
// cycles. x = n ln 2 + r with |r| <= ln 2 / 2, and e^r = 1 + r + r^2 q(r), q of degree 4 fitted at Chebyshev
// nodes (1.1e-8).
SJD2_INLINE vf exp(vf x) {
  // In this order a NaN passes both.
  const vf clamped = max(splat(-87.33f), min(splat(89.0f), x));
  // Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits.
  const vf shifted = fmadd(clamped, splat(1.44269504f), splat(12582912.0f));
  const vf n = shifted - 12582912.0f;
  vf r = fmadd(n, splat(-0.693145752f), clamped);
  r = fmadd(n, splat(-1.42860677e-6f), r);
  vf q = splat(0.0013933733571320772f);
  q = fmadd(q, r, splat(0.008363235741853714f));
  q = fmadd(q, r, splat(0.041666463017463684f));
  q = fmadd(q, r, splat(0.16666576266288757f));
  q = fmadd(q, r, splat(0.5f));
  const vf e = fmadd(r * r, q, r) + 1.0f;
#if defined(__AVX512F__)
  const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, (__m512)splat(-87.33f), _CMP_NLT_UQ);
  return (vf)_mm512_maskz_scalef_ps(normal, (__m512)e, (__m512)n);
#else
  // 2^n in two factors: 2^128 alone would not fit.
  const vi whole = (vi)shifted - (vi)splat(12582912.0f);
  const vi half = whole >> 1;
  const vf result = e * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
  return (vf)((vi)result & ~(x < -87.33f));
#endif
}

// 2^x for x <= 0 (a rounding error above does no harm) within 1 ulp: 0 below -126, NaN for NaN.
// x = n + r with |r| <= 1/2, and 2^r = 1 + r p(r), p of degree 5 fitted at Chebyshev nodes (2.2e-9).
SJD2_INLINE vf exp2_below_zero(vf x) {
  // In this order a NaN passes.
  const vf clamped = max(splat(-126.0f), x);
  // Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits.
  const vf shifted = clamped + 12582912.0f;
  const vf n = shifted - 12582912.0f;
  const vf r = clamped - n;
  vf p = splat(0.00015370632172562182f);
  p = fmadd(p, r, splat(0.0013399808667600155f));
  p = fmadd(p, r, splat(0.009618373587727547f));
  p = fmadd(p, r, splat(0.05550329014658928f));
  p = fmadd(p, r, splat(0.24022647738456726f));
  p = fmadd(p, r, splat(0.6931471824645996f));
  const vf e = fmadd(p, r, splat(1.0f));
#if defined(__AVX512F__)
  const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, (__m512)splat(-126.0f), _CMP_NLT_UQ);
  return (vf)_mm512_maskz_scalef_ps(normal, (__m512)e, (__m512)n);
#else
  const vi whole = (vi)shifted - (vi)splat(12582912.0f);
  return (vf)((vi)(e * (vf)((whole + 127) << 23)) & ~(x < -126.0f));
#endif
}

// 1 / (1 + e^-x)
SJD2_INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + exp(-x)); }

// erfc(z) for z >= 0, relative error below 1e-6 up to z = 4 and absolute below 1e-11 beyond.
// erfc(z) = e^(-z^2) t p(t), t = 1 / (1 + 0.3 z), p of degree 8 fitted to z in [0, 10] by least squares.
SJD2_INLINE vf erfc_positive(vf z) {
  const vf t = 1.0f / fmadd(z, splat(0.3f), splat(1.0f));
  vf p = splat(-0.130558580160141f);
  p = fmadd(p, t, splat(0.49073562026023865f));
  p = fmadd(p, t, splat(-0.5232991576194763f));
  p = fmadd(p, t, splat(0.5607810020446777f));
  p = fmadd(p, t, splat(-0.10404864698648453f));
  p = fmadd(p, t, splat(0.219122514128685f));
  p = fmadd(p, t, splat(0.14720547199249268f));
  p = fmadd(p, t, splat(0.1708844155073166f));
  p = fmadd(p, t, splat(0.1691773384809494f));
  return p * t * exp(-(z * z));
}

}  // namespace sjd2::SJD2_ISA

#endif  // SJD2_CPU_VEC_H
