// conv over packed weights: no matrix of patches is ever written.
//
// A task takes one piece of the output, at most 16 x 48 pixels of one frame. It first stages the input that the piece
// sees, normalised, activated, enlarged and rounded, with zeros around the picture, as [channels / 32][frame][row][column]
// [32]. Sixteen neighbouring pixels of 32 channels are then one tile, whatever the tap, and the loops over taps only move a
// pointer. Every output is one chain of multiply-adds over taps and channels in ascending order.
//
// Staging reads and activates each input about 1.2 times (a piece's margin); what it saves is a pass that writes the
// normalised picture and one that reads it, and at 768 x 768 pixels memory is what a convolution with tiles waits for.
#include "threads.h"
#include "tiles.h"
#include "vec.h"
#include "vq_layout.h"

namespace sjd2::SJD2_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kMaxRows = 12, kVectors = 2;
#elif defined(__AVX2__)
constexpr int64_t kMaxRows = 6, kVectors = 2;
#else
constexpr int64_t kMaxRows = 2, kVectors = 4;
#endif
constexpr int64_t kGroupColumns = kVectors * kLanes;
constexpr int64_t kGroupPanels = kGroupColumns / kPanel;
constexpr int64_t kMaxTaps = 7 * 7 * 7;

#if defined(__AMX_BF16__)
constexpr bool kTiles = true;
#else
constexpr bool kTiles = false;
#endif

template <typename T>
struct Call {
  float* out;
  float* moments;
  const float* x;
  const float* norm;
  const float* map;
  const T* w;
  const float* bias;
  const sjd2_conv_shape* s;
};

// What is staged: T where tiles or dots multiply it, else f32 holding what T can hold.
template <typename T>
struct StagedOf {
  using type = float;
};
#if defined(__AVX512BF16__)
template <>
struct StagedOf<uint16_t> {
  using type = uint16_t;
};
#endif

// One piece of the output and the input that it sees.
struct Piece {
  int64_t n, frame, row, rows, column, columns;
  int64_t staged_frames, staged_rows, staged_columns, blocks;  // blocks of channels
  int64_t block_stride;                                        // elements from one block of channels to the next
};

template <typename T>
SJD2_INLINE void stage_vector(float* target, vf v) {
  if constexpr (sizeof(T) == 2) {
    store(target, widen(narrow(v)));
  } else {
    store(target, v);
  }
}
template <typename T>
SJD2_INLINE void stage_vector(uint16_t* target, vf v) {
#if defined(__AVX512BF16__)
  const __m256bh rounded = _mm512_cvtneps_pbh((__m512)v);
  std::memcpy(target, &rounded, sizeof rounded);
#else
  store(target, v);
#endif
}

// One pixel: [C] to [C / 32] blocks `block_stride` elements apart, the last one filled up with zeros.
template <typename T, bool kNorm, bool kMap, bool kSwish, typename S>
void stage_pixel(S* target, int64_t block_stride, const float* source, int64_t channels, const float* norm,
                 const float* map) {
  for (int64_t c = 0; c < channels; c += kChannelBlock, target += block_stride) {
    for (int64_t i = 0; i < kChannelBlock; i += kLanes) {
      const int64_t at = c + i, left = channels - at;
      vf v = {};
      if (left > 0) {
        v = load_upto(source + at, left);
        if constexpr (kNorm) {
          const vf mean = load_upto(norm + at, left), factor = load_upto(norm + channels + at, left);
          v = fmadd(v - mean, factor, load_upto(norm + 2 * channels + at, left));
        }
        if constexpr (kMap) v = fmadd(v, load_upto(map + at, left), load_upto(map + channels + at, left));
        if constexpr (kSwish) v = v * sigmoid(v);
      }
      stage_vector<T>(target + i, v);
    }
  }
}

template <typename T, typename S>
using StagePixel = void (*)(S*, int64_t, const float*, int64_t, const float*, const float*);

