// The one matrix product of the trainer: a block of 32 rows of A times packed columns of B.
//
// Two compute formats. F32Product multiplies floats with fused multiply-adds. Bf16Product multiplies bf16 pairs into f32
// sums, on tiles (AMX) or on vectors (AVX512-BF16). A machine with neither uses F32Product on values rounded to bf16, so
// that "bf16 products" means the same rounding of the operands everywhere.
//
// Operands are brought into one of three shapes:
//   A block   32 rows, K contiguous: tile loads and broadcasts read it as it is. Rows of bf16 memory need no copy.
//   A strip   32 rows side by side, [k][32] (bf16: [pairs of k][32][2]): what a transposed A is without being turned.
//             Vectors broadcast from it as well; tiles cannot read it.
//   B panels  bf16: panels of 16 columns, each a run of 1 KB tiles [16 pairs of k][16 columns][2];
//             f32:  panels of 16 columns, [k][16].
// Rows, columns and k beyond the matrix are zero, so a product has no tails; only its stores do.
// Every element of C is a sum over k in ascending blocks, whatever else is computed beside it.
#ifndef SJD2_CPU_TRAINING_PRODUCT_H
#define SJD2_CPU_TRAINING_PRODUCT_H

#include <cstdlib>
#include <type_traits>

#include "vec.h"

