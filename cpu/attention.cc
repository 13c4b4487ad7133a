// Attention over the KV cache: online softmax, arXiv:2205.14135 Algorithm 1, over tiles of kTile entries from
// entry 0.
//
// A task owns query rows of one (sequence, kv head): rows of a group of heads share keys and values. For
// every tile it brings keys and values into the shape that its products want, once for all its rows, and then
// goes through the rows in register blocks: scores, the softmax's next step, weights times values.
//
// A row's bits depend on its own scores alone: tiles start at fixed entries, scores and sums run in one
// order, and the entries that a row must not see add zeros. Entries that nobody has written are never read:
// they are packed as zeros.
#include <atomic>
#include <cmath>

#include "layout.h"
#include "threads.h"
#include "tiles.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {
namespace {

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
#define SJD2_DOTS 1
#endif

constexpr int64_t kTile = 64;  // entries
constexpr int64_t kTaskRows =
    128;  // query rows of one task at most: their sums stay in the second-level cache
constexpr int64_t kTileVectors = kTile / kLanes;

template <typename T>
struct Call {
  T* out;
  const T* q;
  const T* k;
  const T* v;
  const sjd2_sequence* sequences;
  int64_t max_window, kv_capacity, n_heads, n_kv_heads, head_dim;
  float scale;

  int64_t group() const { return n_heads / n_kv_heads; }
};

// Rows [begin, end) of one (sequence, kv head); row i is window row i / group, head kv_head * group + i %
// group.
template <typename T>
struct Task {
  const Call<T>& call;
  int64_t b, kv_head, begin, end;

  int64_t offset(int64_t i) const {
    const int64_t row = b * call.max_window + i / call.group();
    return (row * call.n_heads + kv_head * call.group() + i % call.group()) * call.head_dim;
  }
  // Entries that row i sees.
  int64_t limit(int64_t i) const { return call.sequences[b].kv_len + i / call.group() + 1; }
  const T* entry(const T* cache, int64_t t) const {
    return cache + ((b * call.kv_capacity + t) * call.n_kv_heads + kv_head) * call.head_dim;
  }
};

// The softmax of a task's rows so far.
struct RowStates {
  float* highest;  // score of each row
  vf* sums;        // of each row's weights, lane by lane; added up at the end

  static int64_t bytes(int64_t rows) {
    return rows * static_cast<int64_t>(sizeof(vf)) + round_up(rows + kLanes, 16) * 4;
  }
  RowStates(void* memory, int64_t rows) : sums(static_cast<vf*>(memory)) {
    highest = reinterpret_cast<float*>(sums + rows);
    for (int64_t i = 0; i < rows + kLanes; ++i) highest[i] = -__builtin_inff();
    for (int64_t i = 0; i < rows; ++i) sums[i] = vf{};
  }
};

// The next tile of rows [begin, begin + rows), at most kLanes of them: scores [rows][kTile] become weights,
// in place or, where `halves` is given, as bf16 [rows][kTile] there; keep[r] is what the tile does to the
// row's sums before it. Of the tile row r sees the first seen[r] entries, none if that is not positive. The
// rows go together through the maximum and the first exponential, whose latency a row alone would wait for.
//
// A weight is what it was rounded to wherever it counts: a row of equal values stays what it is.
template <bool kHalves>
inline void soften(const RowStates& states, int64_t begin, int64_t rows, float* scores, uint16_t* halves,
                   float* keep, const int64_t* seen, float scale) {
  static_cast<void>(halves);
  vi lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  // e^x as 2^(x log2 e).
  const vf factor = splat(scale * 1.44269504f), none = splat(-__builtin_inff());
  vf tops[kLanes];
#pragma GCC unroll 16
  for (int r = 0; r < kLanes; ++r) tops[r] = none;
  for (int64_t r = 0; r < rows; ++r) {
    float* row = scores + r * kTile;
    vf top = none;
    if (seen[r] >= kTile) {
#pragma GCC unroll 16
      for (int i = 0; i < kTileVectors; ++i) top = max(load(row + i * kLanes), top);
    } else {
      const auto n = static_cast<int32_t>(max64(seen[r], 0));
#pragma GCC unroll 16
      for (int i = 0; i < kTileVectors; ++i) {
        const vf score = lane + static_cast<int32_t>(i * kLanes) < n ? load(row + i * kLanes) : none;
        store(row + i * kLanes, score);
        top = max(score, top);
      }
    }
    tops[r] = top;
  }
  alignas(64) float highest[kLanes];
  const vf before = load(states.highest + begin);
  vf now;
  if (rows <= 2) {
    float top[kLanes];
    store(top, none);
    for (int64_t r = 0; r < rows; ++r) top[r] = max_lanes(tops[r]);
    now = max(load(top), before);
  } else {
    transpose(tops);
    now = before;
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; ++r) now = max(tops[r], now);
  }
  alignas(64) float kept[kLanes], offset[kLanes];
  store(highest, now);
  store(offset, now * factor);
  store(kept, exp2_below_zero((before - now) * factor));
  for (int64_t r = 0; r < rows; ++r) {
    float* row = scores + r * kTile;
    const vf zero_point = splat(-offset[r]);
    vf weights[kTileVectors];
#pragma GCC unroll 16
    for (int i = 0; i < kTileVectors; ++i) {
      weights[i] = exp2_below_zero(fmadd(load(row + i * kLanes), factor, zero_point));
    }
    vf sum = {};
    if constexpr (kHalves) {
#if defined(SJD2_DOTS)
      const auto ones = (__m512bh)_mm512_set1_epi32(0x3F803F80);
#pragma GCC unroll 16
      for (int i = 0; i < kTileVectors; i += 2) {
        const __m512bh pair = _mm512_cvtne2ps_pbh((__m512)weights[i + 1], (__m512)weights[i]);
        _mm512_store_si512(halves + r * kTile + i * kLanes, (__m512i)pair);
        sum = (vf)_mm512_dpbf16_ps((__m512)sum, pair, ones);
      }
#endif
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kTileVectors; ++i) {
        store(row + i * kLanes, weights[i]);
        sum += weights[i];
      }
    }
    states.sums[begin + r] = fmadd(states.sums[begin + r], splat(kept[r]), sum);
    states.highest[begin + r] = highest[r];
    keep[r] = kept[r];
  }
}