template <typename T, typename S>
StagePixel<T, S> choose_stage(bool norm, bool map, bool swish) {
  static constexpr StagePixel<T, S> kAll[] = {
      stage_pixel<T, false, false, false>, stage_pixel<T, false, false, true>, stage_pixel<T, false, true, false>,
      stage_pixel<T, false, true, true>,   stage_pixel<T, true, false, false>, stage_pixel<T, true, false, true>,
      stage_pixel<T, true, true, false>,   stage_pixel<T, true, true, true>};
  return kAll[(norm ? 4 : 0) + (map ? 2 : 0) + (swish ? 1 : 0)];
}

// Index of the source element that tap-space position `at` sees, or -1 outside of the picture.
SJD2_INLINE int64_t source_of(int64_t at, int64_t enlarge, int64_t extent) {
  return at >= 0 && at < extent * enlarge ? at / enlarge : -1;
}

template <typename T, typename S>
void stage(const Call<T>& call, const Piece& piece, S* staged) {
  const sjd2_conv_shape& s = *call.s;
  const StagePixel<T, S> pixel = choose_stage<T, S>(call.norm != nullptr, call.map != nullptr, s.swish != 0);
  const float* norm = call.norm != nullptr ? call.norm + piece.n * 3 * s.channels : nullptr;
  const int64_t line = piece.staged_columns * kChannelBlock;
  const auto clear = [&](S* target, int64_t elements) {
    for (int64_t b = 0; b < piece.blocks; ++b) {
      std::memset(target + b * piece.block_stride, 0, static_cast<size_t>(elements) * sizeof(S));
    }
  };
  const auto copy = [&](S* target, const S* source, int64_t elements) {
    for (int64_t b = 0; b < piece.blocks; ++b) {
      std::memcpy(target + b * piece.block_stride, source + b * piece.block_stride,
                  static_cast<size_t>(elements) * sizeof(S));
    }
  };
  for (int64_t f = 0; f < piece.staged_frames; ++f) {
    const int64_t frame = source_of(piece.frame * s.stride_frames + f - s.pad_frames, s.enlarge_frames, s.frames);
    int64_t above = -1;
    for (int64_t r = 0; r < piece.staged_rows; ++r) {
      S* target = staged + (f * piece.staged_rows + r) * line;
      const int64_t y = source_of(piece.row * s.stride_height + r - s.pad_height, s.enlarge_space, s.height);
      if (frame < 0 || y < 0) {
        clear(target, line);
        above = -1;
        continue;
      }
      if (y == above) {
        copy(target, target - line, line);
        continue;
      }
      above = y;
      const float* source = call.x + ((piece.n * s.frames + frame) * s.height + y) * s.width * s.channels;
      const float* map = nullptr;
      if (call.map != nullptr) {
        map = call.map + (piece.n * s.map_height + y * s.map_height / s.height) * s.map_width * 2 * s.channels;
      }
      int64_t before = -1;
      for (int64_t c = 0; c < piece.staged_columns; ++c, target += kChannelBlock) {
        const int64_t x = source_of(piece.column * s.stride_width + c - s.pad_width, s.enlarge_space, s.width);
        if (x < 0) {
          clear(target, kChannelBlock);
        } else if (x == before) {
          copy(target, target - kChannelBlock, kChannelBlock);
        } else {
          pixel(target, piece.block_stride, source + x * s.channels, s.channels, norm,
                map != nullptr ? map + x * s.map_width / s.width * 2 * s.channels : nullptr);
        }
        before = x;
      }
    }
  }
}

// Offsets of the taps in a staged piece, in elements.
struct Taps {
  int64_t count = 0;
  int64_t offset[kMaxTaps];

  Taps(const sjd2_conv_shape& s, const Piece& piece) {
    for (int64_t i = 0; i < s.kernel_frames; ++i) {
      for (int64_t j = 0; j < s.kernel_height; ++j) {
        for (int64_t k = 0; k < s.kernel_width; ++k) {
          offset[count++] = ((i * piece.staged_rows + j) * piece.staged_columns + k) * kChannelBlock;
        }
      }
    }
  }
};

