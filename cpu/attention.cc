// Attention over the KV cache: online softmax, arXiv:2205.14135 Algorithm 1, over tiles of kTile entries from entry 0.
//
// A task owns query rows of one (sequence, kv head): rows of a group of heads share keys and values. For every tile it
// brings keys and values into the shape that its products want, once for all its rows, and then goes through the rows in
// register blocks: scores, the softmax's next step, weights times values.
//
// A row's bits depend on its own scores alone: tiles start at fixed entries, scores and sums run in one order, and the
// entries that a row must not see add zeros. Entries that nobody has written are never read: they are packed as zeros.
#include <atomic>
#include <cmath>

#include "layout.h"
#include "threads.h"
#include "tiles.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {
namespace {

constexpr int64_t kTile = 64;          // entries
constexpr int64_t kTaskRows = 128;     // query rows of one task at most: their sums stay in the second-level cache
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

// Rows [begin, end) of one (sequence, kv head); row i is window row i / group, head kv_head * group + i % group.
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

// Running softmax of one row.
struct RowState {
  float highest;
  float keep;  // what the tile at hand does to the sums before it
  vf sums;     // of the weights, lane by lane; added up at the end
};

// scores [kTile] of a tile, of which the row sees the first n, to weights in place; the others become 0.
SJD2_INLINE void soften(RowState& state, float* scores, int64_t n, float scale) {
  vf values[kTileVectors];
  vi lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  const vf factor = splat(scale), none = splat(-__builtin_inff());
  vf top = none;
#pragma GCC unroll 16
  for (int i = 0; i < kTileVectors; ++i) {
    const vf score = load(scores + i * kLanes) * factor;
    values[i] = lane + static_cast<int32_t>(i * kLanes) < static_cast<int32_t>(n) ? score : none;
    top = max(values[i], top);
  }
  const float highest = std::fmax(state.highest, max_lanes(top));
  const vf zero_point = splat(highest);
  state.keep = highest == state.highest ? 1.0f : exp(splat(state.highest - highest))[0];
  state.highest = highest;
  vf sum = {};
#pragma GCC unroll 16
  for (int i = 0; i < kTileVectors; ++i) {
    const vf weight = exp(values[i] - zero_point);
    store(scores + i * kLanes, weight);
    sum += weight;
  }
  state.sums = fmadd(state.sums, splat(state.keep), sum);
}

// The row's result. Adding 0 makes one zero of both: -0 would tell how many hidden entries had been added.
template <typename T>
SJD2_INLINE void finish(T* out, const float* sums, const RowState& state, int64_t head_dim) {
  const vf share = splat(1.0f / sum_lanes(state.sums));
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

// ---------------------------------------------------------------------------------------------------------------------
// f32 multiply-adds
// ---------------------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int64_t kMaxRows = 12, kVectors = 2;
#elif defined(__AVX2__)
constexpr int64_t kMaxRows = 6, kVectors = 2;
#else
constexpr int64_t kMaxRows = 2, kVectors = 4;
#endif
constexpr int64_t kColumns = kVectors * kLanes;
static_assert(kTile % kColumns == 0);

// c[R][ldc] = (keep ? keep[r] c : 0) + x w, for kColumns columns of w [depth][ldw].
//   x   [depth][R] where kAcross, else [R][kTile]
template <int R, bool kAcross>
void multiply(float* c, int64_t ldc, const float* x, const float* w, int64_t ldw, int64_t depth, const float* keep) {
  vf sums[R][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = keep != nullptr ? load(c + r * ldc + v * kLanes) * splat(keep[r]) : vf{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    vf columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = load(w + k * ldw + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf value = splat(kAcross ? x[k * R + r] : x[r * kTile + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(c + r * ldc + v * kLanes, sums[r][v]);
  }
}

using Multiply = void (*)(float*, int64_t, const float*, const float*, int64_t, int64_t, const float*);

template <bool kAcross>
Multiply multiply_rows(int64_t rows) {
  static constexpr Multiply kByRows[] = {
      nullptr,
      multiply<1, kAcross>,
      multiply<2, kAcross>,
#if defined(__AVX2__)
      multiply<3, kAcross>,
      multiply<4, kAcross>,
      multiply<5, kAcross>,
      multiply<6, kAcross>,
#endif
#if defined(__AVX512F__)
      multiply<7, kAcross>,
      multiply<8, kAcross>,
      multiply<9, kAcross>,
      multiply<10, kAcross>,
      multiply<11, kAcross>,
      multiply<12, kAcross>,
#endif
  };
  static_assert(sizeof kByRows / sizeof kByRows[0] == kMaxRows + 1);
  return kByRows[rows];
}

// Keys [first, first + n) as [head_dim][kTile], columns beyond n zero.
template <typename T>
void pack_keys(float* target, const Task<T>& task, int64_t first, int64_t n) {
  const int64_t head_dim = task.call.head_dim;
  for (int64_t t = 0; t < round_up(n, kColumns); t += kLanes) {
    for (int64_t i = 0; i < head_dim; i += kLanes) {
      vf rows[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        rows[r] = t + r < n ? load_upto(task.entry(task.call.k, first + t + r) + i, head_dim - i) : vf{};
      }
      transpose(rows);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        if (i + r < head_dim) store(target + (i + r) * kTile + t, rows[r]);
      }
    }
  }
}

// Values [first, first + n) as [n][width], columns beyond head_dim zero. Says whether all are finite.
template <typename T>
bool pack_values(float* target, const Task<T>& task, int64_t first, int64_t n, int64_t width) {
  const int64_t head_dim = task.call.head_dim;
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
  const int64_t n_rows = task.end - task.begin, head_dim = task.call.head_dim;
  const int64_t width = round_up(head_dim, kColumns);
  const Blocks blocks(n_rows, kMaxRows);
  const int64_t floats = n_rows * head_dim + n_rows * width + head_dim * kTile + kTile * width + kMaxRows * kTile;
  const auto states_bytes = n_rows * static_cast<int64_t>(sizeof(RowState));
  auto* states = static_cast<RowState*>(thread_scratch(stream, thread_index(), states_bytes + floats * 4));
  if (states == nullptr) return SJD2_OUT_OF_MEMORY;
  auto* queries = reinterpret_cast<float*>(states + n_rows);
  float* sums = queries + n_rows * head_dim;
  float* keys = sums + n_rows * width;
  float* values = keys + head_dim * kTile;
  float* scores = values + kTile * width;

  for (int64_t i = 0; i < n_rows; ++i) states[i] = {-__builtin_inff(), 0.0f, vf{}};
  std::memset(sums, 0, static_cast<size_t>(n_rows * width) * 4);
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t begin = blocks.begin(block), height = blocks.height(block);
    for (int64_t r = 0; r < height; ++r) {
      const T* query = task.call.q + task.offset(task.begin + begin + r);
      for (int64_t i = 0; i < head_dim; ++i) queries[begin * head_dim + i * height + r] = load_as_float(query + i);
    }
  }

  const int64_t end = task.limit(task.end - 1);
  for (int64_t first = 0; first < end; first += kTile) {
    const int64_t entries = min64(kTile, end - first);
    pack_keys(keys, task, first, entries);
    const bool finite = pack_values(values, task, first, entries, width);
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t begin = blocks.begin(block), height = blocks.height(block);
      const int64_t seen = min64(entries, task.limit(task.begin + begin + height - 1) - first);
      if (seen <= 0) continue;
      for (int64_t t = 0; t < seen; t += kColumns) {
        multiply_rows<true>(height)(scores + t, kTile, queries + begin * head_dim, keys + t, kTile, head_dim, nullptr);
      }
      float keep[kMaxRows];
      for (int64_t r = 0; r < height; ++r) {
        RowState& state = states[begin + r];
        const int64_t n = task.limit(task.begin + begin + r) - first;
        if (n > 0) {
          soften(state, scores + r * kTile, n, task.call.scale);
          keep[r] = state.keep;
        } else {
          std::memset(scores + r * kTile, 0, kTile * 4);
          keep[r] = 1.0f;
        }
      }
      // Zero times infinity is not zero: where a value is not finite, each row takes what it sees and no more.
      const int64_t together = finite ? height : 1;
      for (int64_t r = 0; r < height; r += together) {
        const int64_t depth = finite ? seen : min64(seen, task.limit(task.begin + begin + r) - first);
        for (int64_t i = 0; i < width && depth > 0; i += kColumns) {
          multiply_rows<false>(together)(sums + (begin + r) * width + i, width, scores + r * kTile, values + i, width,
                                         depth, keep + r);
        }
      }
    }
  }
  for (int64_t i = 0; i < n_rows; ++i) {
    finish(task.call.out + task.offset(task.begin + i), sums + i * width, states[i], head_dim);
  }
  return SJD2_OK;
}

template <typename T>
int32_t attend(sjd2_stream stream, const Task<T>& task) {
  return attend_vectors(stream, task);
}

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
  const int64_t wanted = thread_count(stream) > 1 ? div_up(2 * thread_count(stream), live * call.n_kv_heads) : 1;
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
  if (status.load() != SJD2_OK) return fail(status.load(), "attention: no memory for %lld rows", static_cast<long long>(most_rows));
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

int32_t attention_bf16(sjd2_stream stream, uint16_t* out, const uint16_t* q, const uint16_t* k, const uint16_t* v,
                       const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                       int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale) {
  const Call<uint16_t> call = {out,         q,       k,          v,        sequences, max_window,
                               kv_capacity, n_heads, n_kv_heads, head_dim, scale};
  return attention(stream, call, batch);
}

}  // namespace sjd2::SJD2_ISA
