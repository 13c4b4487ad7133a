// conv: a convolution in space and time as a product of matrices that are never written (an implicit GEMM).
//
// The output is cut into pieces of 8 x 16 pixels of one frame. A block takes one piece and 64 output channels. It stages the
// input that the piece sees, channels by channels, normalised, modulated, activated, enlarged and rounded, with zeros around
// the picture: each input once for all taps of a frame, which then only move a pointer. Every output is one chain of
// multiply-adds, over blocks of channels, taps in time, taps in space and channels in ascending order: nothing beside it
// shows in its bits.
//
// Moments are sums of differences from a piece's first pixel, which do not cancel where the mean is large; pieces are put
// together in f64 in a fixed order (means and squared distances of two parts give those of the whole).
#include "check.h"
#include "device/reduce.cuh"
#include "device/tensor_core.cuh"
#include "layout.h"

namespace sjd2::cuda {
namespace {

constexpr int kPieceRows = 8, kPieceColumns = 16;
constexpr int kOutputs = 64;  // output channels of a block
constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kGroup = 8;  // channels that a thread stages at a time: 16 bytes in bf16
constexpr int64_t kMaxSharedBytes = 99 << 10;  // what sm_86 gives a block

template <typename T>
struct ConvCall {
  float* out;
  float* moments;
  float* partial;  // [pieces][3][out_channels]: first pixel, sum of differences from it, sum of their squares; or NULL
  const float* x;
  const float* norm;
  const float* map;
  const T* w;
  const float* bias;
  sjd2_conv_shape s;
  int64_t depth;          // of one tap in w
  int64_t bands, strips;  // pieces of a frame along height and width

  __host__ __device__ int64_t pieces_of_picture() const { return s.out_frames * bands * strips; }
  __host__ __device__ int32_t taps() const { return s.kernel_height * s.kernel_width; }  // in space
  // What a piece sees of one frame, in pixels of the enlarged picture.
  __host__ __device__ int32_t seen_columns() const { return (kPieceColumns - 1) * s.stride_width + s.kernel_width; }
  __host__ __device__ int32_t seen_rows() const { return (kPieceRows - 1) * s.stride_height + s.kernel_height; }
};

struct Piece {
  int64_t n, frame, row, column;
  int32_t rows, columns;  // inside of the picture