// Bias, accumulation, store and moments of `pixels` neighbouring pixels; c [pixels][stride] holds outputs
// [column, column + width). Moments are sums of differences from the piece's first pixel: [pivot, sum, sum of squares][n_out].
template <typename T>
void finish(const Call<T>& call, const float* c, int64_t stride, float* out, int64_t pixels, int64_t column, int64_t width,
            float* partial, bool first) {
  const int64_t n_out = call.s->out_channels;
  const bool accumulate = call.s->accumulate != 0;
  for (int64_t i = 0; i < width; i += kLanes) {
    const int64_t n = width - i;
    const vf bias = call.bias != nullptr ? load_upto(call.bias + column + i, n) : vf{};
    float* target = out + column + i;
    if (partial == nullptr) {
      for (int64_t p = 0; p < pixels; ++p, target += n_out) {
        vf v = load(c + p * stride + i) + bias;
        if (accumulate) v += load_upto(target, n);
        store_upto(target, v, n);
      }
      continue;
    }
    float* sums = partial + column + i;
    if (first) {
      vf v = load(c + i) + bias;
      if (accumulate) v += load_upto(target, n);
      store_upto(sums, v, n);
      store_upto(sums + n_out, vf{}, n);
      store_upto(sums + 2 * n_out, vf{}, n);
    }
    const vf pivot = load_upto(sums, n);
    vf sum = {}, squares = {};  // of these pixels alone: short chains lose less
    for (int64_t p = 0; p < pixels; ++p, target += n_out) {
      vf v = load(c + p * stride + i) + bias;
      if (accumulate) v += load_upto(target, n);
      store_upto(target, v, n);
      const vf d = v - pivot;
      sum += d;
      squares = fmadd(d, d, squares);
    }
    store_upto(sums + n_out, load_upto(sums + n_out, n) + sum, n);
    store_upto(sums + 2 * n_out, load_upto(sums + 2 * n_out, n) + squares, n);
  }
}

// c[R][V * kLanes] = R staged pixels, kStride elements apart, times V vectors of outputs.
template <int R, int V, int kStride>
void multiply(float* c, const float* a, const Taps& taps, int64_t channels, int64_t block_stride, const float* w,
              int64_t panel_stride) {
  vf sums[R][V] = {};
  for (int64_t tap = 0; tap < taps.count; ++tap) {
    const float* pixels = a + taps.offset[tap];
    for (int64_t c0 = 0; c0 < channels; c0 += kChannelBlock, pixels += block_stride) {
      const int64_t depth = min64(kChannelBlock, channels - c0);
      const float* columns_of = w + c0 * kPanel;
      for (int64_t k = 0; k < depth; ++k) {
        vf columns[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          columns[v] = load(columns_of + v * kLanes / kPanel * panel_stride + k * kPanel + v * kLanes % kPanel);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const vf value = splat(pixels[r * kStride + k]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
        }
      }
    }
    w += conv_depth(channels) * kPanel;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(c + (r * V + v) * kLanes, sums[r][v]);
  }
}

#if defined(__AVX512BF16__)

// The same in bf16: a lane holds two inputs, and a dot product adds both to its sum.
template <int R, int V, int kStride>
void multiply(float* c, const uint16_t* a, const Taps& taps, int64_t channels, int64_t block_stride, const uint16_t* w,
              int64_t panel_stride) {
  static_assert(kLanes == kPanel);
  __m512 sums[R][V] = {};
  for (int64_t tap = 0; tap < taps.count; ++tap) {
    const uint16_t* pixels = a + taps.offset[tap];
    for (int64_t c0 = 0; c0 < channels; c0 += kChannelBlock, pixels += block_stride) {
      const int64_t depth = min64(kChannelBlock, channels - c0);
      const uint16_t* columns_of = w + c0 * kPanel;
      for (int64_t k = 0; k < depth; k += 2) {
        __m512bh columns[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          columns[v] = (__m512bh)_mm512_loadu_si512(columns_of + v * panel_stride + k * kPanel);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          int32_t pair;
          std::memcpy(&pair, pixels + r * kStride + k, sizeof pair);
          const __m512bh value = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], value, columns[v]);
        }
      }
    }
    w += conv_depth(channels) * kPanel;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(c + (r * V + v) * kLanes, (vf)sums[r][v]);
  }
}