namespace sjd2::SJD2_ISA::training {

constexpr int64_t kBlock = 32;  // rows of an A block, columns of a pair of panels
constexpr int64_t kPanel = 16;

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// A matrix in memory. `transposed` means that element (r, c) lies at [c * ld + r].
template <typename T>
struct Matrix {
  const T* data;
  int64_t rows, cols, ld;
  bool transposed;
  const T* at(int64_t r, int64_t c) const { return data + (transposed ? c * ld + r : r * ld + c); }
};

template <typename T>
inline Matrix<T> flip(Matrix<T> m) {
  return {m.data, m.cols, m.rows, m.ld, !m.transposed};
}

// Tiles are configured per thread and released after each task: a thread that keeps tile state pays for it in every
// context switch.
class TileScope {
 public:
  TileScope() {
#if defined(__AMX_BF16__)
    alignas(64) uint8_t config[64] = {};
    config[0] = 1;  // palette
    for (int i = 0; i < 8; ++i) {
      config[16 + 2 * i] = 64;  // bytes per row
      config[48 + i] = 16;      // rows
    }
    _tile_loadconfig(config);
#endif
  }
  ~TileScope() {
#if defined(__AMX_BF16__)
    _tile_release();
#endif
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

// Copies up to 16 x 32 elements into a zero-padded block of floats: the slow path of every ragged edge.
template <typename T>
inline void copy_edge(float* out, int64_t out_ld, const Matrix<T>& m, int64_t r0, int64_t c0, int64_t rows,
                      int64_t cols) {
  int64_t nr = m.rows - r0 < rows ? m.rows - r0 : rows;
  int64_t nc = m.cols - c0 < cols ? m.cols - c0 : cols;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c)
      out[r * out_ld + c] = r < nr && c < nc ? to_float(*m.at(r0 + r, c0 + c)) : 0;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Vectors
// ---------------------------------------------------------------------------------------------------------------------

// The two shapes of A as vectors read them: element (r, k), k a multiple of P::kStep.
template <class P>
struct BlockOfA {
  const typename P::Elem* data;
  int64_t ld;
  const typename P::Elem* at(int64_t r, int64_t k) const { return data + r * ld + k; }
};

template <class P>
struct StripOfA {
  const typename P::Elem* data;
  const typename P::Elem* at(int64_t r, int64_t k) const { return data + k * kBlock + r * P::kStep; }
};

// R rows of A from row r0 on by two panels, k in [k0, k1). The sums start from start[R][32], or from zero if it is null;
// done(row, columns 0..15, columns 16..31) takes them out of the registers.
template <int R, class P, class A, typename F>
inline void rows_by_panels(const A& a, int64_t r0, const typename P::Elem* b0, const typename P::Elem* b1,
                           int64_t k0, int64_t k1, const float* start, F&& done) {
  Vec acc[R][2] = {};
  if (start != nullptr) {
    for (int r = 0; r < R; ++r) {
      acc[r][0] = load(start + r * kBlock);
      acc[r][1] = load(start + r * kBlock + kPanel);
    }
  }
  for (int64_t k = k0; k < k1; k += P::kStep) {
    typename P::Operand v0 = P::columns(b0 + k * kPanel), v1 = P::columns(b1 + k * kPanel);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      typename P::Operand s = P::repeated(a.at(r0 + r, k));
      acc[r][0] = P::dot(s, v0, acc[r][0]);
      acc[r][1] = P::dot(s, v1, acc[r][1]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) done(r0 + r, acc[r][0], acc[r][1]);
}

// The first `live` of 32 rows of A by two panels, k in [k0, k1).
template <class P, class A, typename F>
inline void live_by_panels(const A& a, int64_t live, const typename P::Elem* b0, const typename P::Elem* b1,
                           int64_t k0, int64_t k1, const float* start, F&& done) {
  auto from = [&](int64_t r) { return start == nullptr ? nullptr : start + r * kBlock; };
#if defined(__AVX512F__)
  // 22 of 32 registers hold sums: two operations can start at every cycle, each takes up to six.
  rows_by_panels<11, P>(a, 0, b0, b1, k0, k1, from(0), done);
  if (live > 11) rows_by_panels<11, P>(a, 11, b0, b1, k0, k1, from(11), done);
  if (live > 22) rows_by_panels<10, P>(a, 22, b0, b1, k0, k1, from(22), done);
#else
  for (int64_t r = 0; r < live; r += 2) rows_by_panels<2, P>(a, r, b0, b1, k0, k1, from(r), done);
#endif
}

// How much of k the vectors take at a time, so that 32 rows of A and the panels stay in the first-level cache while all
// rows pass over them: even stretches of at most P::kStretch. A function of k alone.
template <class P>
inline int64_t stretch_of(int64_t depth) {
  int64_t count = (depth + P::kStretch - 1) / P::kStretch;
  return count < 2 ? depth : round_up((depth + count - 1) / count, 32);
}

// The same over all of k; done() is given rows of finished sums, among them, after the last live row, up to 10 others.
// `space` holds [32][32] sums between stretches.
template <class P, class A, typename F>
inline void block_by_panels(const A& a, int64_t live, const typename P::Elem* b0, const typename P::Elem* b1,
                            int64_t depth, float* space, F&& done) {
  int64_t stretch = stretch_of<P>(depth), k = 0;
  for (; k + stretch < depth; k += stretch) {
    live_by_panels<P>(a, live, b0, b1, k, k + stretch, k == 0 ? nullptr : space,
                      [&](int64_t r, Vec low, Vec high) {
                        store(space + r * kBlock, low);
                        store(space + r * kBlock + kPanel, high);
                      });
  }
  live_by_panels<P>(a, live, b0, b1, k, depth, k == 0 ? nullptr : space, done);
}

inline void prefetch_to_second_level(const void* p) { __builtin_prefetch(p, 0, 2); }

// A line that is about to be written: what is in it is fetched while something else is computed.
inline void prefetch_to_write(const void* p) {
#if defined(__AVX512F__)
  asm volatile("prefetchw %0" ::"m"(*static_cast<const char*>(p)));
#else
  __builtin_prefetch(p, 1);
#endif
}

// ---------------------------------------------------------------------------------------------------------------------
// f32
// ---------------------------------------------------------------------------------------------------------------------

template <bool Round>
struct F32ProductT {
  using Elem = float;
  static constexpr int64_t kDepth = 1;  // k is padded to a multiple of this
  static constexpr bool kOnTiles = false;

  static float rounded(float f) { return Round ? bf16_to_float(float_to_bf16(f)) : f; }

  // 32 neighbours as operands.
  static void put(Elem* p, Vec low, Vec high) {
    if (Round) {
      alignas(2) uint16_t narrow[2 * kLanes];
      store_pair(narrow, low, high);
      low = load(narrow);
      high = load(narrow + kLanes);
    }
    store_pair(p, low, high);
  }

  // The A block as it lies in memory, if it may be used without a copy.
  static const Elem* direct(const Matrix<float>& a, int64_t r0) {
    if (Round || a.transposed || r0 + kBlock > a.rows) return nullptr;
    return a.data + r0 * a.ld;
  }
  static const Elem* direct(const Matrix<uint16_t>&, int64_t) { return nullptr; }

  // Rows [r0, r0 + 32) of a into out[32][k].
#if defined(__AVX512F__)
  // out[c][r] = in[r][c] for 16 x 16 floats.
  static void transpose_tile(Elem* out, int64_t out_ld, const float* in, int64_t in_ld) {
    __m512i t[16];
    for (int i = 0; i < 16; ++i) t[i] = _mm512_loadu_si512(in + i * in_ld);
    transpose16(t);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * out_ld, t[i]);
  }
#endif

  template <typename T>
  static void pack_a(Elem* out, const Matrix<T>& a, int64_t r0) {
    int64_t k = a.cols, live = a.rows - r0 < kBlock ? a.rows - r0 : kBlock;
#if defined(__AVX512F__)
    if constexpr (!Round && std::is_same_v<T, float>) {
      if (a.transposed && live == kBlock) {
        int64_t c = 0;
        for (; c + 16 <= k; c += 16) {
          transpose_tile(out + c, k, a.data + c * a.ld + r0, a.ld);
          transpose_tile(out + 16 * k + c, k, a.data + c * a.ld + r0 + 16, a.ld);
        }
        for (; c < k; ++c) {
          for (int64_t r = 0; r < kBlock; ++r) out[r * k + c] = a.data[c * a.ld + r0 + r];
        }
        return;
      }
    }
#endif
    if (!a.transposed) {
      for (int64_t r = 0; r < live; ++r) {
        const T* src = a.data + (r0 + r) * a.ld;
        for (int64_t c = 0; c < k; ++c) out[r * k + c] = rounded(to_float(src[c]));
      }
    } else {
      for (int64_t c = 0; c < k; ++c) {
        const T* src = a.data + c * a.ld + r0;
        for (int64_t r = 0; r < live; ++r) out[r * k + c] = rounded(to_float(src[r]));
      }
    }
    std::memset(out + live * k, 0, static_cast<size_t>((kBlock - live) * k) * sizeof(Elem));
  }

  // Columns [c0, c0 + 16) of b into [k][16].
  template <typename T>
  static void pack_b(Elem* out, const Matrix<T>& b, int64_t c0) {
    int64_t k = b.rows, live = b.cols - c0 < kPanel ? b.cols - c0 : kPanel;
#if defined(__AVX512F__)
    if constexpr (!Round && std::is_same_v<T, float>) {
      if (b.transposed && live == kPanel) {
        int64_t i = 0;
        for (; i + 16 <= k; i += 16) transpose_tile(out + i * kPanel, kPanel, b.data + c0 * b.ld + i, b.ld);
        for (; i < k; ++i) {
          for (int64_t c = 0; c < kPanel; ++c) out[i * kPanel + c] = b.data[(c0 + c) * b.ld + i];
        }
        return;
      }
    }
#endif
    if (live < kPanel) std::memset(out, 0, static_cast<size_t>(k * kPanel) * sizeof(Elem));
    if (!b.transposed) {
      for (int64_t i = 0; i < k; ++i) {
        const T* src = b.data + i * b.ld + c0;
        for (int64_t c = 0; c < live; ++c) out[i * kPanel + c] = rounded(to_float(src[c]));
      }
    } else {
      for (int64_t c = 0; c < live; ++c) {
        const T* src = b.data + (c0 + c) * b.ld;
        for (int64_t i = 0; i < k; ++i) out[i * kPanel + c] = rounded(to_float(src[i]));
      }
    }
  }

  // Columns [c0, c0 + 32) of b into two panels.
  template <typename T>
  static void pack_panels(Elem* out, int64_t stride, const Matrix<T>& b, int64_t c0) {
    for (int64_t i = 0; i < 2; ++i) {
      if (c0 + i * kPanel < b.cols) {
        pack_b(out + i * stride, b, c0 + i * kPanel);
      } else {
        std::memset(out + i * stride, 0, static_cast<size_t>(stride) * sizeof(Elem));
      }
    }
  }

  // Rows [k0, k1) of 32 columns of m: columns 0..15 of the i-th at low + i * step, the others at high + i * step. Beyond
  // the matrix are zeros.
  template <typename T>
  static void lines(Elem* low, Elem* high, int64_t step, const Matrix<T>& m, int64_t k0, int64_t k1,
                    int64_t c0) {
    int64_t live = m.cols - c0 < kBlock ? m.cols - c0 : kBlock;
    for (int64_t k = k0; k < k1; ++k, low += step, high += step) {
      const T* src = m.data + k * m.ld + c0;
      if (!Round && live == kBlock) {
        store(low, load(src));
        store(high, load(src + kLanes));
      } else {
        for (int64_t c = 0; c < kLanes; ++c) {
          low[c] = c < live ? rounded(to_float(src[c])) : 0;
          high[c] = c + kLanes < live ? rounded(to_float(src[c + kLanes])) : 0;
        }
      }
    }
  }

  using Operand = Vec;
  static constexpr int64_t kStep = 1;
  static constexpr int64_t kStretch = 192;
  static Operand columns(const Elem* p) { return load(p); }
  static Operand repeated(const Elem* p) { return splat(*p); }
  static Vec dot(Operand a, Operand b, Vec sum) { return fma(a, b, sum); }

  // out[32][32] = A block times two panels over k in [k0, k1).
  static void block(float* out, int64_t ldo, const Elem* a, int64_t lda, const Elem* b0, const Elem* b1,
                    int64_t k0, int64_t k1) {
    alignas(64) float space[kBlock * kBlock];
    block_by_panels<F32ProductT>(BlockOfA<F32ProductT>{a + k0, lda}, kBlock, b0 + k0 * kPanel,
                                 b1 + k0 * kPanel, k1 - k0, space, [&](int64_t r, Vec low, Vec high) {
                                   store(out + r * ldo, low);
                                   store(out + r * ldo + kPanel, high);
                                 });
  }
};

using F32Product = F32ProductT<false>;

// ---------------------------------------------------------------------------------------------------------------------
// bf16
// ---------------------------------------------------------------------------------------------------------------------

#if defined(__AVX512BF16__)

struct Bf16Product {
  using Elem = uint16_t;
  static constexpr int64_t kDepth = 32;
  static constexpr int64_t kTile = 512;  // elements of one B tile
#if defined(__AMX_BF16__)
  static constexpr bool kOnTiles = true;
#else
  static constexpr bool kOnTiles = false;
#endif

  // 32 neighbours as operands.
  static void put(Elem* p, Vec low, Vec high) { store_pair(p, low, high); }

  static const Elem* direct(const Matrix<uint16_t>& a, int64_t r0) {
    if (a.transposed || r0 + kBlock > a.rows || a.cols % kDepth != 0) return nullptr;
    return a.data + r0 * a.ld;
  }
  static const Elem* direct(const Matrix<float>&, int64_t) { return nullptr; }

  // 32 elements along contiguous memory as 16 pairs.
  static __m512i pairs_along(const uint16_t* p) { return _mm512_loadu_si512(p); }
  static __m512i pairs_along(const float* p) {
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + 16), _mm512_loadu_ps(p)));
  }

