// out = x w^T over packed weights.
//
// Work is cut along outputs only, so each output is one chain of fused multiply-adds (or tile products) along k, in
// ascending order, whatever the number of rows and threads. Where a chain is interrupted between chunks of k its f32 sum
// is stored and loaded again, which changes nothing.
//
// f32 and bf16 without tiles: a block of up to kMaxRows rows times kVectors vectors of outputs lives in registers. bf16
// weights are widened on the way (a product of two bf16 numbers is exact in f32): measured on Sapphire Rapids, where
// vdpbf16ps reaches half the rate of f32 multiply-adds, that is the faster way even in the avx512-bf16 set.
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
constexpr int64_t kGroupColumns = kVectors * kLanes;           // outputs of one register block
constexpr int64_t kGroupPanels = kGroupColumns / kPanel;       // 2 panels with 512-bit vectors, else 1
constexpr int64_t kChunk = 256;                                // inputs whose weights stay in the first-level cache
constexpr int64_t kBytesPerTask = 48 * 1024;                   // weights worth handing to another thread
constexpr int64_t kTilePrefetch = 4096;                        // the same, where whole tiles are loaded
constexpr int64_t kPrefetchBytes = 2048;                       // ahead in each panel while weights stream from memory

struct Product {
  float* out;
  const float* bias;
  LiveRows live;
  int64_t n_out, n_in, accumulate;