#else

// The same over bf16 weights, which are widened on the way: a lane holds two inputs, k in its low half and k + 1 in its high half.
template <int R, int V, int kStride>
void multiply(float* c, const float* a, const Taps& taps, int64_t channels, int64_t block_stride, const uint16_t* w,
              int64_t panel_stride) {
  vf sums[R][V] = {};
  for (int64_t tap = 0; tap < taps.count; ++tap) {
    const float* pixels = a + taps.offset[tap];
    for (int64_t c0 = 0; c0 < channels; c0 += kChannelBlock, pixels += block_stride) {
      const int64_t depth = min64(kChannelBlock, channels - c0);
      const uint16_t* columns_of = w + c0 * kPanel;
      for (int64_t k = 0; k < depth; k += 2) {
        vu pairs[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          pairs[v] = (vu)load(reinterpret_cast<const float*>(columns_of + v * kLanes / kPanel * panel_stride +
                                                             k * kPanel + v * kLanes % kPanel * 2));
        }
        vf columns[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) columns[v] = (vf)(pairs[v] << 16);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const vf value = splat(pixels[r * kStride + k]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) columns[v] = (vf)(pairs[v] & 0xFFFF0000u);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const vf value = splat(pixels[r * kStride + k + 1]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sums[r][v] = fmadd(value, columns[v], sums[r][v]);
        }
      }
    }
    w += conv_depth(channels) * kPanel;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(c + (r * V + v) * kLanes, sums[r][v]);
  }
}

#endif  // __AVX512BF16__

template <typename T>
using Multiply = void (*)(float*, const typename StagedOf<T>::type*, const Taps&, int64_t, int64_t, const T*, int64_t);

template <typename T, int V, int kStride>
Multiply<T> multiply_rows(int64_t rows) {
  static constexpr Multiply<T> kByRows[] = {
      nullptr,
      multiply<1, V, kStride>,
      multiply<2, V, kStride>,
#if defined(__AVX2__)
      multiply<3, V, kStride>,
      multiply<4, V, kStride>,
      multiply<5, V, kStride>,
      multiply<6, V, kStride>,
#endif
#if defined(__AVX512F__)
      multiply<7, V, kStride>,
      multiply<8, V, kStride>,
      multiply<9, V, kStride>,
      multiply<10, V, kStride>,
      multiply<11, V, kStride>,
      multiply<12, V, kStride>,
#endif
  };
  static_assert(sizeof kByRows / sizeof kByRows[0] == kMaxRows + 1);
  return kByRows[rows];
}

template <typename T, int V>
Multiply<T> choose_multiply(int64_t rows, int64_t stride) {
  return stride == 1 ? multiply_rows<T, V, kChannelBlock>(rows) : multiply_rows<T, V, 2 * kChannelBlock>(rows);
}