  // 16 columns of two rows, as pairs (row 0, row 1).
  static __m512i pairs_across(const uint16_t* p, const uint16_t* q) {
    __m512i lo = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    __m512i hi = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)));
    return _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16));
  }
  static __m512i pairs_across(const float* p, const float* q) {
    __m256i lo = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(p)));
    __m256i hi = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(q)));
    return _mm512_or_si512(_mm512_cvtepu16_epi32(lo), _mm512_slli_epi32(_mm512_cvtepu16_epi32(hi), 16));
  }

  // Rows [r0, r0 + 16), k in [k0, k0 + 32) of m as 16 registers, register r holding the 16 pairs of row r.
  template <typename T>
  static void tile_by_row(__m512i t[16], const Matrix<T>& m, int64_t r0, int64_t k0) {
    if (r0 + 16 > m.rows || k0 + 32 > m.cols) {
      alignas(64) float edge[16 * 32];
      copy_edge(edge, 32, m, r0, k0, 16, 32);
      for (int i = 0; i < 16; ++i) t[i] = pairs_along(edge + i * 32);
    } else if (!m.transposed) {
      for (int i = 0; i < 16; ++i) t[i] = pairs_along(m.data + (r0 + i) * m.ld + k0);
    } else {
      const T* p = m.data + k0 * m.ld + r0;
      for (int i = 0; i < 16; ++i) t[i] = pairs_across(p + 2 * i * m.ld, p + (2 * i + 1) * m.ld);
      transpose16(t);
    }
  }

  // 32 columns of two rows: a whole cache line each. The interleaving works within 128-bit lanes, so register row j holds
  // column 8*(j/4) + j%4, and the same + 4 in `hi`.
  static void lines_across(__m512i lo[16], __m512i hi[16], const uint16_t* p, int64_t ld) {
    for (int i = 0; i < 16; ++i) {
      __m512i even = _mm512_loadu_si512(p + 2 * i * ld), odd = _mm512_loadu_si512(p + (2 * i + 1) * ld);
      lo[i] = _mm512_unpacklo_epi16(even, odd);
      hi[i] = _mm512_unpackhi_epi16(even, odd);
    }
    transpose16(lo);
    transpose16(hi);
  }

  template <typename T>
  static void pack_a(Elem* out, const Matrix<T>& a, int64_t r0) {
    int64_t kp = round_up(a.cols, kDepth);
    if constexpr (sizeof(T) == 2) {
      if (a.transposed && r0 + kBlock <= a.rows) {
        int64_t k = 0;
        for (; k + 32 <= a.cols; k += 32) {
          __m512i lo[16], hi[16];
          lines_across(lo, hi, a.data + k * a.ld + r0, a.ld);
          for (int j = 0; j < 16; ++j) {
            Elem* row = out + (8 * (j / 4) + j % 4) * kp + k;
            _mm512_storeu_si512(row, lo[j]);
            _mm512_storeu_si512(row + 4 * kp, hi[j]);
          }
        }
        if (k < kp) {
          for (int half = 0; half < 2; ++half) {
            __m512i t[16];
            tile_by_row(t, a, r0 + 16 * half, k);
            for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + (16 * half + i) * kp + k, t[i]);
          }
        }
        return;
      }
    }
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t k = 0; k < kp; k += 32) {
        __m512i t[16];
        tile_by_row(t, a, r0 + 16 * half, k);
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + (16 * half + i) * kp + k, t[i]);
      }
    }
  }

  // Rows [k0, k1) of 32 columns of m as pairs of rows, k0 and k1 even: columns 0..15 of pair i at low + i * step, the
  // others at high + i * step. Beyond the matrix are zeros.
  template <typename T>
  static void lines(Elem* low, Elem* high, int64_t step, const Matrix<T>& m, int64_t k0, int64_t k1,
                    int64_t c0) {
    const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39,
                                           7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    int64_t whole = c0 + kBlock <= m.cols ? m.rows & ~int64_t{1} : 0, k = k0;
    for (; k < k1 && k < whole; k += 2, low += step, high += step) {
      const T *even = m.data + k * m.ld + c0, *odd = even + m.ld;
      if constexpr (sizeof(T) == 2) {
        __m512i x = _mm512_loadu_si512(even), y = _mm512_loadu_si512(odd);
        _mm512_storeu_si512(low, _mm512_permutex2var_epi16(x, first, y));
        _mm512_storeu_si512(high, _mm512_permutex2var_epi16(x, second, y));
      } else {
        _mm512_storeu_si512(low, pairs_across(even, odd));
        _mm512_storeu_si512(high, pairs_across(even + kLanes, odd + kLanes));
      }
    }
    for (; k < k1; k += 2, low += step, high += step) {
      alignas(64) float edge[2 * kBlock];
      copy_edge(edge, kBlock, m, k, c0, 2, kBlock);
      _mm512_storeu_si512(low, pairs_across(edge, edge + kBlock));
      _mm512_storeu_si512(high, pairs_across(edge + kLanes, edge + kBlock + kLanes));
    }
  }

  // A tile of B holds, for pair p, the 16 columns: the transpose of what tile_by_row gives for B's columns as rows.
  template <typename T>
  static void pack_b(Elem* out, const Matrix<T>& b, int64_t c0) {
    int64_t kp = round_up(b.rows, kDepth);
    for (int64_t k = 0; k < kp; k += 32, out += kTile) {
      __m512i t[16];
      if (!b.transposed && k + 32 <= b.rows && c0 + 16 <= b.cols) {
        const T* p = b.data + k * b.ld + c0;
        for (int i = 0; i < 16; ++i) t[i] = pairs_across(p + 2 * i * b.ld, p + (2 * i + 1) * b.ld);
      } else {
        tile_by_row(t, flip(b), c0, k);
        transpose16(t);
      }
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * 32, t[i]);
    }
  }

  // Columns [c0, c0 + 32) of b into two panels.
  template <typename T>
  static void pack_panels(Elem* out, int64_t stride, const Matrix<T>& b, int64_t c0) {
    if (!b.transposed) {
      lines(out, out + stride, 2 * kPanel, b, 0, round_up(b.rows, kDepth), c0);
      return;
    }
    for (int64_t i = 0; i < 2; ++i) {
      if (c0 + i * kPanel < b.cols) {
        pack_b(out + i * stride, b, c0 + i * kPanel);
      } else {
        std::memset(out + i * stride, 0, static_cast<size_t>(stride) * sizeof(Elem));
      }
    }
  }

