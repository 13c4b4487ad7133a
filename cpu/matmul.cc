// out = x w^T over packed weights.
//
// Work is cut along outputs only, so each output is one chain of fused multiply-adds (or tile products) along
// k, in ascending order, whatever the number of rows and threads. Where a chain is interrupted between chunks
// of k its f32 sum is stored and loaded again, which changes nothing.
//
// f32 and bf16 without tiles: a block of up to kMaxRows rows times kVectors vectors of outputs lives in
// registers. bf16 weights are widened on the way (a product of two bf16 numbers is exact in f32): measured on
// Sapphire Rapids, where vdpbf16ps reaches half the rate of f32 multiply-adds, that is the faster way even in
// the avx512-bf16 set.
#include <atomic>

#include "layout.h"
#include "threads.h"
#include "tiles.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kMaxRows = 12, kVectors = 2;
#elif defined(__AVX2__)
constexpr int64_t kMaxRows = 6, kVectors = 2;
#else
constexpr int64_t kMaxRows = 2, kVectors = 4;
#endif
constexpr int64_t kGroupColumns = kVectors * kLanes;             // outputs of one register block
constexpr int64_t kGroupPanels = div_up(kGroupColumns, kPanel);  // 2 panels with 512-bit vectors, else 1
// Inputs per pass when several blocks of rows go over the same weights, which stay in the first-level cache
// meanwhile.
constexpr int64_t kChunk = 128;
constexpr int64_t kBytesPerTask = 48 * 1024;  // weights worth handing to another thread
constexpr int64_t kTilePrefetch = 4096;       // ahead in each panel while weights stream from memory as tiles
constexpr int64_t kPrefetchBytes = 2048;      // the same for vectors

struct Product {
  float* out;
  const float* bias;
  LiveRows live;
  int64_t n_out, n_in, accumulate;

  // out of rows [row, row + rows) and outputs [column, ..) from c [rows][stride].
  void write(const float* c, int64_t stride, int64_t row, int64_t rows, int64_t column,
             int64_t columns) const {
    const int64_t width = min64(columns, n_out - column);
    for (int64_t r = 0; r < rows; ++r) {
      float* target = out + live[row + r] * n_out + column;
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t n = width - i;
        vf value = load(c + r * stride + i);
        if (bias != nullptr) value += load_upto(bias + column + i, n);
        if (accumulate != 0) value += load_upto(target + i, n);
        store_upto(target + i, value, n);
      }
    }
  }
};

// One chunk of a panel group and what to fetch meanwhile: lines [begin, end) of each panel from `next` on.
template <typename T>
struct Chunk {
  const T* weights;
  int64_t panel_stride, depth;
  bool first;  // the sums start here
  bool far;    // `next` is wanted after this chunk, in the second-level cache; else soon, in the first
  const T* next;
  int64_t next_begin, next_end;
};

SJD2_INLINE void prefetch_line(const void* p) { __builtin_prefetch(p, 0, 3); }
SJD2_INLINE void prefetch_line_far(const void* p) { __builtin_prefetch(p, 0, 2); }

// The next line of each of the group's panels.
template <typename T>
SJD2_INLINE void prefetch_next(const Chunk<T>& chunk, int64_t& line) {
  if (line >= chunk.next_end) return;
  const T* p = chunk.next + line * (64 / static_cast<int64_t>(sizeof(T)));
  for (int i = 0; i < kGroupPanels; ++i, p += chunk.panel_stride) {
    if (chunk.far) {
      prefetch_line_far(p);
    } else {
      prefetch_line(p);
    }
  }
  ++line;
}