  template <typename T>
  __device__ Piece(const ConvCall<T>& call, int64_t index) {
    const int64_t strip = index % call.strips, band = index / call.strips % call.bands;
    n = index / call.pieces_of_picture();
    frame = index / (call.strips * call.bands) % call.s.out_frames;
    row = band * kPieceRows;
    column = strip * kPieceColumns;
    rows = static_cast<int32_t>(min64(kPieceRows, call.s.out_height - row));
    columns = static_cast<int32_t>(min64(kPieceColumns, call.s.out_width - column));
  }
};

// Index of the element that position `at` of the enlarged picture shows, or -1 outside.
__device__ __forceinline__ int64_t shown_element(int64_t at, int32_t enlarge, int64_t extent) {
  return at >= 0 && at < extent * enlarge ? (enlarge == 1 ? at : at >> 1) : -1;
}

// Channels [channel, channel + 8) of one pixel as they enter the products, zeros behind the last.
template <typename T>
__device__ __forceinline__ void load_channels(float (&values)[kGroup], const ConvCall<T>& call, const Piece& piece, int64_t frame,
                                              int64_t y, int64_t x, int64_t channel) {
  const sjd2_conv_shape& s = call.s;
  const float* source = call.x + (((piece.n * s.frames + frame) * s.height + y) * s.width + x) * s.channels;
  const float* norm = call.norm != nullptr ? call.norm + piece.n * 3 * s.channels : nullptr;
  const float* map = nullptr;
  if (call.map != nullptr) {
    const int64_t map_row = y * s.map_height / s.height, map_column = x * s.map_width / s.width;
    map = call.map + ((piece.n * s.map_height + map_row) * s.map_width + map_column) * 2 * s.channels;
  }
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const int64_t c = channel + i;
    float v = 0.0f;
    if (c < s.channels) {
      v = source[c];
      if (norm != nullptr) v = fmaf(v - norm[c], norm[s.channels + c], norm[2 * s.channels + c]);
      if (map != nullptr) v = fmaf(v, map[c], map[s.channels + c]);
      if (s.swish != 0) v = v / (1.0f + expf(-v));
    }
    values[i] = v;
  }
}

// kChannels channels from `channel` on of everything that the piece sees through tap `frame_tap` in time; put(pixel, group,
// values) stores eight channels. Every thread of the block takes part.
template <int kChannels, typename T, typename Put>
__device__ __forceinline__ void stage(const ConvCall<T>& call, const Piece& piece, int32_t frame_tap, int64_t channel, Put&& put) {
  constexpr int kGroups = kChannels / kGroup;
  const sjd2_conv_shape& s = call.s;
  const int64_t frame =
      shown_element(piece.frame * s.stride_frames + frame_tap - s.pad_frames, s.enlarge_frames, s.frames);
  const int32_t rows = (piece.rows - 1) * s.stride_height + s.kernel_height;
  const int32_t columns = (piece.columns - 1) * s.stride_width + s.kernel_width;
  const int32_t line = call.seen_columns();
#pragma unroll 1
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < rows * columns * kGroups; i += kThreads) {
    const int32_t group = i % kGroups, r = i / kGroups / columns, c = i / kGroups % columns;
    const int64_t y = shown_element(piece.row * s.stride_height + r - s.pad_height, s.enlarge_space, s.height);
    const int64_t x = shown_element(piece.column * s.stride_width + c - s.pad_width, s.enlarge_space, s.width);
    float values[kGroup] = {};
    if (frame >= 0 && y >= 0 && x >= 0) load_channels(values, call, piece, frame, y, x, channel + group * kGroup);
    put(r * line + c, group, values);
  }
}

// Bias, what was there before, the store; returns what was written.
template <typename T>
__device__ __forceinline__ float write_pixel(const ConvCall<T>& call, const Piece& piece, int32_t row, int32_t column,
                                             int64_t channel, float value) {
  const sjd2_conv_shape& s = call.s;
  const int64_t pixel =
      ((piece.n * s.out_frames + piece.frame) * s.out_height + piece.row + row) * s.out_width + piece.column + column;
  float* target = call.out + pixel * s.out_channels + channel;
  if (call.bias != nullptr) value += call.bias[channel];
  if (s.accumulate != 0) value += *target;
  *target = value;
  return value;
}

struct MomentsShared {
  float pivot[kOutputs];
  float sums[kWarps][2][kOutputs];
};

// The warps' sums, in their order, to the piece's place.
template <typename T>
__device__ __forceinline__ void write_partial(const ConvCall<T>& call, const MomentsShared& moments, int64_t first_output) {
  const int64_t n_out = call.s.out_channels, output = first_output + threadIdx.x;
  if (threadIdx.x >= kOutputs || output >= n_out) return;
  float sum = 0.0f, squares = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    sum += moments.sums[warp][0][threadIdx.x];
    squares += moments.sums[warp][1][threadIdx.x];
  }
  float* target = call.partial + blockIdx.x * 3 * n_out + output;
  target[0] = moments.pivot[threadIdx.x];
  target[n_out] = sum;
  target[2 * n_out] = squares;
}

// ---------------------------------------------------------------------------------------------------------------------
// bf16: tensor cores
// ---------------------------------------------------------------------------------------------------------------------

constexpr int kTensorChannels = 32;  // of a stage: 64 bytes a pixel
constexpr int kStages = 3;           // of weights

struct TensorShared {
  union {
    uint16_t w[kStages][kOutputs * kTensorChannels];
    MomentsShared moments;  // when the products are done
  };
  // Behind it: what the piece sees of a frame, [seen_rows][seen_columns][32].
  __device__ uint16_t* seen() { return reinterpret_cast<uint16_t*>(this + 1); }
};