// The row's result. Adding 0 makes one zero of both: -0 would tell how many hidden entries had been added.
template <typename T>
SJD2_INLINE void finish(T* out, const float* sums, vf weights, int64_t head_dim) {
  const vf share = splat(1.0f / sum_lanes(weights));
  for (int64_t i = 0; i < head_dim; i += kLanes) {
    store_upto(out + i, load(sums + i) * share + 0.0f, head_dim - i);
  }
}

SJD2_INLINE bool any_lane(vi mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
  int32_t any = 0;
  for (int i = 0; i < kLanes; ++i) any |= mask[i];
  return any != 0;
#endif
}

SJD2_INLINE vi not_finite(vf v) { return ((vi)v & 0x7F800000) == 0x7F800000; }

#if defined(__AVX512BF16__)

// Values [first, first + n) as [n / 2][width][2], or as tiles [n / 32][width / 16][16 pairs][16 dimensions][2],
// n rounded up to what that takes and filled with zeros; width a multiple of 16. Says whether all are finite.
template <bool kTiles>
bool pack_value_halves(uint16_t* target, const Task<uint16_t>& task, int64_t first, int64_t n,
                       int64_t width) {
  const int64_t head_dim = task.call.head_dim, stride = task.call.n_kv_heads * head_dim;
  const uint16_t* entry = task.entry(task.call.v, first);
  alignas(64) uint16_t order[2][32];
  for (uint16_t i = 0; i < 16; ++i) {
    for (uint16_t half = 0; half < 2; ++half) {
      order[half][2 * i] = static_cast<uint16_t>(16 * half + i);
      order[half][2 * i + 1] = static_cast<uint16_t>(32 + 16 * half + i);
    }
  }
  const __m512i low = _mm512_load_si512(order[0]), high = _mm512_load_si512(order[1]);
  const __m512i exponent = _mm512_set1_epi16(0x7F80), zero = _mm512_setzero_si512();
  __m512i highest = zero;
  for (int64_t t = 0; t < round_up(n, kTiles ? 32 : 2); t += 2, entry += 2 * stride) {
    uint16_t* pairs = kTiles ? target + (t / 32 * (width / 16) * 16 + t % 32 / 2) * 32 : target + t * width;
    for (int64_t i = 0; i < width; i += 32) {
      const int64_t left = head_dim - i;
      const __mmask32 mask = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
      const __m512i a = t < n ? _mm512_maskz_loadu_epi16(mask, entry + i) : zero;
      const __m512i b = t + 1 < n ? _mm512_maskz_loadu_epi16(mask, entry + stride + i) : zero;
      highest = _mm512_max_epu16(highest, _mm512_and_si512(a, exponent));
      highest = _mm512_max_epu16(highest, _mm512_and_si512(b, exponent));
      uint16_t* place = pairs + i / 16 * (kTiles ? 512 : 32);
      _mm512_store_si512(place, _mm512_permutex2var_epi16(a, low, b));
      if (i + 16 < width)
        _mm512_store_si512(place + (kTiles ? 512 : 32), _mm512_permutex2var_epi16(a, high, b));
    }
  }
  return _mm512_cmpeq_epi16_mask(highest, exponent) == 0;
}