// Outputs [panel_begin, panel_end) * 16 of a staged piece, in vectors.
template <typename T>
void compute(const Call<T>& call, const Piece& piece, const Taps& taps, const typename StagedOf<T>::type* staged,
             int64_t panel_begin, int64_t panel_end, float* partial, float* sums) {
  const sjd2_conv_shape& s = *call.s;
  const int64_t panels = div_up(s.out_channels, kPanel), panel_stride = kPanel * taps.count * conv_depth(s.channels);
  const Blocks blocks(piece.columns, kMaxRows);
  for (int64_t panel = panel_begin; panel < panel_end; panel += kGroupPanels) {
    const T* w = call.w + panel * panel_stride;
    // The last panel may be alone in a group of two: a picture of three channels is.
    const bool single = panel + kGroupPanels > panels;
    const int64_t columns = single ? kPanel : kGroupColumns;
    const int64_t column = panel * kPanel, width = min64(columns, s.out_channels - column);
    for (int64_t r = 0; r < piece.rows; ++r) {
      const auto* line = staged + r * s.stride_height * piece.staged_columns * kChannelBlock;
      float* out = call.out + (((piece.n * s.out_frames + piece.frame) * s.out_height + piece.row + r) * s.out_width +
                               piece.column) *
                                  s.out_channels;
      for (int64_t b = 0; b < blocks.count; ++b) {
        const int64_t begin = blocks.begin(b), height = blocks.height(b);
        float* target = out + begin * s.out_channels;
        // Products take microseconds, in which what they are added to, or overwrite, arrives.
        for (int64_t p = 0; p < height; ++p) {
          for (int64_t i = 0; i < width; i += 16) __builtin_prefetch(target + p * s.out_channels + column + i, 1);
        }
        const auto body = single ? choose_multiply<T, kPanel / kLanes>(height, s.stride_width)
                                 : choose_multiply<T, kVectors>(height, s.stride_width);
        body(sums, line + begin * s.stride_width * kChannelBlock, taps, s.channels, piece.block_stride, w, panel_stride);
        finish(call, sums, columns, target, height, column, width, partial, r == 0 && b == 0);
      }
    }
  }
}

#if defined(__AMX_BF16__)

// Up to three tiles of neighbouring pixels times two panels, as in matmul.cc: six tiles of sums stay in registers.
struct TileWork {
  float* c;           // [blocks * block_rows][kPanels * 16]
  const uint16_t* a;  // staged, at the first pixel of the first block
  const uint16_t* w;
  int64_t pixel_bytes, block_step, block_rows;  // block_step: elements from one block of pixels to the next
  int64_t channel_blocks, channel_stride, panel_stride;
};

template <int kBlocks, int kPanels>
void multiply_tiles(const TileWork& work, const Taps& taps) {
  static_assert(kBlocks >= 1 && kBlocks <= 3 && kPanels >= 1 && kPanels <= 2);
  const int64_t step = work.block_step, panel = work.panel_stride, pixel = work.pixel_bytes;
  const uint16_t* b = work.w;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t tap = 0; tap < taps.count; ++tap) {
    const uint16_t* a = work.a + taps.offset[tap];
    for (int64_t c = 0; c < work.channel_blocks; ++c, a += work.channel_stride, b += kTileDepth * kPanel) {
      _tile_loadd(7, b, 64);
      _tile_loadd(6, a, pixel);
      _tile_dpbf16ps(0, 6, 7);
      if constexpr (kBlocks > 1) {
        _tile_loadd(6, a + step, pixel);
        _tile_dpbf16ps(1, 6, 7);
      }
      if constexpr (kBlocks > 2) {
        _tile_loadd(6, a + 2 * step, pixel);
        _tile_dpbf16ps(2, 6, 7);
      }
      if constexpr (kPanels > 1) {
        // Down the blocks with the first panel, up again with the second.
        _tile_loadd(7, b + panel, 64);
        if constexpr (kBlocks > 2) {
          _tile_dpbf16ps(5, 6, 7);
          _tile_loadd(6, a + step, pixel);
        }
        if constexpr (kBlocks > 1) {
          _tile_dpbf16ps(4, 6, 7);
          _tile_loadd(6, a, pixel);
        }
        _tile_dpbf16ps(3, 6, 7);
      }
    }
  }
  float* c = work.c;
  constexpr int64_t kBytes = kPanels * kPanel * 4;
  const int64_t down = work.block_rows * kPanels * kPanel;
  _tile_stored(0, c, kBytes);
  if constexpr (kBlocks > 1) _tile_stored(1, c + down, kBytes);
  if constexpr (kBlocks > 2) _tile_stored(2, c + 2 * down, kBytes);
  if constexpr (kPanels > 1) {
    _tile_stored(3, c + kPanel, kBytes);
    if constexpr (kBlocks > 1) _tile_stored(4, c + down + kPanel, kBytes);
    if constexpr (kBlocks > 2) _tile_stored(5, c + 2 * down + kPanel, kBytes);
  }
}

