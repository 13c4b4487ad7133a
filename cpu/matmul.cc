// out = x w^T over packed weights.
//
// Work is cut along outputs only, so each output is one chain of fused multiply-adds (dot products of pairs,
// tile products) along k, in ascending order, whatever the number of rows and threads. Where a chain is
// interrupted between chunks of k its f32 sum is stored and loaded again, which changes nothing.
//
// Without tiles: a block of up to max_rows rows times up to four panels of outputs lives in registers.
// bf16 is multiplied by vdpbf16ps where the set has it, and widened on the way where not (a product of two
// bf16 numbers is exact in f32).
#include <atomic>

#include "layout.h"
#include "threads.h"
#include "tiles.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {
namespace {

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
#define SJD2_DOTS 1
#endif

// What x is packed to and multiplied as: words of one f32 input or, where the set multiplies pairs, of two
// bf16 inputs.
template <typename T>
struct Words {
#if defined(SJD2_DOTS)
  static constexpr bool kPairs = sizeof(T) == 2;
#else
  static constexpr bool kPairs = false;
#endif
  static constexpr bool kWidened = sizeof(T) == 2 && !kPairs;
  static constexpr int64_t kInputs = sizeof(T) == 2 ? 2 : 1;  // of a line of a panel
};

constexpr int64_t kPanelVectors = kPanel / kLanes;

// Rows of a block at most. Widened columns take registers of their own.
template <typename T>
constexpr int max_rows() {
#if defined(__AVX512F__)
  return Words<T>::kWidened ? 12 : 14;
#elif defined(__AVX2__)
  return 6;
#else
  return 2;
#endif
}

// Panels that advance together with a block of rows: enough chains to hide an instruction's latency, few
// enough that sums, columns and one broadcast fit the registers. Each is a stream from memory: four come in a
// fifth faster than eight.
template <typename T>
constexpr int panels_beside(int64_t rows) {
#if defined(__AVX512F__)
  if (Words<T>::kWidened) return rows <= 4 ? 4 : 2;
  return rows <= 6 ? 4 : rows <= 9 ? 3 : 2;
#elif defined(__AVX2__)
  return rows <= 1 ? 4 : rows <= 3 ? 2 : 1;
#else
  return rows > 0 ? 1 : 0;
#endif
}

// Rows of the highest block when `rows` are cut into several. Three panels beside eight or nine rows load less
// per multiplication than two beside fourteen, which is what counts while weights come in; higher blocks pay
// only where they leave two instead of three.
template <typename T>
constexpr int64_t block_height(int64_t rows) {
  constexpr int64_t most = max_rows<T>();
  if (most < 14) return most;  // narrower registers, or widened columns in them: two panels at most
  return rows <= 18 ? 9 : rows <= 2 * most ? most : 8;
}

// Lines of each panel per pass when several blocks of rows go over the same weights: they and the next ones,
// which come in meanwhile, share the first-level cache.
constexpr int64_t kChunkLines = 64;
constexpr int64_t kBytesPerTask = 48 * 1024;  // weights worth handing to another thread
constexpr int64_t kTilePrefetch = 4096;       // ahead in each panel while weights stream from memory as tiles
constexpr int64_t kPrefetchBytes = 2048;      // the same for vectors
constexpr int64_t kPackAlone = 32768;         // words of x that one thread packs before others could start

struct Product {
  float* out;
  const float* bias;
  LiveRows live;
  int64_t n_out, n_in, accumulate;

  // One vector of outputs of one live row, its first `n` lanes.
  inline __attribute__((always_inline)) void write_vector(float* target, vf value, int64_t column,
                                                          int64_t n) const {
    if (bias != nullptr) value += load_upto(bias + column, n);
    if (accumulate != 0) value += load_upto(target, n);
    store_upto(target, value, n);
  }