#endif

// ---------------------------------------------------------------------------------------------------------------------
// Vectors: products of words, which are f32 numbers, or pairs of bf16 numbers along the sum where the set has
// an instruction for them. Other sets widen bf16 as they pack it.
// ---------------------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int kMaxRows = 14, kVectors = 2, kMaxWideRows = 6;
#elif defined(__AVX2__)
constexpr int kMaxRows = 6, kVectors = 2, kMaxWideRows = 2;
#else
constexpr int kMaxRows = 2, kVectors = 4, kMaxWideRows = 0;
#endif
constexpr int64_t kColumns = kVectors * kLanes;
static_assert(kTile % (2 * kColumns) == 0);

#if defined(SJD2_DOTS)
template <typename T>
constexpr bool kPairs = sizeof(T) == 2;
#else
template <typename T>
constexpr bool kPairs = false;
#endif

template <bool kOfPairs>
SJD2_INLINE vf add_product(vf sum, vf value, vf column) {
#if defined(SJD2_DOTS)
  if constexpr (kOfPairs) return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)value, (__m512bh)column);
#endif
  return fmadd(value, column, sum);
}

// The keys and values of the next tile, fetched a line of each at a time while this one's products run. Their
// entries lie too far apart for the hardware to foresee, and fetched all at once they fill the queue of misses.
struct Ahead {
  int64_t left = 0;  // lines, of keys and of values each
  int64_t per_step = 0;
  uintptr_t key = 0, value = 0;  // of the next lines
  int64_t line = 0, lines = 0;   // of an entry
  uintptr_t jump = 0;            // from the end of an entry's last line to the next one's first

  // For entries [first, first + n) and so many steps of products.
  template <typename T>
  static Ahead of(const Task<T>& task, int64_t first, int64_t n, int64_t steps) {
    Ahead ahead;
    if (n <= 0) return ahead;
    const int64_t size = static_cast<int64_t>(sizeof(T)), bytes = task.call.head_dim * size;
    ahead.lines = div_up(bytes, 64);
    ahead.left = n * ahead.lines;
    ahead.per_step = div_up(ahead.left, max64(steps, 1));
    ahead.key = reinterpret_cast<uintptr_t>(task.entry(task.call.k, first));
    ahead.value = reinterpret_cast<uintptr_t>(task.entry(task.call.v, first));
    ahead.jump = static_cast<uintptr_t>(task.call.n_kv_heads * bytes - ahead.lines * 64);
    return ahead;
  }

  inline __attribute__((always_inline)) void step() {
    if (left <= 0) return;
    for (int64_t i = 0; i < per_step; ++i) {
      __builtin_prefetch(reinterpret_cast<const void*>(key), 0, 2);
      __builtin_prefetch(reinterpret_cast<const void*>(value), 0, 2);
      --left;
      const uintptr_t skip = ++line == lines ? jump : 0;
      if (line == lines) line = 0;
      key += 64 + skip;
      value += 64 + skip;
    }
  }
};