using MultiplyTiles = void (*)(const TileWork&, const Taps&);

void compute(const Call<uint16_t>& call, const Piece& piece, const Taps& taps, const uint16_t* staged,
             int64_t panel_begin, int64_t panel_end, float* partial, float* sums) {
  static constexpr MultiplyTiles kBody[3][2] = {{multiply_tiles<1, 1>, multiply_tiles<1, 2>},
                                                {multiply_tiles<2, 1>, multiply_tiles<2, 2>},
                                                {multiply_tiles<3, 1>, multiply_tiles<3, 2>}};
  const sjd2_conv_shape& s = *call.s;
  const int64_t panel_stride = kPanel * taps.count * conv_depth(s.channels);
  const int64_t blocks = div_up(piece.columns, 16), height = div_up(piece.columns, blocks);
  const Tiles configured(height);
  publish(staged);
  for (int64_t panel = panel_begin; panel < panel_end; panel += 2) {
    const int64_t count = min64(2, panel_end - panel);
    const int64_t column = panel * kPanel, width = min64(count * kPanel, s.out_channels - column);
    TileWork work = {sums,
                     nullptr,
                     call.w + panel * panel_stride,
                     s.stride_width * kChannelBlock * 2,
                     height * s.stride_width * kChannelBlock,
                     height,
                     piece.blocks,
                     piece.block_stride,
                     panel_stride};
    for (int64_t r = 0; r < piece.rows; ++r) {
      work.a = staged + r * s.stride_height * piece.staged_columns * kChannelBlock;
      kBody[blocks - 1][count - 1](work, taps);
      publish(sums);
      float* out = call.out + (((piece.n * s.out_frames + piece.frame) * s.out_height + piece.row + r) * s.out_width +
                               piece.column) *
                                  s.out_channels;
      finish(call, sums, count * kPanel, out, piece.columns, column, width, partial, r == 0);
    }
  }
}

#endif  // __AMX_BF16__

// Mean and variance of every channel from the pieces' sums, in f64 and in the pieces' order.
template <typename T>
void combine(sjd2_stream stream, const Call<T>& call, const Pieces& pieces, const float* partials) {
  const sjd2_conv_shape& s = *call.s;
  const int64_t n_out = s.out_channels;
  parallel_for(stream, s.batch * div_up(n_out, 16), [&](int64_t task) {
    const int64_t picture = task / div_up(n_out, 16), first = task % div_up(n_out, 16) * 16;
    for (int64_t c = first; c < min64(first + 16, n_out); ++c) {
      double count = 0, mean = 0, squares = 0;
      for (int64_t i = 0; i < pieces.per_picture; ++i) {
        const float* partial = partials + (picture * pieces.per_picture + i) * 3 * n_out + c;
        const int64_t band = i / pieces.strips.count % pieces.bands.count, strip = i % pieces.strips.count;
        const auto n = static_cast<double>(pieces.bands.height(band) * pieces.strips.height(strip));
        const double shift = partial[n_out] / n;
        const double here = partial[0] + shift;
        const double spread = partial[2 * n_out] - shift * partial[n_out];
        const double distance = here - mean;
        squares += spread + distance * distance * count * n / (count + n);
        count += n;
        mean += distance * n / count;
      }
      call.moments[(picture * 2) * n_out + c] = static_cast<float>(mean);
      call.moments[(picture * 2 + 1) * n_out + c] = static_cast<float>(squares > 0 ? squares / count : 0);
    }
  });
}