// Element offset of 16-byte piece `piece` (0..3) of row `row` of 32 numbers. Two rows lie in 128 bytes; the pieces of each
// pair of rows are exchanged, so that the eight neighbouring rows that ldmatrix reads lie in different banks.
__device__ __forceinline__ int swizzled_half(int row, int piece) { return row * 32 + ((piece ^ (row >> 1 & 3)) << 3); }

// A block owns 8 x 16 pixels times 64 outputs, a warp two of the rows (its index and that plus four) times all 64, a lane
// what mma.m16n8k16 gives it: the 16 pixels of a row are the 16 rows of a fragment.
//   shared     three stages of weights [64][32] bf16, swizzled: 12 KB; the input that the piece sees, 64 bytes a pixel: 11 KB
//              for 3 x 3 taps, 49 KB for the largest; then, in the weights' place, each warp's moments
//   registers  64 sums
//   bytes      x once per 64 outputs, times the piece's margin (1.4 for 3 x 3): 4 (8 + 2) (16 + 2) C; weights once per piece:
//              128 C taps; out 4 or, added to, 8;  FLOP  2 C taps a pixel and output
//   source     the sum of kernels.h, in the order that the head of this file gives
// Weights are fetched two taps ahead. The input is not: it passes through registers to be activated, and other blocks of the
// multiprocessor compute meanwhile.
__global__ void __launch_bounds__(kThreads) conv_tensor_kernel(const ConvCall<uint16_t> call) {
  SJD2_SHARED(TensorShared, shared);
  const sjd2_conv_shape& s = call.s;
  const Piece piece(call, blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t first_output = static_cast<int64_t>(blockIdx.y) * kOutputs;
  const auto width = static_cast<int32_t>(min64(kOutputs, s.out_channels - first_output));
  const int32_t taps = call.taps(), line = call.seen_columns();
  const int64_t all_taps = static_cast<int64_t>(taps) * s.kernel_frames, row_elements = all_taps * call.depth;
  const int64_t steps = div_up(s.channels, kTensorChannels) * all_taps;
  uint16_t* const seen = shared.seen();

  const auto fetch = [&](int64_t step) {
    const int64_t tap = step % all_taps, channel = step / all_taps * kTensorChannels;
    for (int i = thread; i < kOutputs * 4; i += kThreads) {
      const int output = i / 4, part = i % 4;
      const bool present = output < width;
      const uint16_t* from =
          call.w + (present ? (first_output + output) * row_elements + tap * call.depth + channel + part * 8 : 0);
      copy_async(shared.w[step % kStages] + swizzled_half(output, part), from, present);
    }
  };

  float sums[2][kOutputs / 8][4] = {};
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) fetch(step);
    copy_commit();
  }
  // The 16 pixels of a row; those outside of the picture take the last one's place and are not written.
  const int32_t mine = lane % 16 < piece.columns ? lane % 16 : piece.columns - 1;