// sums += x[R] times one input's weights.
template <int R>
SJD2_INLINE void add_products(vf (&sums)[R][kVectors], const float* x, const vf (&columns)[kVectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const vf value = splat(x[r]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
  }
}

// c[R][kGroupColumns] += x[depth][R] times one chunk of a panel group.
template <int R, typename T>
void multiply(float* c, const float* x, const Chunk<T>& given) {
  const Chunk<T> chunk = given;
  vf sums[R][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = chunk.first ? vf{} : load(c + (r * kVectors + v) * kLanes);
  }
  int64_t line = chunk.next_begin;
  if constexpr (sizeof(T) == 4) {
    for (int64_t k = 0; k < chunk.depth; ++k) {
      prefetch_next(chunk, line);
      vf columns[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        columns[v] =
            load(chunk.weights + v * kLanes / kPanel * chunk.panel_stride + k * kPanel + v * kLanes % kPanel);
      }
      add_products(sums, x + k * R, columns);
    }
  } else {
    // A lane holds two inputs, k in its low half and k + 1 in its high half.
    for (int64_t k = 0; k < chunk.depth; k += 2) {
      prefetch_next(chunk, line);
      vu pairs[kVectors];
      vf columns[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const T* p =
            chunk.weights + v * kLanes / kPanel * chunk.panel_stride + k * kPanel + v * kLanes % kPanel * 2;
        pairs[v] = (vu)load(reinterpret_cast<const float*>(p));
        columns[v] = (vf)(pairs[v] << 16);
      }
      add_products(sums, x + k * R, columns);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) columns[v] = (vf)(pairs[v] & 0xFFFF0000u);
      add_products(sums, x + (k + 1) * R, columns);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(c + (r * kVectors + v) * kLanes, sums[r][v]);
  }
}

template <typename T>
using Multiply = void (*)(float*, const float*, const Chunk<T>&);

template <typename T>
Multiply<T> choose_rows(int64_t rows) {
  static constexpr Multiply<T> kByRows[] = {
      nullptr,        multiply<1, T>, multiply<2, T>,
#if defined(__AVX2__)
      multiply<3, T>, multiply<4, T>, multiply<5, T>, multiply<6, T>,
#endif
#if defined(__AVX512F__)
      multiply<7, T>, multiply<8, T>, multiply<9, T>, multiply<10, T>, multiply<11, T>, multiply<12, T>,
#endif
  };
  static_assert(sizeof kByRows / sizeof kByRows[0] == kMaxRows + 1);
  return kByRows[rows];
}

template <typename T>
int32_t matmul_vectors(sjd2_stream stream, const Product& product, const T* x, const T* w) {
  const int64_t rows = product.live.count;
  const int64_t depth = padded_depth(product.n_in, sizeof(T) == 2);
  // What the loops run over: bf16 weights come in pairs, their padding beyond that is left alone.
  const int64_t used = sizeof(T) == 2 ? round_up(product.n_in, 2) : product.n_in;
  const Blocks blocks(rows, kMaxRows);
  // Rows block by block as [used][height] f32: one stream of broadcasts instead of a stride of n_in.
  auto* packed = static_cast<float*>(call_scratch(stream, 0, rows * used * 4));
  if (packed == nullptr)
    return fail(SJD2_OUT_OF_MEMORY, "matmul: no memory for %lld rows", static_cast<long long>(rows));
  const auto pack = [&](int64_t block) {
    const int64_t begin = blocks.begin(block), height = blocks.height(block);
    float* target = packed + begin * used;
    for (int64_t r = 0; r < height; ++r) {
      const T* row = x + product.live[begin + r] * product.n_in;
      for (int64_t k = 0; k < product.n_in; ++k) target[k * height + r] = load_as_float(row + k);
      for (int64_t k = product.n_in; k < used; ++k) target[k * height + r] = 0.0f;
    }
  };
  if (rows * used < 16384) {
    for (int64_t block = 0; block < blocks.count; ++block) pack(block);
  } else {
    parallel_for(stream, blocks.count, pack);
  }

  const int64_t panels = div_up(product.n_out, kPanel), panel_stride = kPanel * depth;
  const int64_t groups = div_up(panels, kGroupPanels);
  const int64_t group_bytes = kGroupPanels * panel_stride * static_cast<int64_t>(sizeof(T));
  const int64_t work = group_bytes * max64(1, rows / 8);
  const int64_t tasks = task_count(stream, groups, max64(1, kBytesPerTask / max64(work, 1)));
  const int64_t step = blocks.count == 1 ? used : kChunk;
  const int64_t line_inputs =
      4 / static_cast<int64_t>(sizeof(T));  // a line of a panel: one input in f32, two in bf16
  std::atomic<bool> failed{false};
  parallel_for(stream, tasks, [&](int64_t task) {
    alignas(64) float own[kMaxRows * kGroupColumns];
    float* sums = own;
    if (blocks.count > 1) {
      sums = static_cast<float*>(thread_scratch(stream, thread_index(), rows * kGroupColumns * 4));
      if (sums == nullptr) {
        failed.store(true, std::memory_order_relaxed);
        return;
      }
    }
    const Part part = part_of(groups, task, tasks);
    for (int64_t group = part.begin; group < part.end; ++group) {
      const T* weights = w + group * kGroupPanels * panel_stride;
      Chunk<T> chunk = {};
      // The last group may have no second panel: its columns are computed from the first again and not
      // written.
      chunk.panel_stride = (group + 1) * kGroupPanels <= panels ? panel_stride : 0;
      for (int64_t k = 0; k < used; k += step) {
        chunk.weights = weights + k * kPanel;
        chunk.depth = min64(step, used - k);
        chunk.first = k == 0;
        const int64_t lines = div_up(chunk.depth, line_inputs);
        for (int64_t b = 0; b < blocks.count; ++b) {
          const int64_t begin = blocks.begin(b), height = blocks.height(b);
          if (blocks.count == 1) {
            // One pass: weights stream through, a little ahead of their use.
            chunk.next = chunk.weights + kPrefetchBytes / static_cast<int64_t>(sizeof(T));
            chunk.next_end = lines;
          } else {
            // Several passes over one chunk: each fetches its share of the next chunk.
            chunk.next =
                k + step < used ? chunk.weights + step * kPanel : weights + kGroupPanels * panel_stride;
            const Part share = part_of(lines, b, blocks.count);
            chunk.next_begin = share.begin;
            chunk.next_end = share.end;
            chunk.far = true;
          }
          choose_rows<T>(height)(sums + begin * kGroupColumns, packed + begin * used + k * height, chunk);
        }
      }
      product.write(sums, kGroupColumns, 0, rows, group * kGroupColumns, kGroupColumns);
    }
  });
  if (failed.load())
    return fail(SJD2_OUT_OF_MEMORY, "matmul: no memory for %lld rows", static_cast<long long>(rows));
  return SJD2_OK;
}

#if defined(__AMX_BF16__)

// bf16 with tiles. Up to three blocks of up to 16 rows and two panels, six tiles of sums, advance together;
// with one block four panels do, which hides the latency of the chain of products. Every output is one chain
// of tile products along k. Tile loads from the second-level cache bound it (measured: 27 bytes a cycle),
// hence as square a shape as tiles allow.

// c [blocks * block_rows][stride] = a [depth / 32][blocks][block_rows][32] times panels of weights. `ahead`
// is fetched in passing, `lines` lines per 32 inputs in each panel.
struct TileWork {
  float* c;
  int64_t stride, block_rows;
  const uint16_t* a;
  const uint16_t* w;
  int64_t panel_stride, depth;
  const char* ahead;
  int64_t lines;
};

template <int kBlocks, int kPanels>
void multiply_tiles(const TileWork& work) {
  static_assert((kBlocks == 1 && kPanels <= 4) || (kBlocks <= 3 && kPanels <= 2));
  const int64_t a_block = work.block_rows * kTileDepth, panel = work.panel_stride;
  const uint16_t* a = work.a;
  const char* ahead = work.ahead;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t k = 0; k < work.depth; k += kTileDepth, a += kBlocks * a_block, ahead += work.lines * 64) {
    const uint16_t* b = work.w + k * kPanel;
    for (int64_t line = 0; line < work.lines; ++line) {
      for (int p = 0; p < kPanels; ++p) prefetch_line(ahead + p * panel * 2 + line * 64);
    }
    _tile_loadd(7, b, 64);
    _tile_loadd(6, a, 64);
    _tile_dpbf16ps(0, 6, 7);
    if constexpr (kBlocks == 1) {
      if constexpr (kPanels > 1) {
        _tile_loadd(7, b + panel, 64);
        _tile_dpbf16ps(1, 6, 7);
      }
      if constexpr (kPanels > 2) {
        _tile_loadd(7, b + 2 * panel, 64);
        _tile_dpbf16ps(2, 6, 7);
      }
      if constexpr (kPanels > 3) {
        _tile_loadd(7, b + 3 * panel, 64);
        _tile_dpbf16ps(3, 6, 7);
      }
    } else {
      // Down the blocks with the first panel, up again with the second.
      _tile_loadd(6, a + a_block, 64);
      _tile_dpbf16ps(1, 6, 7);
      if constexpr (kBlocks > 2) {
        _tile_loadd(6, a + 2 * a_block, 64);
        _tile_dpbf16ps(2, 6, 7);
      }
      if constexpr (kPanels > 1) {
        _tile_loadd(7, b + panel, 64);
        if constexpr (kBlocks > 2) {
          _tile_dpbf16ps(5, 6, 7);
          _tile_loadd(6, a + a_block, 64);
        }
        _tile_dpbf16ps(4, 6, 7);
        _tile_loadd(6, a, 64);
        _tile_dpbf16ps(3, 6, 7);
      }
    }
  }
  float* c = work.c;
  const int64_t bytes = work.stride * 4, down = work.block_rows * work.stride;
  _tile_stored(0, c, bytes);
  if constexpr (kBlocks == 1) {
    if constexpr (kPanels > 1) _tile_stored(1, c + kPanel, bytes);
    if constexpr (kPanels > 2) _tile_stored(2, c + 2 * kPanel, bytes);
    if constexpr (kPanels > 3) _tile_stored(3, c + 3 * kPanel, bytes);
  } else {
    _tile_stored(1, c + down, bytes);
    if constexpr (kBlocks > 2) _tile_stored(2, c + 2 * down, bytes);
    if constexpr (kPanels > 1) {
      _tile_stored(3, c + kPanel, bytes);
      _tile_stored(4, c + down + kPanel, bytes);
      if constexpr (kBlocks > 2) _tile_stored(5, c + 2 * down + kPanel, bytes);
    }
  }
}