// c[R][ldc] = (keep ? keep[r] c : 0) + x w, for V vectors of columns of w [depth][ldw]; words throughout.
//   x   [depth][R] where kAcross, else [R][kTile words, or their half as pairs]
template <bool kOfPairs, int R, int V, bool kAcross>
void multiply(float* c, int64_t ldc, const float* x, const float* w, int64_t ldw, int64_t depth,
              const float* keep, Ahead& next_tile) {
  Ahead ahead = next_tile;
  constexpr int64_t kRow = kOfPairs ? kTile / 2 : kTile;
  vf sums[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      sums[r][v] = keep != nullptr ? load(c + r * ldc + v * kLanes) * splat(keep[r]) : vf{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    ahead.step();
    vf columns[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) columns[v] = load(w + k * ldw + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf value = splat_word(kAcross ? x + k * R + r : x + r * kRow + k);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[r][v] = add_product<kOfPairs>(sums[r][v], value, columns[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(c + r * ldc + v * kLanes, sums[r][v]);
  }
  next_tile = ahead;
}

using Multiply = void (*)(float*, int64_t, const float*, const float*, int64_t, int64_t, const float*,
                          Ahead&);

template <bool kOfPairs, int R, bool kAcross>
constexpr Multiply wide() {
  if constexpr (R <= kMaxWideRows) {
    return multiply<kOfPairs, R, 2 * kVectors, kAcross>;
  } else {
    return nullptr;
  }
}

// c as `multiply` has it, for all columns of w, `columns` of them.
template <bool kOfPairs, bool kAcross>
void multiply_all(int64_t rows, float* c, int64_t ldc, const float* x, const float* w, int64_t ldw,
                  int64_t depth, const float* keep, int64_t columns, Ahead& ahead) {
#define SJD2_ROWS(R) {multiply<kOfPairs, R, kVectors, kAcross>, wide<kOfPairs, R, kAcross>()}
  static constexpr Multiply kByRows[][2] = {
      {},           SJD2_ROWS(1),  SJD2_ROWS(2),
#if defined(__AVX2__)
      SJD2_ROWS(3), SJD2_ROWS(4),  SJD2_ROWS(5),  SJD2_ROWS(6),
#endif
#if defined(__AVX512F__)
      SJD2_ROWS(7), SJD2_ROWS(8),  SJD2_ROWS(9),  SJD2_ROWS(10), SJD2_ROWS(11),
      SJD2_ROWS(12), SJD2_ROWS(13), SJD2_ROWS(14),
#endif
  };
#undef SJD2_ROWS
  static_assert(sizeof kByRows / sizeof kByRows[0] == kMaxRows + 1);
  int64_t i = 0;
  if (rows <= kMaxWideRows) {
    // Few rows are few chains: twice the columns make up for it.
    for (; i + 2 * kColumns <= columns; i += 2 * kColumns)
      kByRows[rows][1](c + i, ldc, x, w + i, ldw, depth, keep, ahead);
  }
  for (; i < columns; i += kColumns) kByRows[rows][0](c + i, ldc, x, w + i, ldw, depth, keep, ahead);
}

// The first n words of what p holds: pairs as they lie, or numbers widened.
template <typename T>
SJD2_INLINE vf load_words(const T* p, int64_t n) {
  if constexpr (kPairs<T>) {
    return load_upto(reinterpret_cast<const float*>(p), n);
  } else {
    return load_upto(p, n);
  }
}

// Keys [first, first + n) as [words][kTile], columns beyond n zero.
template <typename T>
void pack_keys(float* target, const Task<T>& task, int64_t first, int64_t n) {
  constexpr int64_t kWord = kPairs<T> ? 2 : 1;
  const int64_t words = task.call.head_dim / kWord;
  for (int64_t t = 0; t < round_up(n, kColumns); t += kLanes) {
    for (int64_t i = 0; i < words; i += kLanes) {
      vf rows[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        rows[r] =
            t + r < n ? load_words(task.entry(task.call.k, first + t + r) + i * kWord, words - i) : vf{};
      }
      transpose(rows);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        if (i + r < words) store(target + (i + r) * kTile + t, rows[r]);
      }
    }
  }
}

// Values [first, first + n) as [n][width], columns beyond head_dim zero; pairs of entries as
// [n / 2][width][2], an odd last one with zeros. Says whether all are finite.
template <typename T>
bool pack_values(float* target, const Task<T>& task, int64_t first, int64_t n, int64_t width) {
  const int64_t head_dim = task.call.head_dim;
#if defined(SJD2_DOTS)
  if constexpr (kPairs<T>) {
    return pack_value_halves<false>(reinterpret_cast<uint16_t*>(target), task, first, n, width);
  }
#endif
  vi bad = {};
  for (int64_t t = 0; t < n; ++t) {
    const T* source = task.entry(task.call.v, first + t);
    for (int64_t i = 0; i < width; i += kLanes) {
      const vf value = i < head_dim ? load_upto(source + i, head_dim - i) : vf{};
      bad |= not_finite(value);
      store(target + t * width + i, value);
    }
  }
  return !any_lane(bad);
}

template <typename T>
int32_t attend_vectors(sjd2_stream stream, const Task<T>& task) {
  constexpr bool kOfPairs = kPairs<T>;
  constexpr int64_t kWord = kOfPairs ? 2 : 1;
  const int64_t n_rows = task.end - task.begin, words = task.call.head_dim / kWord;
  const int64_t width = round_up(task.call.head_dim, kColumns);
  const Blocks blocks(n_rows, kMaxRows);
  const int64_t query_floats = round_up(n_rows * words, 16);
  const int64_t floats =
      query_floats + n_rows * width + words * kTile + kTile / kWord * width + 2 * kMaxRows * kTile;
  const int64_t state_bytes = round_up(RowStates::bytes(n_rows), 64);
  auto* memory = static_cast<char*>(thread_scratch(stream, thread_index(), state_bytes + floats * 4));
  if (memory == nullptr) return SJD2_OUT_OF_MEMORY;
  const RowStates states(memory, n_rows);
  auto* queries = reinterpret_cast<float*>(memory + state_bytes);
  float* sums = queries + query_floats;
  float* keys = sums + n_rows * width;
  float* values = keys + words * kTile;
  float* scores = values + kTile / kWord * width;
  auto* halves = reinterpret_cast<uint16_t*>(scores + kMaxRows * kTile);
  const float* weights = kOfPairs ? reinterpret_cast<const float*>(halves) : scores;

  std::memset(sums, 0, static_cast<size_t>(n_rows * width) * 4);
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t begin = blocks.begin(block), height = blocks.height(block);
    for (int64_t r = 0; r < height; ++r) {
      const T* query = task.call.q + task.offset(task.begin + begin + r);
      float* target = queries + begin * words + r;
      for (int64_t i = 0; i < words; ++i) {
        if constexpr (kOfPairs) {
          std::memcpy(target + i * height, query + 2 * i, 4);
        } else {
          target[i * height] = load_as_float(query + i);
        }
      }
    }
  }

  // Steps of the products of a whole tile.
  const int64_t columns = blocks.height(0) <= kMaxWideRows ? 2 * kColumns : kColumns;
  const int64_t steps =
      blocks.count * (kTile / columns * words + div_up(width, columns) * (kTile / kWord));
  const int64_t end = task.limit(task.end - 1);
  for (int64_t first = 0; first < end; first += kTile) {
    const int64_t entries = min64(kTile, end - first), next = first + kTile;
    Ahead ahead = Ahead::of(task, next, min64(kTile, end - next), steps);
    pack_keys(keys, task, first, entries);
    const bool finite = pack_values(values, task, first, entries, width);
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t begin = blocks.begin(block), height = blocks.height(block);
      const int64_t seen = min64(entries, task.limit(task.begin + begin + height - 1) - first);
      if (seen <= 0) continue;
      multiply_all<kOfPairs, true>(height, scores, kTile, queries + begin * words, keys, kTile, words,
                                   nullptr, round_up(seen, kColumns), ahead);
      float keep[kMaxRows];
      int64_t sees[kMaxRows];
      for (int64_t r = 0; r < height; ++r) sees[r] = task.limit(task.begin + begin + r) - first;
      soften<kOfPairs>(states, begin, height, scores, halves, keep, sees, task.call.scale);
      float* block_sums = sums + begin * width;
      if (finite) {
        multiply_all<kOfPairs, false>(height, block_sums, width, weights, values, width, div_up(seen, kWord),
                                      keep, width, ahead);
        continue;
      }
      // Zero times infinity is not zero: where a value is not finite, each row takes what it sees and no
      // more.
      for (int64_t r = 0; r < height; ++r) {
        const int64_t n = min64(seen, sees[r]);
        if (n <= 0) continue;
        if (kWord != 1) pack_values(values, task, first, n, width);
        multiply_all<kOfPairs, false>(1, block_sums + r * width, width, weights + r * kTile / kWord, values,
                                      width, div_up(n, kWord), keep + r, width, ahead);
      }
      if (kWord != 1) pack_values(values, task, first, entries, width);
    }
  }
  for (int64_t i = 0; i < n_rows; ++i) {
    finish(task.call.out + task.offset(task.begin + i), sums + i * width, states.sums[i],
           task.call.head_dim);
  }
  return SJD2_OK;
}

template <typename T>
int32_t attend(sjd2_stream stream, const Task<T>& task) {
  return attend_vectors(stream, task);
}

#if defined(__AMX_BF16__)

// ---------------------------------------------------------------------------------------------------------------------
// Tiles: bf16 products. Blocks of up to 16 rows; scores = queries (left) by keys (right), result = weights by
// values. Weights go in as the sum of two bf16 numbers, 16 bits of them together, so that rounding them is
// not felt in the result.
// ---------------------------------------------------------------------------------------------------------------------

constexpr int64_t kTileWords = 512;  // 16-bit words of a full tile
constexpr int64_t kEntryTiles = kTile / 16;

// Keys [first, first + n) as [depth / 32][kEntryTiles][16 pairs of dimensions][16 entries][2].
void pack_key_tiles(uint16_t* target, const Task<uint16_t>& task, int64_t first, int64_t n) {
  const int64_t head_dim = task.call.head_dim, stride = task.call.n_kv_heads * head_dim;
  const uint16_t* entry = task.entry(task.call.k, first);
  for (int64_t t = 0; t < n; t += 16, entry += 16 * stride) {
    for (int64_t i = 0; i < head_dim; i += 32) {
      const auto pairs = static_cast<uint32_t>(min64(16, (head_dim - i) / 2));
      const auto mask = static_cast<__mmask16>((1u << pairs) - 1u);
      vf rows[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        rows[r] = t + r < n ? (vf)_mm512_maskz_loadu_epi32(mask, entry + r * stride + i) : vf{};
      }
      transpose(rows);
      uint16_t* tile = target + (i / 32 * kEntryTiles + t / 16) * kTileWords;
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) _mm512_store_si512(tile + r * 32, (__m512i)rows[r]);
    }
  }
}