#pragma unroll 1
  for (int64_t step = 0; step < steps; ++step) {
    const auto tap = static_cast<int32_t>(step % taps);
    if (tap == 0) {
      const auto frame_tap = static_cast<int32_t>(step / taps % s.kernel_frames);
      __syncthreads();  // nobody reads what was staged before
      stage<kTensorChannels>(call, piece, frame_tap, step / all_taps * kTensorChannels,
                             [&](int32_t pixel, int32_t group, const float(&v)[kGroup]) {
                               uint4 packed;
                               packed.x = pair_bf16(v[0], v[1]);
                               packed.y = pair_bf16(v[2], v[3]);
                               packed.z = pair_bf16(v[4], v[5]);
                               packed.w = pair_bf16(v[6], v[7]);
                               *reinterpret_cast<uint4*>(seen + swizzled_half(pixel, group)) = packed;
                             });
    }
    copy_wait<kStages - 2>();
    // Behind it this step's weights and what was staged are there for every thread, and nobody reads the stage that is
    // filled next any more.
    __syncthreads();
    if (step + kStages - 1 < steps) fetch(step + kStages - 1);
    copy_commit();
    const uint16_t* w = shared.w[step % kStages];
    const int32_t tap_row = tap / s.kernel_width, tap_column = tap % s.kernel_width;
    const int32_t first_pixel = (warp * s.stride_height + tap_row) * line + mine * s.stride_width + tap_column;
    const int32_t second_pixel = first_pixel + 4 * s.stride_height * line;
    const bool first_there = warp < piece.rows, second_there = warp + 4 < piece.rows;
#pragma unroll
    for (int k = 0; k < kTensorChannels / 16; ++k) {
      uint32_t a[2][4] = {};
      if (first_there) load_matrices(a[0], seen + swizzled_half(first_pixel, 2 * k + lane / 16));
      if (second_there) load_matrices(a[1], seen + swizzled_half(second_pixel, 2 * k + lane / 16));
#pragma unroll
      for (int j = 0; j < kOutputs / 16; ++j) {
        if (j * 16 >= width) continue;
        uint32_t b[4];
        load_matrices(b, w + swizzled_half(j * 16 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
        if (first_there) {
          mma_bf16(sums[0][2 * j], a[0], b[0], b[1]);
          mma_bf16(sums[0][2 * j + 1], a[0], b[2], b[3]);
        }
        if (second_there) {
          mma_bf16(sums[1][2 * j], a[1], b[0], b[1]);
          mma_bf16(sums[1][2 * j + 1], a[1], b[2], b[3]);
        }
      }
    }
  }

  const auto present = [&](int t, int i) { return warp + 4 * t < piece.rows && lane / 4 + i / 2 * 8 < piece.columns; };
#pragma unroll
  for (int t = 0; t < 2; ++t) {
#pragma unroll
    for (int j = 0; j < kOutputs / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int output = j * 8 + lane % 4 * 2 + i % 2;
        if (!present(t, i) || output >= width) continue;
        sums[t][j][i] =
            write_pixel(call, piece, warp + 4 * t, lane / 4 + i / 2 * 8, first_output + output, sums[t][j][i]);
      }
    }
  }
  if (call.partial == nullptr) return;
  copy_wait<0>();
  __syncthreads();  // the weights' place is free
  MomentsShared& moments = shared.moments;
  if (warp == 0 && lane < 4) {
#pragma unroll
    for (int j = 0; j < kOutputs / 8; ++j) {
      moments.pivot[j * 8 + lane * 2] = sums[0][j][0];
      moments.pivot[j * 8 + lane * 2 + 1] = sums[0][j][1];
    }
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kOutputs / 8; ++j) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int output = j * 8 + lane % 4 * 2 + h;
      const float pivot = moments.pivot[output];
      float sum = 0.0f, squares = 0.0f;
#pragma unroll
      for (int t = 0; t < 2; ++t) {
#pragma unroll
        for (int i = h; i < 4; i += 2) {
          if (!present(t, i)) continue;
          const float d = sums[t][j][i] - pivot;
          sum += d;
          squares = fmaf(d, d, squares);
        }
      }
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2) {
        sum += __shfl_xor_sync(kWholeWarp, sum, distance);
        squares += __shfl_xor_sync(kWholeWarp, squares, distance);
      }
      if (lane < 4) {
        moments.sums[warp][0][output] = sum;
        moments.sums[warp][1][output] = squares;
      }
    }
  }
  __syncthreads();
  write_partial(call, moments, first_output);
}

// ---------------------------------------------------------------------------------------------------------------------
// f32: multiply-adds
// ---------------------------------------------------------------------------------------------------------------------

constexpr int kPlainChannels = 16;
constexpr int kPlainRow = kPlainChannels + 1;  // pixels that a warp reads at once lie in different banks
constexpr int kThreadPixels = 8, kThreadOutputs = 8;

struct PlainShared {
  float w[kOutputs * kPlainRow];
  MomentsShared moments;
  // Behind it: what the piece sees of a frame, [seen_rows][seen_columns][17].
  __device__ float* seen() { return reinterpret_cast<float*>(this + 1); }
};