using MultiplyTiles = void (*)(const TileWork&);

MultiplyTiles choose_tiles(int64_t blocks, int64_t panels) {
  static constexpr MultiplyTiles kOneBlock[] = {multiply_tiles<1, 1>, multiply_tiles<1, 2>,
                                                multiply_tiles<1, 3>, multiply_tiles<1, 4>};
  static constexpr MultiplyTiles kTwoBlocks[] = {multiply_tiles<2, 1>, multiply_tiles<2, 2>};
  static constexpr MultiplyTiles kThreeBlocks[] = {multiply_tiles<3, 1>, multiply_tiles<3, 2>};
  return blocks == 1   ? kOneBlock[panels - 1]
         : blocks == 2 ? kTwoBlocks[panels - 1]
                       : kThreeBlocks[panels - 1];
}

int32_t matmul_tiles(sjd2_stream stream, const Product& product, const uint16_t* x, const uint16_t* w) {
  const int64_t rows = product.live.count;
  const int64_t depth = padded_depth(product.n_in, true), steps = depth / kTileDepth;
  // Blocks of one height; the last may reach beyond the rows, into rows of zeros that are not written.
  const int64_t blocks = div_up(rows, 16), height = div_up(rows, blocks);
  const Blocks supers(blocks, 3);
  // x as [super-block][depth / 32][blocks][height][32]: every tile is one run of memory.
  auto* packed = static_cast<uint16_t*>(call_scratch(stream, 0, blocks * height * depth * 2));
  if (packed == nullptr)
    return fail(SJD2_OUT_OF_MEMORY, "matmul: no memory for %lld rows", static_cast<long long>(rows));
  const auto pack = [&](int64_t super) {
    const int64_t first = supers.begin(super), n = supers.height(super);
    uint16_t* target = packed + first * height * depth;
    for (int64_t row = first * height; row < (first + n) * height; ++row, target += kTileDepth) {
      const uint16_t* source = row < rows ? x + product.live[row] * product.n_in : nullptr;
      for (int64_t s = 0; s < steps; ++s) {
        uint16_t* run = target + s * n * height * kTileDepth;
        const int64_t length = source != nullptr ? min64(kTileDepth, product.n_in - s * kTileDepth) : 0;
        if (length == kTileDepth) {
          std::memcpy(run, source + s * kTileDepth, kTileDepth * 2);
        } else {
          std::memset(run, 0, kTileDepth * 2);
          if (length > 0) std::memcpy(run, source + s * kTileDepth, static_cast<size_t>(length) * 2);
        }
      }
    }
  };
  if (rows * depth < 65536) {
    for (int64_t super = 0; super < supers.count; ++super) pack(super);
  } else {
    parallel_for(stream, supers.count, pack);
  }

  const int64_t panels = div_up(product.n_out, kPanel), panel_stride = kPanel * depth;
  const int64_t together = blocks == 1 ? 4 : 2;
  const int64_t groups = div_up(panels, together);
  const int64_t tasks = task_count(stream, groups, max64(1, kBytesPerTask / (together * panel_stride * 2)));
  const bool plain = product.bias == nullptr && product.accumulate == 0 && product.live.index == nullptr;
  parallel_for(stream, tasks, [&](int64_t task) {
    alignas(64) float sums[6 * 16 * kPanel];
    const Tiles tiles(height);
    const Part part = part_of(groups, task, tasks);
    for (int64_t panel = part.begin * together; panel < min64(part.end * together, panels);
         panel += together) {
      const int64_t count = min64(together, panels - panel);
      const uint16_t* weights = w + panel * panel_stride;
      for (int64_t super = 0; super < supers.count; ++super) {
        const int64_t first = supers.begin(super), n = supers.height(super);
        TileWork work = {};
        work.block_rows = height;
        work.a = packed + first * height * depth;
        work.w = weights;
        work.panel_stride = panel_stride;
        work.depth = depth;
        if (supers.count == 1) {
          work.ahead = reinterpret_cast<const char*>(weights) + kTilePrefetch;
          work.lines = 16;
        } else {
          // Several passes over the same panels: each fetches its share of the next ones.
          work.lines = div_up(16, supers.count);
          work.ahead =
              reinterpret_cast<const char*>(weights + count * panel_stride) + super * steps * work.lines * 64;
        }
        const bool direct =
            plain && (first + n) * height <= rows && (panel + count) * kPanel <= product.n_out;
        work.c = direct ? product.out + first * height * product.n_out + panel * kPanel : sums;
        work.stride = direct ? product.n_out : count * kPanel;
        choose_tiles(n, count)(work);
        if (!direct) {
          product.write(sums, count * kPanel, first * height, min64(n * height, rows - first * height),
                        panel * kPanel, count * kPanel);
        }
      }
    }
  });
  return SJD2_OK;
}

#endif  // __AMX_BF16__

}  // namespace

int32_t matmul_f32(sjd2_stream stream, float* out, const float* x, const float* w, const float* bias,
                   const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out,
                   int64_t n_in, int32_t accumulate) {
  Product product = {out, bias, {}, n_out, n_in, accumulate};
  const int32_t found = find_live_rows(stream, &product.live, sequences, batch, max_window);
  if (found != SJD2_OK || product.live.count == 0) return found;
  return matmul_vectors(stream, product, x, w);
}

int32_t matmul_bf16(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w, const float* bias,
                    const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out,
                    int64_t n_in, int32_t accumulate) {
  Product product = {out, bias, {}, n_out, n_in, accumulate};
  const int32_t found = find_live_rows(stream, &product.live, sequences, batch, max_window);
  if (found != SJD2_OK || product.live.count == 0) return found;
#if defined(__AMX_BF16__)
  return matmul_tiles(stream, product, x, w);
#else
  return matmul_vectors(stream, product, x, w);
#endif
}

}  // namespace sjd2::SJD2_ISA