// scores [height][kTile] = queries [depth / 32][height][32] by packed keys.
void score_tiles(float* scores, const uint16_t* queries, const uint16_t* keys, int64_t height,
                 int64_t depth) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < depth; i += 32, queries += height * 32, keys += kEntryTiles * kTileWords) {
    _tile_loadd(6, queries, 64);
    _tile_loadd(7, keys, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, keys + kTileWords, 64);
    _tile_dpbf16ps(1, 6, 7);
    _tile_loadd(7, keys + 2 * kTileWords, 64);
    _tile_dpbf16ps(2, 6, 7);
    _tile_loadd(7, keys + 3 * kTileWords, 64);
    _tile_dpbf16ps(3, 6, 7);
  }
  _tile_stored(0, scores, kTile * 4);
  _tile_stored(1, scores + 16, kTile * 4);
  _tile_stored(2, scores + 32, kTile * 4);
  _tile_stored(3, scores + 48, kTile * 4);
}

// sums [height][width] += weights [2][2][height][32] (halves of the tile, then high and low part) by packed
// values, for kCount tiles of 16 columns.
template <int kCount>
void value_tiles(float* sums, int64_t width, const uint16_t* weights, const uint16_t* values, int64_t height,
                 int64_t halves) {
  const int64_t bytes = width * 4, half = width / 16 * kTileWords;
  _tile_loadd(0, sums, bytes);
  if constexpr (kCount > 1) _tile_loadd(1, sums + 16, bytes);
  if constexpr (kCount > 2) _tile_loadd(2, sums + 32, bytes);
  if constexpr (kCount > 3) _tile_loadd(3, sums + 48, bytes);
  for (int64_t h = 0; h < halves; ++h, weights += 2 * height * 32, values += half) {
    _tile_loadd(5, weights, 64);
    _tile_loadd(6, weights + height * 32, 64);
    _tile_loadd(7, values, 64);
    _tile_dpbf16ps(0, 5, 7);
    _tile_dpbf16ps(0, 6, 7);
    if constexpr (kCount > 1) {
      _tile_loadd(7, values + kTileWords, 64);
      _tile_dpbf16ps(1, 5, 7);
      _tile_dpbf16ps(1, 6, 7);
    }
    if constexpr (kCount > 2) {
      _tile_loadd(7, values + 2 * kTileWords, 64);
      _tile_dpbf16ps(2, 5, 7);
      _tile_dpbf16ps(2, 6, 7);
    }
    if constexpr (kCount > 3) {
      _tile_loadd(7, values + 3 * kTileWords, 64);
      _tile_dpbf16ps(3, 5, 7);
      _tile_dpbf16ps(3, 6, 7);
    }
  }
  _tile_stored(0, sums, bytes);
  if constexpr (kCount > 1) _tile_stored(1, sums + 16, bytes);
  if constexpr (kCount > 2) _tile_stored(2, sums + 32, bytes);
  if constexpr (kCount > 3) _tile_stored(3, sums + 48, bytes);
}