// A block owns 8 x 16 pixels times 64 outputs, a thread half a row of eight pixels times every eighth output.
//   shared     16 channels of one tap of the weights [64][17]: 4 KB; the input that the piece sees, 68 bytes a pixel; moments
//   registers  64 sums
//   bytes      as above with weights of 4 bytes;  FLOP  2 C taps a pixel and output
//   source     as above
__global__ void __launch_bounds__(kThreads) conv_plain_kernel(const ConvCall<float> call) {
  SJD2_SHARED(PlainShared, shared);
  const sjd2_conv_shape& s = call.s;
  const Piece piece(call, blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int own_output = thread % kThreadOutputs, own_row = thread / 16, own_column = thread / 8 % 2 * kThreadPixels;
  const int64_t first_output = static_cast<int64_t>(blockIdx.y) * kOutputs;
  const auto width = static_cast<int32_t>(min64(kOutputs, s.out_channels - first_output));
  const int32_t taps = call.taps(), line = call.seen_columns();
  const int64_t all_taps = static_cast<int64_t>(taps) * s.kernel_frames, row_elements = all_taps * call.depth;
  const int64_t steps = div_up(s.channels, kPlainChannels) * all_taps;
  float* const seen = shared.seen();
  const bool there = own_row < piece.rows && own_column < piece.columns;

  float sums[kThreadPixels][kThreadOutputs] = {};
#pragma unroll 1
  for (int64_t step = 0; step < steps; ++step) {
    const auto tap = static_cast<int32_t>(step % taps);
    const int64_t channel = step / all_taps * kPlainChannels;
    __syncthreads();
    if (tap == 0) {
      stage<kPlainChannels>(call, piece, static_cast<int32_t>(step / taps % s.kernel_frames), channel,
                            [&](int32_t pixel, int32_t group, const float(&v)[kGroup]) {
#pragma unroll
                              for (int i = 0; i < kGroup; ++i) seen[pixel * kPlainRow + group * kGroup + i] = v[i];
                            });
    }
    for (int i = thread; i < kOutputs * kPlainChannels; i += kThreads) {
      const int output = i / kPlainChannels, c = i % kPlainChannels;
      shared.w[output * kPlainRow + c] =
          output < width ? call.w[(first_output + output) * row_elements + step % all_taps * call.depth + channel + c] : 0.0f;
    }
    __syncthreads();
    if (!there) continue;
    const int32_t tap_row = tap / s.kernel_width, tap_column = tap % s.kernel_width;
    const float* pixels[kThreadPixels];
#pragma unroll
    for (int p = 0; p < kThreadPixels; ++p) {
      const int32_t column = own_column + p < piece.columns ? own_column + p : piece.columns - 1;
      pixels[p] = seen + ((own_row * s.stride_height + tap_row) * line + column * s.stride_width + tap_column) * kPlainRow;
    }
    const int depth = static_cast<int>(min64(kPlainChannels, s.channels - channel));
#pragma unroll 1
    for (int c = 0; c < depth; ++c) {
      float w[kThreadOutputs];
#pragma unroll
      for (int o = 0; o < kThreadOutputs; ++o) w[o] = shared.w[(own_output + 8 * o) * kPlainRow + c];
#pragma unroll
      for (int p = 0; p < kThreadPixels; ++p) {
        const float x = pixels[p][c];
#pragma unroll
        for (int o = 0; o < kThreadOutputs; ++o) sums[p][o] = fmaf(x, w[o], sums[p][o]);
      }
    }
  }

#pragma unroll
  for (int p = 0; p < kThreadPixels; ++p) {
#pragma unroll
    for (int o = 0; o < kThreadOutputs; ++o) {
      const int output = own_output + 8 * o;
      if (!there || own_column + p >= piece.columns || output >= width) continue;
      sums[p][o] = write_pixel(call, piece, own_row, own_column + p, first_output + output, sums[p][o]);
    }
  }
  if (call.partial == nullptr) return;
  MomentsShared& moments = shared.moments;
  if (thread < kThreadOutputs) {
#pragma unroll
    for (int o = 0; o < kThreadOutputs; ++o) moments.pivot[own_output + 8 * o] = sums[0][o];
  }
  __syncthreads();
#pragma unroll
  for (int o = 0; o < kThreadOutputs; ++o) {
    const int output = own_output + 8 * o;
    const float pivot = moments.pivot[output];
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int p = 0; p < kThreadPixels; ++p) {
      if (!there || own_column + p >= piece.columns) continue;
      const float d = sums[p][o] - pivot;
      sum += d;
      squares = fmaf(d, d, squares);
    }
#pragma unroll
    for (int distance = 8; distance < 32; distance *= 2) {
      sum += __shfl_xor_sync(kWholeWarp, sum, distance);
      squares += __shfl_xor_sync(kWholeWarp, squares, distance);
    }
    if (lane < kThreadOutputs) {
      moments.sums[warp][0][output] = sum;
      moments.sums[warp][1][output] = squares;
    }
  }
  __syncthreads();
  write_partial(call, moments, first_output);
}

