// Sixteen floats at a time, for whichever instruction set this file is compiled for.
//
// GCC's vector extensions carry the arithmetic (on narrower machines they become two or four registers); intrinsics are
// used only where the extensions cannot say it: conversions, fused multiply-add and transposes.
#ifndef SJD2_CPU_TRAINING_VEC_H
#define SJD2_CPU_TRAINING_VEC_H

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef SJD2_ISA
#define SJD2_ISA generic
#endif

// Vectors never cross a public function boundary, so the ABI change that GCC warns of cannot matter.
#pragma GCC diagnostic ignored "-Wpsabi"
// GCC 12's own intrinsic headers build "undefined" operands from an uninitialised variable and are warned about it.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace sjd2::SJD2_ISA::training {

typedef float Vec __attribute__((vector_size(64), aligned(64)));
typedef int32_t IVec __attribute__((vector_size(64), aligned(64)));
typedef uint32_t UVec __attribute__((vector_size(64), aligned(64)));
typedef float VecU __attribute__((vector_size(64), aligned(4)));
typedef uint16_t Half16 __attribute__((vector_size(32), aligned(2)));

constexpr int64_t kLanes = 16;

inline Vec splat(float v) { return Vec{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }

inline float bf16_to_float(uint16_t h) {
  uint32_t bits = static_cast<uint32_t>(h) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Round to nearest, ties to even. A NaN stays one.
inline uint16_t float_to_bf16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline Vec load(const float* p) { return *reinterpret_cast<const VecU*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<VecU*>(p) = v; }

inline Vec load(const uint16_t* p) {
#if defined(__AVX512F__)
  __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return reinterpret_cast<Vec>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
#else
  UVec w = __builtin_convertvector(*reinterpret_cast<const Half16*>(p), UVec) << 16;
  return reinterpret_cast<Vec>(w);
#endif
}

inline void store(uint16_t* p, Vec v) {
#if defined(__AVX512BF16__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v))));
#else
  UVec bits = reinterpret_cast<UVec>(v);
  UVec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  UVec quiet = (bits >> 16) | 0x40u;
  UVec nan = reinterpret_cast<UVec>((bits & 0x7fffffffu) > 0x7f800000u);
  UVec out = (rounded & ~nan) | (quiet & nan);
  *reinterpret_cast<Half16*>(p) = __builtin_convertvector(out, Half16);
#endif
}

// 32 neighbours.
inline void store_pair(float* p, Vec low, Vec high) {
  store(p, low);
  store(p + 16, high);
}

inline void store_pair(uint16_t* p, Vec low, Vec high) {
#if defined(__AVX512BF16__)
  _mm512_storeu_si512(p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(high),
                                                                       reinterpret_cast<__m512>(low))));
#else
  store(p, low);
  store(p + 16, high);
#endif
}

inline float to_float(float f) { return f; }
inline float to_float(uint16_t h) { return bf16_to_float(h); }
inline void from_float(float* p, float f) { *p = f; }
inline void from_float(uint16_t* p, float f) { *p = float_to_bf16(f); }

// The first n < 16 elements; the other lanes are zero and are not read. (n & 15 tells the compiler that it fits.)
template <typename T>
inline Vec load_n(const T* p, int64_t n) {
  alignas(64) float tmp[16] = {};
  for (int64_t i = 0; i < (n & 15); ++i) tmp[i] = to_float(p[i]);
  return load(tmp);
}

template <typename T>
inline void store_n(T* p, Vec v, int64_t n) {
  alignas(64) float tmp[16];
  store(tmp, v);
  for (int64_t i = 0; i < (n & 15); ++i) from_float(p + i, tmp[i]);
}

// Calls f(offset, live lanes) over a row, whole vectors first.
template <typename F>
inline void over_row(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, n - i);
}

template <typename T>
inline Vec load_at(const T* p, int64_t lanes) {
  return lanes == kLanes ? load(p) : load_n(p, lanes);
}

template <typename T>
inline void store_at(T* p, Vec v, int64_t lanes) {
  if (lanes == kLanes) {
    store(p, v);
  } else {
    store_n(p, v, lanes);
  }
}

inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(
      _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__FMA__)
  alignas(64) float x[16], y[16], z[16];
  store(x, a);
  store(y, b);
  store(z, c);
  for (int i = 0; i < 16; i += 8) {
    _mm256_store_ps(z + i,
                    _mm256_fmadd_ps(_mm256_load_ps(x + i), _mm256_load_ps(y + i), _mm256_load_ps(z + i)));
  }
  return load(z);
#else
  return a * b + c;
#endif
}

// 1 / x to about 1 ulp for normal x; the divider is four times slower than this.
inline Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
  Vec r = reinterpret_cast<Vec>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x)));
  return r * fma(-x, r, splat(2.0f));
#else
  return 1.0f / x;
#endif
}

inline Vec square_root(Vec x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(_mm512_sqrt_ps(reinterpret_cast<__m512>(x)));
#else
  for (int i = 0; i < 16; ++i) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

inline Vec select(IVec mask, Vec yes, Vec no) { return mask ? yes : no; }
inline Vec vmax(Vec a, Vec b) { return a > b ? a : b; }
inline Vec vmin(Vec a, Vec b) { return a < b ? a : b; }

// A fixed tree, so that a sum has one order on every thread.
inline float sum(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v));
#endif
  alignas(64) float t[16];
  store(t, v);
  for (int w = 8; w > 0; w /= 2) {
    for (int i = 0; i < w; ++i) t[i] += t[i + w];
  }
  return t[0];
}

inline float max_of(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(reinterpret_cast<__m512>(v));
#endif
  alignas(64) float t[16];
  store(t, v);
  for (int w = 8; w > 0; w /= 2) {
    for (int i = 0; i < w; ++i) t[i] = t[i] > t[i + w] ? t[i] : t[i + w];
  }
  return t[0];
}

inline Vec lane_index() { return Vec{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }

// exp to about 1 ulp: 2^n * e^r with |r| <= ln2/2. Below -87 the result is the smallest normal or so; callers mask.
inline Vec exp(Vec x) {
  x = vmin(splat(88.0f), vmax(splat(-87.0f), x));                   // in this order a NaN stays one
  Vec t = fma(x, splat(1.44269504088896341f), splat(12582912.0f));  // 1.5 * 2^23 rounds to an integer
  Vec n = t - 12582912.0f;
  Vec r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r) + 1.0f;
  IVec e = (reinterpret_cast<IVec>(t) << 23) + 0x3f800000;  // the low bits of t hold n
  return p * reinterpret_cast<Vec>(e);
}

inline Vec sigmoid(Vec x) { return reciprocal(1.0f + exp(-x)); }

// Natural logarithm of positive normal numbers, to about 1 ulp: ln(2^n m) with m in [sqrt(1/2), sqrt(2)).
inline Vec log(Vec x) {
  IVec bits = reinterpret_cast<IVec>(x);
  IVec n = (bits >> 23) - 126;
  Vec m = reinterpret_cast<Vec>((bits & 0x007fffff) | 0x3f000000);
  IVec low = reinterpret_cast<IVec>(m < 0.707106781186547524f);
  n = n + low;  // a true mask is -1
  m = m + select(low, m, splat(0.0f)) - 1.0f;
  Vec nf = __builtin_convertvector(n, Vec);
  Vec z = m * m;
  Vec p = splat(7.0376836292e-2f);
  p = fma(p, m, splat(-1.1514610310e-1f));
  p = fma(p, m, splat(1.1676998740e-1f));
  p = fma(p, m, splat(-1.2420140846e-1f));
  p = fma(p, m, splat(1.4249322787e-1f));
  p = fma(p, m, splat(-1.6668057665e-1f));
  p = fma(p, m, splat(2.0000714765e-1f));
  p = fma(p, m, splat(-2.4999993993e-1f));
  p = fma(p, m, splat(3.3333331174e-1f));
  p = p * m * z;
  p = fma(nf, splat(-2.12194440e-4f), p);
  p = fma(z, splat(-0.5f), p);
  return fma(nf, splat(0.693359375f), m + p);
}

#if defined(__AVX512F__)
// Transposes a 16 x 16 matrix of 32-bit words in registers.
inline void transpose16(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}
#endif

}  // namespace sjd2::SJD2_ISA::training

#endif