void add_values(float* sums, int64_t width, const uint16_t* weights, const uint16_t* values, int64_t height,
                int64_t entries) {
  const int64_t halves = div_up(entries, 32);
  publish(weights);
  publish(values);
  publish(sums);
  for (int64_t i = 0; i < width; i += 64) {
    const uint16_t* tiles = values + i / 16 * kTileWords;
    switch (min64(4, (width - i) / 16)) {
      case 1:
        value_tiles<1>(sums + i, width, weights, tiles, height, halves);
        break;
      case 2:
        value_tiles<2>(sums + i, width, weights, tiles, height, halves);
        break;
      case 3:
        value_tiles<3>(sums + i, width, weights, tiles, height, halves);
        break;
      default:
        value_tiles<4>(sums + i, width, weights, tiles, height, halves);
    }
  }
}

// One row of weights as two bf16 numbers each.
SJD2_INLINE void split_weights(uint16_t* target, int64_t height, int64_t row, const float* weights) {
#pragma GCC unroll 4
  for (int i = 0; i < kTile; i += 16) {
    const vf weight = load(weights + i);
    const vh high = (vh)_mm512_maskz_cvtneps_pbh(0xFFFF, (__m512)weight);
    uint16_t* place = target + (i / 32 * 2 * height + row) * 32 + i % 32;
    *reinterpret_cast<vh_unaligned*>(place) = high;
    const vh low = (vh)_mm512_maskz_cvtneps_pbh(0xFFFF, (__m512)(weight - widen(high)));
    *reinterpret_cast<vh_unaligned*>(place + height * 32) = low;
  }
}