// ---------------------------------------------------------------------------------------------------------------------

// Count, mean and summed squared distances from it of some pixels of a channel.
struct Spread {
  double count, mean, squares;

  __device__ __forceinline__ void add(double n, double other_mean, double other_squares) {
    if (n == 0) return;
    const double total = count + n, distance = other_mean - mean;
    squares += other_squares + distance * distance * (count * n / total);
    mean += distance * (n / total);
    count = total;
  }
};

constexpr int kMomentThreads = 128;

// A warp owns one channel of one picture, a lane every 32nd of its pieces; lanes are put together by halves.
//   bytes      12 a piece and channel
//   FLOP       some 10 a piece and channel, in f64
//   source     the head of this file
template <typename T>
__global__ void __launch_bounds__(kMomentThreads) conv_moments_kernel(const ConvCall<T> call) {
  const int64_t n_out = call.s.out_channels, lane = threadIdx.x % 32;
  const int64_t task = (static_cast<int64_t>(blockIdx.x) * kMomentThreads + threadIdx.x) / 32;
  if (task >= call.s.batch * n_out) return;
  const int64_t picture = task / n_out, channel = task % n_out, pieces = call.pieces_of_picture();
  Spread own = {0.0, 0.0, 0.0};
  for (int64_t i = lane; i < pieces; i += 32) {
    const Piece piece(call, picture * pieces + i);
    const float* partial = call.partial + (picture * pieces + i) * 3 * n_out + channel;
    const double n = static_cast<double>(piece.rows) * piece.columns, shift = partial[n_out] / n;
    own.add(n, partial[0] + shift, partial[2 * n_out] - shift * partial[n_out]);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const double n = __shfl_xor_sync(kWholeWarp, own.count, distance);
    const double mean = __shfl_xor_sync(kWholeWarp, own.mean, distance);
    const double squares = __shfl_xor_sync(kWholeWarp, own.squares, distance);
    own.add(n, mean, squares);
  }
  if (lane != 0) return;
  call.moments[2 * picture * n_out + channel] = static_cast<float>(own.mean);
  call.moments[(2 * picture + 1) * n_out + channel] = static_cast<float>(own.squares > 0 ? own.squares / own.count : 0.0);
}

int32_t launch_products(sjd2_stream stream, const ConvCall<uint16_t>& call, dim3 grid) {
  const int64_t pixels = int64_t{call.seen_rows()} * call.seen_columns();
  const auto bytes = sizeof(TensorShared) + static_cast<size_t>(pixels * kTensorChannels * 2);
  static_assert(sizeof(TensorShared) + 21 * 37 * kTensorChannels * 2 <= kMaxSharedBytes);
  SJD2_LAUNCH(conv_tensor_kernel, grid, dim3(kThreads), bytes, stream, call);
  return SJD2_OK;
}

int32_t launch_products(sjd2_stream stream, const ConvCall<float>& call, dim3 grid) {
  const int64_t pixels = int64_t{call.seen_rows()} * call.seen_columns();
  const auto bytes = sizeof(PlainShared) + static_cast<size_t>(pixels * kPlainRow * 4);
  static_assert(sizeof(PlainShared) + 21 * 37 * kPlainRow * 4 <= kMaxSharedBytes);
  SJD2_LAUNCH(conv_plain_kernel, grid, dim3(kThreads), bytes, stream, call);
  return SJD2_OK;
}

