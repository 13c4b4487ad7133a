// The one matrix product of the trainer: a block of 32 rows of A times packed columns of B.
//
// Two compute formats. F32Product multiplies floats with fused multiply-adds. Bf16Product multiplies bf16 pairs into f32
// sums, on tiles (AMX) or on vectors (AVX512-BF16). A machine with neither uses F32Product on values rounded to bf16, so
// that "bf16 products" means the same rounding of the operands everywhere.
//
// Operands are brought into one of two shapes:
//   A block   32 rows, K contiguous: tile loads and broadcasts read it as it is. Rows of bf16 memory need no copy.
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
// f32
// ---------------------------------------------------------------------------------------------------------------------

template <bool Round>
struct F32ProductT {
  using Elem = float;
  static constexpr int64_t kDepth = 1;  // k is padded to a multiple of this

  static float rounded(float f) { return Round ? bf16_to_float(float_to_bf16(f)) : f; }

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

  // R rows of the block; with `more` the sums go on from what `out` holds.
  template <int R>
  static void rows(float* out, int64_t ldo, const Elem* a, int64_t lda, const Elem* b0, const Elem* b1,
                   int64_t k, bool more) {
    Vec acc[R][2] = {};
    if (more) {
      for (int r = 0; r < R; ++r) {
        acc[r][0] = load(out + r * ldo);
        acc[r][1] = load(out + r * ldo + kPanel);
      }
    }
    for (int64_t i = 0; i < k; ++i) {
      Vec v0 = load(b0 + i * kPanel), v1 = load(b1 + i * kPanel);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        Vec s = splat(a[r * lda + i]);
        acc[r][0] = fma(s, v0, acc[r][0]);
        acc[r][1] = fma(s, v1, acc[r][1]);
      }
    }
    for (int r = 0; r < R; ++r) {
      store(out + r * ldo, acc[r][0]);
      store(out + r * ldo + kPanel, acc[r][1]);
    }
  }

  // out[32][32] = A block times two panels over k in [k0, k1), in stretches of k whose panels stay in the first-level
  // cache while all rows pass over them.
  static void block(float* out, int64_t ldo, const Elem* a, int64_t lda, const Elem* b0, const Elem* b1,
                    int64_t k0, int64_t k1) {
    constexpr int64_t kStretch = 192;
    for (int64_t k = k0; k < k1 || k == k0; k += kStretch) {
      int64_t n = k1 - k < kStretch ? k1 - k : kStretch;
      const Elem *ak = a + k, *p0 = b0 + k * kPanel, *p1 = b1 + k * kPanel;
      bool more = k > k0;
#if defined(__AVX512F__)
      rows<11>(out, ldo, ak, lda, p0, p1, n, more);
      rows<11>(out + 11 * ldo, ldo, ak + 11 * lda, lda, p0, p1, n, more);
      rows<10>(out + 22 * ldo, ldo, ak + 22 * lda, lda, p0, p1, n, more);
#else
      for (int64_t r = 0; r < kBlock; r += 2) rows<2>(out + r * ldo, ldo, ak + r * lda, lda, p0, p1, n, more);
#endif
    }
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
  template <int R>
  static void rows(float* out, int64_t ldo, const Elem* a, int64_t lda, const Elem* b0, const Elem* b1,
                   int64_t k, bool more) {
    __m512 acc[R][2];
    for (int r = 0; r < R; ++r) {
      acc[r][0] = more ? _mm512_loadu_ps(out + r * ldo) : _mm512_setzero_ps();
      acc[r][1] = more ? _mm512_loadu_ps(out + r * ldo + kPanel) : _mm512_setzero_ps();
    }
    for (int64_t i = 0; i < k; i += 2) {
      auto v0 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b0 + i * kPanel));
      auto v1 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b1 + i * kPanel));
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        int32_t pair;
        std::memcpy(&pair, a + r * lda + i, 4);
        auto s = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], s, v0);
        acc[r][1] = _mm512_dpbf16_ps(acc[r][1], s, v1);
      }
    }
    for (int r = 0; r < R; ++r) {
      _mm512_storeu_ps(out + r * ldo, acc[r][0]);
      _mm512_storeu_ps(out + r * ldo + kPanel, acc[r][1]);
    }
  }

  static void block(float* out, int64_t ldo, const Elem* a, int64_t lda, const Elem* b0, const Elem* b1,
                    int64_t k0, int64_t k1) {
    constexpr int64_t kStretch = 384;
    for (int64_t k = k0; k < k1 || k == k0; k += kStretch) {
      int64_t n = k1 - k < kStretch ? k1 - k : kStretch;
      const Elem *ak = a + k, *p0 = b0 + k * kPanel, *p1 = b1 + k * kPanel;
      bool more = k > k0;
      rows<11>(out, ldo, ak, lda, p0, p1, n, more);
      rows<11>(out + 11 * ldo, ldo, ak + 11 * lda, lda, p0, p1, n, more);
      rows<10>(out + 22 * ldo, ldo, ak + 22 * lda, lda, p0, p1, n, more);
    }
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

}  // namespace sjd2::SJD2_ISA::training

#endif