#if defined(__AMX_BF16__)
  // With an addend the sums start from it, so that f32 results go straight from tiles to memory. `meanwhile()` is
  // called once per step of k: vector work of an earlier block that runs while the tile unit is busy.
  template <typename F>
  static void tiles(float* out, int64_t ldo, const float* addend, int64_t ldd, const Elem* a, int64_t lda,
                    const Elem* b0, const Elem* b1, int64_t k0, int64_t k1, F&& meanwhile) {
    if (addend == nullptr) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      _tile_loadd(0, addend, ldd * 4);
      _tile_loadd(1, addend + 16, ldd * 4);
      _tile_loadd(2, addend + 16 * ldd, ldd * 4);
      _tile_loadd(3, addend + 16 * ldd + 16, ldd * 4);
    }
    const Elem* a1 = a + 16 * lda;
    for (int64_t k = k0; k < k1; k += 32) {
      _tile_loadd(4, a + k, lda * 2);
      _tile_loadd(6, b0 + k * 16, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, b1 + k * 16, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, a1 + k, lda * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      meanwhile();
    }
    _tile_stored(0, out, ldo * 4);
    _tile_stored(1, out + 16, ldo * 4);
    _tile_stored(2, out + 16 * ldo, ldo * 4);
    _tile_stored(3, out + 16 * ldo + 16, ldo * 4);
  }

  static void block(float* out, int64_t ldo, const Elem* a, int64_t lda, const Elem* b0, const Elem* b1,
                    int64_t k0, int64_t k1) {
    tiles(out, ldo, nullptr, 0, a, lda, b0, b1, k0, k1, [] {});
  }