void check_shape(Check& check, const sjd2_conv_shape& s, bool mapped) {
  constexpr int64_t kLongest = int64_t{1} << 40, kExtent = 1 << 20;
  check.within("batch", s.batch, 0, kLongest).within("frames", s.frames, 1, kExtent).within("height", s.height, 1, kExtent);
  check.within("width", s.width, 1, kExtent).within("channels", s.channels, 1, kExtent);
  check.within("out_frames", s.out_frames, 0, kExtent).within("out_height", s.out_height, 0, kExtent);
  check.within("out_width", s.out_width, 0, kExtent).within("out_channels", s.out_channels, 1, kExtent);
  check.within("kernel_frames", s.kernel_frames, 1, 7).within("kernel_height", s.kernel_height, 1, 7);
  check.within("kernel_width", s.kernel_width, 1, 7).within("stride_frames", s.stride_frames, 1, 2);
  check.within("stride_height", s.stride_height, 1, 2).within("stride_width", s.stride_width, 1, 2);
  check.within("pad_frames", s.pad_frames, 0, 7).within("pad_height", s.pad_height, 0, 7);
  check.within("pad_width", s.pad_width, 0, 7).within("enlarge_frames", s.enlarge_frames, 1, 2);
  check.within("enlarge_space", s.enlarge_space, 1, 2).within("map_height", s.map_height, mapped ? 1 : 0, kExtent);
  check.within("map_width", s.map_width, mapped ? 1 : 0, kExtent);
}

template <typename T>
int32_t launch_conv(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm, const float* map,
                    const T* w, const float* bias, const sjd2_conv_shape* shape) {
  Check check("conv");
  check.not_null(stream, out, x, w, shape);
  if (check.ok()) check_shape(check, *shape, map != nullptr);
  if (!check.ok()) return check.status();
  const int64_t bands = div_up(shape->out_height, kPieceRows), strips = div_up(shape->out_width, kPieceColumns);
  ConvCall<T> call = {out, moments, nullptr, x, norm, map, w, bias, *shape, conv_depth(shape->channels), bands, strips};
  const int64_t of_picture = call.pieces_of_picture(), n_out = shape->out_channels;
  if (shape->batch == 0 || of_picture == 0) return SJD2_OK;
  if (shape->batch > 0x7FFFFFFF / of_picture) {
    return fail(SJD2_BAD_SHAPE, "conv: %lld pictures of %lld pieces are more than a launch can hold",
                static_cast<long long>(shape->batch), static_cast<long long>(of_picture));
  }
  const int64_t pieces = shape->batch * of_picture, bytes = pieces * 3 * n_out * 4;
  if (moments != nullptr) {
    if (bytes > kWorkspaceBytes) {
      return fail(SJD2_OUT_OF_MEMORY, "conv: the moments of %lld pieces need a workspace of %lld bytes, there are %lld",
                  static_cast<long long>(pieces), static_cast<long long>(bytes), static_cast<long long>(kWorkspaceBytes));
    }
    call.partial = reinterpret_cast<float*>(stream->workspace);
  }
  const dim3 grid(static_cast<uint32_t>(pieces), static_cast<uint32_t>(div_up(n_out, kOutputs)));
  const int32_t status = launch_products(stream, call, grid);
  if (status != SJD2_OK || moments == nullptr) return status;
  SJD2_LAUNCH(conv_moments_kernel<T>, dim3(static_cast<uint32_t>(div_up(shape->batch * n_out * 32, kMomentThreads))),
              dim3(kMomentThreads), 0, stream, call);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_conv_f32(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm,
                                  const float* map, const float* w, const float* bias, const sjd2_conv_shape* shape) {
  return sjd2::cuda::launch_conv(stream, out, moments, x, norm, map, w, bias, shape);
}

SJD2_EXPORT int32_t sjd2_conv_bf16(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm,
                                   const float* map, const uint16_t* w, const float* bias, const sjd2_conv_shape* shape) {
  return sjd2::cuda::launch_conv(stream, out, moments, x, norm, map, w, bias, shape);
}