template <typename T>
int32_t convolve(sjd2_stream stream, const Call<T>& call) {
  using S = typename StagedOf<T>::type;
  const sjd2_conv_shape& s = *call.s;
  const Pieces pieces(s, sizeof(S));
  if (pieces.count == 0) return SJD2_OK;
  const int64_t n_out = s.out_channels, panels = div_up(n_out, kPanel);
  float* partials = nullptr;
  if (call.moments != nullptr) {
    partials = static_cast<float*>(call_scratch(stream, 0, pieces.count * 3 * n_out * 4));
    if (partials == nullptr) return fail(SJD2_OUT_OF_MEMORY, "conv: no memory for the moments of %lld pieces",
                                         static_cast<long long>(pieces.count));
  }
  // Few pieces are cut along outputs as well, at the price of staging their input again.
  const int64_t pairs = div_up(panels, 2);
  const int64_t wanted = thread_count(stream) > 1 ? thread_count(stream) * 4 : 1;
  const int64_t parts = max64(1, min64(div_up(pairs, 2), div_up(wanted, pieces.count)));
  // Scratch is sized for the largest piece and taken before the work starts, where a failure can still be reported.
  const auto describe = [&](int64_t index) {
    Piece piece;
    const int64_t strip = index % pieces.strips.count, band = index / pieces.strips.count % pieces.bands.count;
    piece.n = index / pieces.per_picture;
    piece.frame = index / (pieces.strips.count * pieces.bands.count) % pieces.frames;
    piece.row = pieces.bands.begin(band);
    piece.rows = pieces.bands.height(band);
    piece.column = pieces.strips.begin(strip);
    piece.columns = pieces.strips.height(strip);
    // Tiles are of one height, so the last may reach beyond the piece, into columns that are staged but not written.
    const int64_t reach = kTiles && sizeof(T) == 2
                              ? div_up(piece.columns, 16) * div_up(piece.columns, div_up(piece.columns, 16))
                              : piece.columns;
    piece.staged_frames = s.kernel_frames;
    piece.staged_rows = (piece.rows - 1) * s.stride_height + s.kernel_height;
    piece.staged_columns = (reach - 1) * s.stride_width + s.kernel_width;
    piece.blocks = div_up(s.channels, kChannelBlock);
    piece.block_stride = piece.staged_frames * piece.staged_rows * piece.staged_columns * kChannelBlock;
    return piece;
  };
  int64_t largest = 0;
  for (int64_t i = 0; i < min64(pieces.per_picture, pieces.strips.count * pieces.bands.count); ++i) {
    const Piece piece = describe(i);
    largest = max64(largest, piece.blocks * piece.block_stride);
  }
  const int64_t sums_bytes = max64(kPieceColumns * 2 * kPanel, kMaxRows * kGroupColumns) * 4;
  const int64_t bytes = sums_bytes + round_up(largest * static_cast<int64_t>(sizeof(S)), 64);
  for (int64_t thread = 0; thread < thread_count(stream); ++thread) {
    if (thread_scratch(stream, thread, bytes) == nullptr) {
      return fail(SJD2_OUT_OF_MEMORY, "conv: no memory for %lld bytes of staged input", static_cast<long long>(bytes));
    }
  }
  parallel_for(stream, pieces.count * parts, [&](int64_t task) {
    const Piece piece = describe(task / parts);
    const Taps taps(s, piece);
    auto* scratch = static_cast<char*>(thread_scratch(stream, thread_index(), bytes));
    auto* sums = reinterpret_cast<float*>(scratch);
    auto* staged = reinterpret_cast<S*>(scratch + sums_bytes);
    stage<T>(call, piece, staged);
    const Part part = part_of(pairs, task % parts, parts);
    float* partial = partials != nullptr ? partials + task / parts * 3 * n_out : nullptr;
    compute(call, piece, taps, staged, part.begin * 2, min64(part.end * 2, panels), partial, sums);
  });
  if (partials != nullptr) combine(stream, call, pieces, partials);
  return SJD2_OK;
}

}  // namespace

int32_t conv_f32(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm, const float* map,
                 const float* w, const float* bias, const sjd2_conv_shape* shape) {
  return convolve<float>(stream, {out, moments, x, norm, map, w, bias, shape});
}

int32_t conv_bf16(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm, const float* map,
                  const uint16_t* w, const float* bias, const sjd2_conv_shape* shape) {
  return convolve<uint16_t>(stream, {out, moments, x, norm, map, w, bias, shape});
}

}  // namespace sjd2::SJD2_ISA