  // out of rows [row, row + rows) and outputs [column, ..) from c [rows][stride].
  void write(const float* c, int64_t stride, int64_t row, int64_t rows, int64_t column,
             int64_t columns) const {
    const int64_t width = min64(columns, n_out - column);
    for (int64_t r = 0; r < rows; ++r) {
      float* target = out + live[row + r] * n_out + column;
      for (int64_t i = 0; i < width; i += kLanes) {
        write_vector(target + i, load(c + r * stride + i), column + i, width - i);
      }
    }
  }
};

SJD2_INLINE void prefetch_line(const void* p) { __builtin_prefetch(p, 0, 3); }

// One chunk of a group of panels for one block of rows, and what to fetch meanwhile, a line at every step in
// each of some panels. Fetched without a lambda around it: GCC takes one that only prefetches for a no-op.
template <typename T>
struct Chunk {
  const Product* product;
  float* sums;     // [R][P][kPanel]: carried from chunk to chunk
  const float* x;  // [words][R]
  const T* weights;
  int64_t panel_stride, lines;  // elements between panels; lines of each panel
  int64_t row, column;          // of the first output
  bool first, last;             // of its chains
  const T* next;                     // the first panel's first line to fetch
  int64_t next_panels, next_stride;  // panels to fetch; elements between them
};

template <typename T, int R, int P>
void multiply(const Chunk<T>& given) {
  constexpr int kVectors = P * kPanelVectors;
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  const Chunk<T> chunk = given;
  vf sums[R][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = chunk.first ? vf{} : load(chunk.sums + (r * kVectors + v) * kLanes);
    }
  }
  const float* x = chunk.x;
  const T* weights = chunk.weights;
  const T* next = chunk.next;
  const int64_t next_panels = chunk.next_panels, next_stride = chunk.next_stride;
  const int64_t stride = chunk.panel_stride;
  const auto place = [&](int v) { return weights + v / kPanelVectors * stride; };
  for (int64_t line = 0; line < chunk.lines; ++line, weights += kLine) {
    if (next_panels == P) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) prefetch_line(next + p * next_stride);
    } else {
      for (int64_t p = 0; p < next_panels; ++p) prefetch_line(next + p * next_stride);
    }
    next += kLine;
    vf columns[kVectors];
    if constexpr (sizeof(T) == 4) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) columns[v] = load(place(v) + v % kPanelVectors * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const vf value = splat(x[r]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
      }
      x += R;
#if defined(SJD2_DOTS)
    } else if constexpr (Words<T>::kPairs) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) columns[v] = load(reinterpret_cast<const float*>(place(v)));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const vf value = splat_word(x + r);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = (vf)_mm512_dpbf16_ps((__m512)sums[r][v], (__m512bh)value, (__m512bh)columns[v]);
        }
      }
      x += R;
#endif
    } else {
      // A lane holds two inputs, k in its low half and k + 1 in its high half.
      vu pairs[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        pairs[v] = (vu)load(reinterpret_cast<const float*>(place(v) + v % kPanelVectors * kLanes * 2));
      }
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          columns[v] = (vf)(half == 0 ? pairs[v] << 16 : pairs[v] & 0xFFFF0000u);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const vf value = splat(x[r]);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
        }
        x += R;
      }
    }
  }
  if (!chunk.last) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store(chunk.sums + (r * kVectors + v) * kLanes, sums[r][v]);
    }
    return;
  }
  const Product& product = *chunk.product;
  const int64_t width = product.n_out - chunk.column;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    float* target = product.out + product.live[chunk.row + r] * product.n_out + chunk.column;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = v * kLanes;
      if (at < width) product.write_vector(target + at, sums[r][v], chunk.column + at, width - at);
    }
  }
}

template <typename T>
using Multiply = void (*)(const Chunk<T>&);

template <typename T, int R, int P>
constexpr Multiply<T> at_most() {
  if constexpr (R <= max_rows<T>() && P <= panels_beside<T>(R)) {
    return multiply<T, R, P>;
  } else {
    return nullptr;
  }
}

template <typename T>
Multiply<T> choose(int64_t rows, int64_t panels) {
#define SJD2_ROWS(R) {at_most<T, R, 1>(), at_most<T, R, 2>(), at_most<T, R, 3>(), at_most<T, R, 4>()}
  static constexpr Multiply<T> kByShape[][4] = {
      {},            SJD2_ROWS(1),  SJD2_ROWS(2),  SJD2_ROWS(3),  SJD2_ROWS(4),
      SJD2_ROWS(5),  SJD2_ROWS(6),  SJD2_ROWS(7),  SJD2_ROWS(8),  SJD2_ROWS(9),
      SJD2_ROWS(10), SJD2_ROWS(11), SJD2_ROWS(12), SJD2_ROWS(13), SJD2_ROWS(14),
  };
#undef SJD2_ROWS
  static_assert(sizeof kByShape / sizeof kByShape[0] > max_rows<T>());
  return kByShape[rows][panels - 1];
}

SJD2_INLINE vf load_words(const float* p, int64_t n) { return load_upto(p, n); }
// Pairs as they lie, or numbers widened.
SJD2_INLINE vf load_words(const uint16_t* p, int64_t n) {
#if defined(SJD2_DOTS)
  const auto* words = reinterpret_cast<const float*>(p);
  return load_upto(words, n);
#else
  return load_upto(p, n);
#endif
}

// Rows [begin, begin + height) of x as [words][height]: one stream of broadcasts instead of a stride of n_in.
// Writes a vector beyond the last word.
template <typename T>
void pack_block(float* target, const Product& product, const T* x, int64_t begin, int64_t height,
                int64_t words) {
  constexpr int64_t kWord = Words<T>::kPairs ? 2 : 1;  // elements
  const int64_t whole = product.n_in / kWord;
  const T* rows[kLanes];
  for (int64_t r = 0; r < height; ++r) rows[r] = x + product.live[begin + r] * product.n_in;
  for (int64_t k = 0; k < whole; k += kLanes) {
    vf block[kLanes];
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; ++r) {
      block[r] = r < height ? load_words(rows[r] + k * kWord, whole - k) : vf{};
    }
    transpose(block);
    // In ascending order: what a vector writes beyond its row of words is written again.
    const int64_t n = min64(kLanes, whole - k);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i < n) store(target + (k + i) * height, block[i]);
    }
  }
  for (int64_t k = whole; k < words; ++k) {
    for (int64_t r = 0; r < height; ++r) {
      // An odd last input: the low half of a word.
      const bool half = kWord == 2 && k * 2 < product.n_in;
      const uint32_t last = half ? float_to_bits(load_as_float(rows[r] + k * 2)) >> 16 : 0;
      target[k * height + r] = bits_to_float(last);
    }
  }
}