#else
  using Operand = __m512bh;
  static constexpr int64_t kStep = 2;
    static constexpr int64_t kStretch = 384;
  static Operand columns(const Elem* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
  static Operand repeated(const Elem* p) {
    int32_t pair;
    std::memcpy(&pair, p, 4);
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
  }
  static Vec dot(Operand a, Operand b, Vec sum) {
    return reinterpret_cast<Vec>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), a, b));
  }

  static void block(float* out, int64_t ldo, const Elem* a, int64_t lda, const Elem* b0, const Elem* b1,
                    int64_t k0, int64_t k1) {
    alignas(64) float space[kBlock * kBlock];
    block_by_panels<Bf16Product>(BlockOfA<Bf16Product>{a + k0, lda}, kBlock, b0 + k0 * kPanel,
                                 b1 + k0 * kPanel, k1 - k0, space, [&](int64_t r, Vec low, Vec high) {
                                   store(out + r * ldo, low);
                                   store(out + r * ldo + kPanel, high);
                                 });
  }
#endif
};

#else

using Bf16Product = F32ProductT<true>;

#endif

// ---------------------------------------------------------------------------------------------------------------------
// Scratch and shared loops
// ---------------------------------------------------------------------------------------------------------------------

// Memory that a thread keeps between calls. Each slot grows to the largest request; nullptr when there is no memory.
enum Slot { kSlotA, kSlotB, kSlotTask, kSlots };
void* scratch(Slot slot, int64_t bytes);