int32_t attend(sjd2_stream stream, const Task<uint16_t>& task) {
  const int64_t n_rows = task.end - task.begin, head_dim = task.call.head_dim;
  const int64_t depth = round_up(head_dim, 32), width = round_up(head_dim, 16);
  const int64_t blocks = div_up(n_rows, 16), height = div_up(n_rows, blocks), padded = blocks * height;
  const int64_t bytes = RowStates::bytes(padded) + padded * width * 4 + height * kTile * 4 +
                        padded * depth * 2 + depth * kTile * 2 + width * kTile * 2 + height * kTile * 4 +
                        height * width * 4 + 64 * 8;
  auto* next = static_cast<char*>(thread_scratch(stream, thread_index(), bytes));
  if (next == nullptr) return SJD2_OUT_OF_MEMORY;
  const auto take = [&](int64_t size) {
    char* here = next;
    next += round_up(size, 64);
    return here;
  };
  const RowStates states(take(RowStates::bytes(padded)), padded);
  auto* sums = reinterpret_cast<float*>(take(padded * width * 4));
  auto* scores = reinterpret_cast<float*>(take(height * kTile * 4));
  auto* queries = reinterpret_cast<uint16_t*>(take(padded * depth * 2));
  auto* keys = reinterpret_cast<uint16_t*>(take(depth * kTile * 2));
  auto* values = reinterpret_cast<uint16_t*>(take(width * kTile * 2));
  auto* weights = reinterpret_cast<uint16_t*>(take(height * kTile * 4));
  auto* trial = reinterpret_cast<float*>(take(height * width * 4));

  std::memset(sums, 0, static_cast<size_t>(padded * width) * 4);
  std::memset(queries, 0, static_cast<size_t>(padded * depth) * 2);
  std::memset(weights, 0, static_cast<size_t>(height * kTile) * 4);
  std::memset(keys, 0, static_cast<size_t>(depth * kTile) * 2);
  for (int64_t i = 0; i < n_rows; ++i) {
    const uint16_t* query = task.call.q + task.offset(task.begin + i);
    uint16_t* target = queries + i / height * height * depth + i % height * 32;
    for (int64_t d = 0; d < head_dim; d += 32) {
      std::memcpy(target + d * height, query + d, static_cast<size_t>(min64(32, head_dim - d)) * 2);
    }
  }

  const Tiles configuration(height);
  const int64_t end = task.limit(task.end - 1);
  for (int64_t first = 0; first < end; first += kTile) {
    const int64_t entries = min64(kTile, end - first);
    pack_key_tiles(keys, task, first, entries);
    const bool finite = pack_value_halves<true>(values, task, first, entries, width);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = block * height, rows = min64(height, n_rows - begin);
      if (task.limit(task.begin + begin + rows - 1) <= first) continue;
      publish(queries);
      publish(keys);
      score_tiles(scores, queries + begin * depth, keys, height, depth);
      float keep[16];
      int64_t sees[16];
      for (int64_t r = 0; r < rows; ++r) sees[r] = task.limit(task.begin + begin + r) - first;
      soften<false>(states, begin, rows, scores, nullptr, keep, sees, task.call.scale);
      for (int64_t r = 0; r < rows; ++r) {
        split_weights(weights, height, r, scores + r * kTile);
        if (keep[r] == 1.0f) continue;
        float* row = sums + (begin + r) * width;
        for (int64_t i = 0; i < width; i += kLanes) store(row + i, load(row + i) * keep[r]);
      }
      float* block_sums = sums + begin * width;
      if (finite) {
        add_values(block_sums, width, weights, values, height, entries);
        continue;
      }
      // Zero times infinity is not zero: each row takes what it sees and no more, and of that product only
      // its own row.
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = min64(entries, sees[r]);
        if (n <= 0) continue;
        pack_value_halves<true>(values, task, first, n, width);
        std::memcpy(trial, block_sums, static_cast<size_t>(height * width) * 4);
        add_values(trial, width, weights, values, height, n);
        std::memcpy(block_sums + r * width, trial + r * width, static_cast<size_t>(width) * 4);
      }
    }
  }
  for (int64_t i = 0; i < n_rows; ++i) {
    finish(task.call.out + task.offset(task.begin + i), sums + i * width, states.sums[i], head_dim);
  }
  return SJD2_OK;
}