// The k-loop over one group of panels: chunk by chunk, every block of rows over one chunk before the next.
template <typename T>
struct GroupWalk {
  const Product& product;
  const Blocks& blocks;
  const float* packed;
  float* sums;
  int64_t lines, words, block_pad;  // of a panel; of a packed row; between packed blocks

  void walk(const T* weights, int64_t panel_stride, int64_t panel, int64_t count) const {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
    const int64_t words_per_line = words / lines;
    const bool once = blocks.count == 1;
    // One pass: weights stream through, a little ahead of their use, and towards the end the next group's.
    const int64_t ahead = kPrefetchBytes / 64;
    const int64_t shared = lines <= 2 * kChunkLines ? lines : kChunkLines;  // no cut for little
    const int64_t step = once ? max64(lines - ahead, min64(lines, ahead)) : shared;
    Chunk<T> chunk = {};
    chunk.product = &product;
    chunk.panel_stride = panel_stride;
    chunk.column = panel * kPanel;
    chunk.next_stride = min64(blocks.count, count) * panel_stride;
    const T* following = weights + count * panel_stride;
    for (int64_t line = 0; line < lines; line += step) {
      chunk.weights = weights + line * kLine;
      chunk.lines = min64(step, lines - line);
      chunk.first = line == 0;
      chunk.last = line + step >= lines;
      for (int64_t b = 0; b < blocks.count; ++b) {
        const int64_t begin = blocks.begin(b), height = blocks.height(b);
        chunk.row = begin;
        chunk.sums = sums + begin * count * kPanel;
        chunk.x = packed + begin * words + b * block_pad + line * words_per_line * height;
        if (once) {
          chunk.next = chunk.last ? following : chunk.weights + ahead * kLine;
          chunk.next_panels = count;
        } else {
          // Several passes over one chunk: each of the first fetches its panels of the next chunk.
          const T* next = chunk.last ? following : chunk.weights + step * kLine;
          chunk.next = next + min64(b, count - 1) * panel_stride;
          chunk.next_panels = b < count ? div_up(count - b, blocks.count) : 0;
        }
        choose<T>(height, count)(chunk);
      }
    }
  }
};

template <typename T>
int32_t matmul_vectors(sjd2_stream stream, const Product& product, const T* x, const T* w) {
  const int64_t rows = product.live.count;
  const int64_t depth = padded_depth(product.n_in, sizeof(T) == 2);
  // What the loops run over: bf16 weights come in pairs, their padding beyond that is left alone.
  const int64_t lines = div_up(product.n_in, Words<T>::kInputs);
  const int64_t words = sizeof(T) == 2 && !Words<T>::kPairs ? 2 * lines : lines;
  const Blocks blocks(rows, block_height<T>(rows));
  const float* packed = nullptr;
  if (rows == 1 && (sizeof(T) == 4 || (Words<T>::kPairs && product.n_in % 2 == 0))) {
    packed = reinterpret_cast<const float*>(x + product.live[0] * product.n_in);  // as it lies
  } else {
    auto* target = static_cast<float*>(call_scratch(stream, 0, (rows * words + blocks.count * kLanes) * 4));
    if (target == nullptr)
      return fail(SJD2_OUT_OF_MEMORY, "matmul: no memory for %lld rows", static_cast<long long>(rows));
    const auto pack = [&](int64_t block) {
      const int64_t begin = blocks.begin(block);
      pack_block(target + begin * words + block * kLanes, product, x, begin, blocks.height(block), words);
    };
    if (rows * words < kPackAlone) {
      for (int64_t block = 0; block < blocks.count; ++block) pack(block);
    } else {
      parallel_for(stream, blocks.count, pack);
    }
    packed = target;
  }

  const int64_t panels = div_up(product.n_out, kPanel), panel_stride = kPanel * depth;
  const int64_t together = panels_beside<T>(div_up(rows, blocks.count));
  const int64_t groups = div_up(panels, together);
  const int64_t work = together * panel_stride * static_cast<int64_t>(sizeof(T)) * max64(1, rows / 8);
  const int64_t tasks = task_count(stream, groups, max64(1, kBytesPerTask / work));
  std::atomic<bool> failed{false};
  parallel_for(stream, tasks, [&](int64_t task) {
    auto* sums = static_cast<float*>(thread_scratch(stream, thread_index(), rows * together * kPanel * 4));
    if (sums == nullptr) {
      failed.store(true, std::memory_order_relaxed);
      return;
    }
    const GroupWalk<T> group = {product, blocks, packed, sums, lines, words, kLanes};
    const Part part = part_of(groups, task, tasks);
    const int64_t end = min64(part.end * together, panels);
    for (int64_t panel = part.begin * together, count = together; panel < end; panel += count) {
      count = min64(count, end - panel);
      group.walk(w + panel * panel_stride, panel_stride, panel, count);
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