template <class P>
inline int64_t packed_panel(int64_t k) {
  return round_up(k, P::kDepth) * kPanel;
}

// Elements of all panels of a [k, n] matrix; pairs of panels are always whole.
template <class P>
inline int64_t packed_elements(int64_t n, int64_t k) {
  return round_up(n, kBlock) / kPanel * packed_panel<P>(k);
}

// k in [k0, k1) of rows [r0, r0 + 32) of a transposed A as a strip.
template <class P, typename T>
inline void pack_strip(typename P::Elem* out, const Matrix<T>& a, int64_t r0, int64_t k0, int64_t k1) {
  P::lines(out, out + kPanel * P::kStep, kBlock * P::kStep, flip(a), k0, k1, r0);
}

// One row block of A against all panels; f(column, block[32][32]) takes each pair of panels.
template <class P, typename F>
inline void row_block(const typename P::Elem* a, int64_t lda, const typename P::Elem* panels,
                      int64_t panel_stride, int64_t columns, int64_t k0, int64_t k1, F&& f) {
  alignas(64) float out[kBlock * kBlock];
  for (int64_t c = 0; c < columns; c += kBlock) {
    const typename P::Elem* b = panels + c / kPanel * panel_stride;
    P::block(out, kBlock, a, lda, b, b + panel_stride, k0, k1);
    f(c, out);
  }
}