#endif  // __AMX_BF16__

// ---------------------------------------------------------------------------------------------------------------------

template <typename T>
int32_t attention(sjd2_stream stream, const Call<T>& call, int64_t batch) {
  int64_t most_rows = 0, live = 0;
  for (int64_t b = 0; b < batch; ++b) {
    most_rows = max64(most_rows, call.sequences[b].rows * call.group());
    live += call.sequences[b].rows > 0 ? 1 : 0;
  }
  if (live == 0) return SJD2_OK;
  // Few heads and many threads: rows are shared out too, though each part packs the keys and values again.
  const int64_t wanted =
      thread_count(stream) > 1 ? div_up(2 * thread_count(stream), live * call.n_kv_heads) : 1;
  const int64_t parts = max64(div_up(most_rows, kTaskRows), min64(wanted, div_up(most_rows, 16)));
  std::atomic<int32_t> status{SJD2_OK};
  parallel_for(stream, batch * call.n_kv_heads * parts, [&](int64_t i) {
    const int64_t b = i / (call.n_kv_heads * parts);
    const Part part = part_of(call.sequences[b].rows * call.group(), i % parts, parts);
    if (part.begin == part.end) return;
    const Task<T> task = {call, b, i / parts % call.n_kv_heads, part.begin, part.end};
    const int32_t result = attend(stream, task);
    if (result != SJD2_OK) status.store(result, std::memory_order_relaxed);
  });
  if (status.load() != SJD2_OK)
    return fail(status.load(), "attention: no memory for %lld rows", static_cast<long long>(most_rows));
  return SJD2_OK;
}

}  // namespace

int32_t attention_f32(sjd2_stream stream, float* out, const float* q, const float* k, const float* v,
                      const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                      int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale) {
  const Call<float> call = {out,         q,       k,          v,        sequences, max_window,
                            kv_capacity, n_heads, n_kv_heads, head_dim, scale};
  return attention(stream, call, batch);
}

int32_t attention_bf16(sjd2_stream stream, uint16_t* out, const uint16_t* q, const uint16_t* k,
                       const uint16_t* v, const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                       int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                       float scale) {
  const Call<uint16_t> call = {out,         q,       k,          v,        sequences, max_window,
                               kv_capacity, n_heads, n_kv_heads, head_dim, scale};
  return attention(stream, call, batch);
}

}  // namespace sjd2::SJD2_ISA