  // out of rows [row, row + rows) and outputs [column, ..) from c [rows][stride].
  void write(const float* c, int64_t stride, int64_t row, int64_t rows, int64_t column, int64_t columns) const {
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

// Rows in blocks of nearly equal height, so that no block is a sliver.
struct Blocks {
  int64_t rows, count;
  Blocks(int64_t n, int64_t highest) : rows(n), count(div_up(n, highest)) {}
  int64_t begin(int64_t i) const { return rows * i / count; }
  int64_t height(int64_t i) const { return begin(i + 1) - begin(i); }
};

SJD2_INLINE void prefetch_line(const void* p) { __builtin_prefetch(p, 0, 3); }

// c[R][kGroupColumns] += x[depth][R] times one chunk of a panel group. `next` is what the group needs after this chunk;
// its lines [next_begin, next_end) of each panel are fetched in passing.
template <int R>
void multiply(float* c, const float* x, const float* w, int64_t panel_stride, int64_t depth, bool first,
              const float* next, int64_t next_begin, int64_t next_end) {
  vf sums[R][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = first ? vf{} : load(c + r * kGroupColumns + v * kLanes);
  }
  int64_t line = next_begin;
  for (int64_t k = 0; k < depth; ++k) {
    if (line < next_end) {
      for (int64_t p = 0; p < kGroupPanels; ++p) prefetch_line(next + p * panel_stride + line * kPanel);
      ++line;
    }
    vf columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = load(w + v * kLanes / kPanel * panel_stride + k * kPanel + v * kLanes % kPanel);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf value = splat(x[k * R + r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(c + r * kGroupColumns + v * kLanes, sums[r][v]);
  }
}

// The same over bf16 weights: a lane holds two inputs, k in its low half and k + 1 in its high half.
template <int R>
void multiply(float* c, const float* x, const uint16_t* w, int64_t panel_stride, int64_t depth, bool first,
              const uint16_t* next, int64_t next_begin, int64_t next_end) {
  vf sums[R][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = first ? vf{} : load(c + r * kGroupColumns + v * kLanes);
  }
  int64_t line = next_begin;
  for (int64_t k = 0; k < depth; k += 2) {
    if (line < next_end) {
      for (int64_t p = 0; p < kGroupPanels; ++p) prefetch_line(next + p * panel_stride + line * 2 * kPanel);
      ++line;
    }
    vu pairs[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      pairs[v] = (vu)load(reinterpret_cast<const float*>(w + v * kLanes / kPanel * panel_stride + k * kPanel +
                                                         v * kLanes % kPanel * 2));
    }
    vf columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = (vf)(pairs[v] << 16);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf value = splat(x[k * R + r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = (vf)(pairs[v] & 0xFFFF0000u);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf value = splat(x[(k + 1) * R + r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(c + r * kGroupColumns + v * kLanes, sums[r][v]);
  }
}

template <typename T>
using Multiply = void (*)(float*, const float*, const T*, int64_t, int64_t, bool, const T*, int64_t, int64_t);

template <typename T>
Multiply<T> multiply_rows(int64_t rows) {
  static constexpr Multiply<T> kByRows[] = {
      nullptr,
      multiply<1>,
      multiply<2>,
#if defined(__AVX2__)
      multiply<3>,
      multiply<4>,
      multiply<5>,
      multiply<6>,
#endif
#if defined(__AVX512F__)
      multiply<7>,
      multiply<8>,
      multiply<9>,
      multiply<10>,
      multiply<11>,
      multiply<12>,
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
  if (packed == nullptr) return fail(SJD2_OUT_OF_MEMORY, "matmul: no memory for %lld rows", static_cast<long long>(rows));
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
  const int64_t chunk = blocks.count == 1 ? used : kChunk;
  // A line of weights is one input in f32, two in bf16.
  const int64_t inputs_per_line = sizeof(T) == 2 ? 2 : 1;
  parallel_for(stream, tasks, [&](int64_t task) {
    alignas(64) float own[kMaxRows * kGroupColumns];
    float* sums = own;
    if (blocks.count > 1) {
      sums = static_cast<float*>(thread_scratch(stream, thread_index(), rows * kGroupColumns * 4));
    }
    const Part part = part_of(groups, task, tasks);
    for (int64_t group = part.begin; group < part.end; ++group) {
      const T* weights = w + group * kGroupPanels * panel_stride;
      // The last group may have no second panel: its columns are computed from the first again and not written.
      const int64_t stride = (group + 1) * kGroupPanels <= panels ? panel_stride : 0;
      for (int64_t k = 0; k < used; k += chunk) {
        const int64_t length = min64(chunk, used - k);
        const T* here = weights + k * kPanel;
        const int64_t lines = div_up(length, inputs_per_line);
        for (int64_t b = 0; b < blocks.count; ++b) {
          const int64_t begin = blocks.begin(b), height = blocks.height(b);
          const float* rows_here = packed + begin * used + k * height;
          float* c = sums + begin * kGroupColumns;
          if (blocks.count == 1) {
            // One pass: weights stream through, a little ahead of their use.
            multiply_rows<T>(height)(c, rows_here, here, stride, length, k == 0,
                                     here + kPrefetchBytes / static_cast<int64_t>(sizeof(T)), 0, lines);
          } else {
            // Several passes over one chunk: each fetches its share of the next chunk.
            const T* next = k + chunk < used ? here + chunk * kPanel : weights + kGroupPanels * panel_stride;
            const Part share = part_of(lines, b, blocks.count);
            multiply_rows<T>(height)(c, rows_here, here, stride, length, k == 0, next, share.begin, share.end);
          }
        }
      }
      product.write(sums, kGroupColumns, 0, rows, group * kGroupColumns, kGroupColumns);
    }
  });
  return SJD2_OK;
}

#if defined(__AMX_BF16__)

// bf16 with tiles. Up to six blocks of up to 16 rows keep their sums in tiles, so that each weight tile is loaded once for
// 96 rows; with few rows several panels advance together instead, which hides the latency of the chain of products.
// Every output is still one chain of tile products along k.

// c [blocks][16 rows][panels * 16] from a [depth / 32][blocks][rows][32]; tile 6 is a's, tile 7 the weights'.
template <int kBlocks, int kPanels>
void multiply_tiles(float* c, int64_t block_rows, const uint16_t* a, int64_t a_step, const uint16_t* w,
                    int64_t panel_stride, int64_t depth) {
  static_assert(kBlocks * kPanels <= 6);
  constexpr int64_t kStride = kPanels * kPanel;
  _tile_zero(0);
  if constexpr (kBlocks * kPanels > 1) _tile_zero(1);
  if constexpr (kBlocks * kPanels > 2) _tile_zero(2);
  if constexpr (kBlocks * kPanels > 3) _tile_zero(3);
  if constexpr (kBlocks * kPanels > 4) _tile_zero(4);
  if constexpr (kBlocks * kPanels > 5) _tile_zero(5);
  const int64_t a_block = block_rows * kTileDepth;
  for (int64_t k = 0; k < depth; k += kTileDepth, a += a_step) {
    const uint16_t* b = w + k * kPanel;
    for (int p = 0; p < kPanels; ++p) {
      const auto* ahead = reinterpret_cast<const char*>(b + p * panel_stride) + kTilePrefetch;
#pragma GCC unroll 16
      for (int line = 0; line < 16; ++line) prefetch_line(ahead + line * 64);
    }
    if constexpr (kBlocks == 1) {
      _tile_loadd(6, a, 64);
      _tile_loadd(7, b, 64);
      _tile_dpbf16ps(0, 6, 7);
      if constexpr (kPanels > 1) {
        _tile_loadd(7, b + panel_stride, 64);
        _tile_dpbf16ps(1, 6, 7);
      }
      if constexpr (kPanels > 2) {
        _tile_loadd(7, b + 2 * panel_stride, 64);
        _tile_dpbf16ps(2, 6, 7);
      }
      if constexpr (kPanels > 3) {
        _tile_loadd(7, b + 3 * panel_stride, 64);
        _tile_dpbf16ps(3, 6, 7);
      }
    } else if constexpr (kPanels == 1) {
      _tile_loadd(7, b, 64);
      _tile_loadd(6, a, 64);
      _tile_dpbf16ps(0, 6, 7);
      _tile_loadd(6, a + a_block, 64);
      _tile_dpbf16ps(1, 6, 7);
      if constexpr (kBlocks > 2) {
        _tile_loadd(6, a + 2 * a_block, 64);
        _tile_dpbf16ps(2, 6, 7);
      }
      if constexpr (kBlocks > 3) {
        _tile_loadd(6, a + 3 * a_block, 64);
        _tile_dpbf16ps(3, 6, 7);
      }
      if constexpr (kBlocks > 4) {
        _tile_loadd(6, a + 4 * a_block, 64);
        _tile_dpbf16ps(4, 6, 7);
      }
      if constexpr (kBlocks > 5) {
        _tile_loadd(6, a + 5 * a_block, 64);
        _tile_dpbf16ps(5, 6, 7);
      }
    } else {
      static_assert(kBlocks == 2 && kPanels == 2);
      // Two by two: tiles 4 and 5 are free for a second left and right factor.
      _tile_loadd(6, a, 64);
      _tile_loadd(7, b, 64);
      _tile_dpbf16ps(0, 6, 7);
      _tile_loadd(5, a + a_block, 64);
      _tile_dpbf16ps(2, 5, 7);
      _tile_loadd(7, b + panel_stride, 64);
      _tile_dpbf16ps(1, 6, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  const int64_t c_block = block_rows * kStride;
  if constexpr (kPanels > 1) {
    // Tile block * panels + panel.
    _tile_stored(0, c, kStride * 4);
    _tile_stored(1, c + kPanel, kStride * 4);
    if constexpr (kBlocks == 2) {
      _tile_stored(2, c + c_block, kStride * 4);
      _tile_stored(3, c + c_block + kPanel, kStride * 4);
    } else {
      if constexpr (kPanels > 2) _tile_stored(2, c + 2 * kPanel, kStride * 4);
      if constexpr (kPanels > 3) _tile_stored(3, c + 3 * kPanel, kStride * 4);
    }
  } else {
    _tile_stored(0, c, kStride * 4);
    if constexpr (kBlocks > 1) _tile_stored(1, c + c_block, kStride * 4);
    if constexpr (kBlocks > 2) _tile_stored(2, c + 2 * c_block, kStride * 4);
    if constexpr (kBlocks > 3) _tile_stored(3, c + 3 * c_block, kStride * 4);
    if constexpr (kBlocks > 4) _tile_stored(4, c + 4 * c_block, kStride * 4);
    if constexpr (kBlocks > 5) _tile_stored(5, c + 5 * c_block, kStride * 4);
  }
}

using MultiplyTiles = void (*)(float*, int64_t, const uint16_t*, int64_t, const uint16_t*, int64_t, int64_t);

MultiplyTiles choose_tiles(int64_t blocks, int64_t panels) {
  static constexpr MultiplyTiles kOneBlock[] = {multiply_tiles<1, 1>, multiply_tiles<1, 2>, multiply_tiles<1, 3>,
                                                multiply_tiles<1, 4>};
  static constexpr MultiplyTiles kOnePanel[] = {multiply_tiles<1, 1>, multiply_tiles<2, 1>, multiply_tiles<3, 1>,
                                                multiply_tiles<4, 1>, multiply_tiles<5, 1>, multiply_tiles<6, 1>};
  if (blocks == 1) return kOneBlock[panels - 1];
  if (blocks == 2 && panels == 2) return multiply_tiles<2, 2>;
  return kOnePanel[blocks - 1];
}

int32_t matmul_tiles(sjd2_stream stream, const Product& product, const uint16_t* x, const uint16_t* w) {
  const int64_t rows = product.live.count;
  const int64_t depth = padded_depth(product.n_in, true), steps = depth / kTileDepth;
  // Blocks of one height; the last may reach beyond the rows, into rows of zeros that are not written.
  const int64_t blocks = div_up(rows, 16), height = div_up(rows, blocks);
  // Super-blocks of at most six blocks, as even as they come.
  const Blocks supers(blocks, 6);
  // x as [super-block][depth / 32][blocks][height][32]: every tile is one run of memory.
  auto* packed = static_cast<uint16_t*>(call_scratch(stream, 0, blocks * height * depth * 2));
  if (packed == nullptr) return fail(SJD2_OUT_OF_MEMORY, "matmul: no memory for %lld rows", static_cast<long long>(rows));
  const auto pack = [&](int64_t block) {
    int64_t super = block * supers.count / blocks;
    while (supers.begin(super) > block) --super;
    while (supers.begin(super + 1) <= block) ++super;
    const int64_t first = supers.begin(super), step = supers.height(super) * height * kTileDepth;
    uint16_t* target = packed + first * height * depth + (block - first) * height * kTileDepth;
    for (int64_t r = 0; r < height; ++r) {
      const int64_t row = block * height + r;
      const uint16_t* source = row < rows ? x + product.live[row] * product.n_in : nullptr;
      for (int64_t s = 0; s < steps; ++s) {
        uint16_t* run = target + s * step + r * kTileDepth;
        const int64_t n = source != nullptr ? min64(kTileDepth, product.n_in - s * kTileDepth) : 0;
        if (n == kTileDepth) {
          std::memcpy(run, source + s * kTileDepth, kTileDepth * 2);
        } else {
          std::memset(run, 0, kTileDepth * 2);
          if (n > 0) std::memcpy(run, source + s * kTileDepth, static_cast<size_t>(n) * 2);
        }
      }
    }
  };
  if (rows * depth < 65536) {
    for (int64_t block = 0; block < blocks; ++block) pack(block);
  } else {
    parallel_for(stream, blocks, pack);
  }

  const int64_t panels = div_up(product.n_out, kPanel), panel_stride = kPanel * depth;
  const int64_t together = blocks == 1 ? 4 : blocks == 2 ? 2 : 1;
  const int64_t groups = div_up(panels, together);
  const int64_t tasks = task_count(stream, groups, max64(1, kBytesPerTask / (together * panel_stride * 2)));
  parallel_for(stream, tasks, [&](int64_t task) {
    alignas(64) float sums[6 * 16 * kPanel];
    const Tiles tiles(height);
    const Part part = part_of(groups, task, tasks);
    for (int64_t panel = part.begin * together; panel < min64(part.end * together, panels); panel += together) {
      const int64_t count = min64(together, panels - panel);
      for (int64_t super = 0; super < supers.count; ++super) {
        const int64_t first = supers.begin(super), n = supers.height(super);
        // An odd panel of the two-by-two shape comes last, alone.
        choose_tiles(n, count)(sums, height, packed + first * height * depth, n * height * kTileDepth,
                               w + panel * panel_stride, panel_stride, depth);
        product.write(sums, count * kPanel, first * height, min64(n * height, rows - first * height), panel * kPanel,
                      count * kPanel);
      }
    }
  });
  return SJD2_OK;
}

#endif  // __AMX_BF16__

}  // namespace

int32_t matmul_f32(sjd2_stream stream, float* out, const float* x, const float* w, const float* bias,
                   const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                   int32_t accumulate) {
  Product product = {out, bias, {}, n_out, n_in, accumulate};
  const int32_t found = find_live_rows(stream, &product.live, sequences, batch, max_window);
  if (found != SJD2_OK || product.live.count == 0) return found;
  return matmul_vectors(stream, product, x, w);
}

int32_t matmul_bf16(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w, const float* bias,
                    const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                    int32_t accumulate) {
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