// The same for 32 rows of a transposed A, all of its k, whose operand is made in `space`: kBlock * depth elements.
template <class P, typename T, typename F>
inline void transposed_block(typename P::Elem* space, const Matrix<T>& a, const typename P::Elem* panels,
                             int64_t panel_stride, int64_t columns, F&& f) {
  int64_t depth = round_up(a.cols, P::kDepth);
#if defined(__AMX_BF16__)
  if constexpr (P::kOnTiles) {
    P::pack_a(space, a, 0);
    row_block<P>(space, depth, panels, panel_stride, columns, 0, depth, f);
    return;
  }
#endif
  if constexpr (!P::kOnTiles) {
    alignas(64) float out[kBlock * kBlock];
    pack_strip<P>(space, a, 0, 0, depth);
    for (int64_t c = 0; c < columns; c += kBlock) {
      const typename P::Elem* b = panels + c / kPanel * panel_stride;
      block_by_panels<P>(StripOfA<P>{space}, kBlock, b, b + panel_stride, depth, out,
                         [&](int64_t r, Vec low, Vec high) {
                           store(out + r * kBlock, low);
                           store(out + r * kBlock + kLanes, high);
                         });
      f(c, out);
    }
  }
}

}  // namespace sjd2::SJD2_ISA::training

#endif
