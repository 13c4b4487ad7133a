// vq_attention: one head over all positions of a picture, out of matmul.
//
// A head has some hundred channels, too many for the registers of a fused kernel, and a picture a few thousand positions,
// whose scores fit memory: keys and transposed values become packed weights, and blocks of queries pass through scores,
// softmax and product. The products are matmul's: tensor cores in bf16, a row's bits the same whatever is beside it.
#include "check.h"
#include "device/reduce.cuh"
#include "layout.h"

namespace sjd2::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kTileThreads = 256;
constexpr int kSoftmaxThreads = 256;

struct TransposeShared {
  float tile[kTile][kTile + 1];  // its columns lie in different banks
};

// A block owns 32 positions times 32 channels of one third of qkv, a thread four of them.
//   blockIdx.z 0: queries to [rows][channels], only those of [first, first + rows)
//              1: keys to [positions][depth of channels]     2: values to [channels][depth of positions]; zeros behind both
//   shared     the values' tile, turned over
//   bytes      4 read and sizeof(T) written an element
//   source     kernels.h: what makes the two products those of matmul
template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    vq_attention_pack_kernel(T* queries, T* keys, T* values, const float* qkv, int64_t first, int64_t rows, int64_t positions,
                             int64_t channels, int64_t key_depth, int64_t value_depth) {
  SJD2_SHARED(TransposeShared, shared);
  const int64_t p0 = first + static_cast<int64_t>(blockIdx.x) * kTile, c0 = static_cast<int64_t>(blockIdx.y) * kTile;
  const int third = static_cast<int>(blockIdx.z), column = static_cast<int>(threadIdx.x % kTile);
  for (int i = static_cast<int>(threadIdx.x / kTile); i < kTile; i += kTileThreads / kTile) {
    const int64_t p = p0 + i, c = c0 + column;
    const float v = p < positions && c < channels ? qkv[(p * 3 + third) * channels + c] : 0.0f;
    if (third == 0) {
      if (p >= first && p < first + rows && c < channels) store_from_float(queries + (p - first) * channels + c, v);
    } else if (third == 1) {
      if (p < positions && c < key_depth) store_from_float(keys + p * key_depth + c, v);
    } else {
      shared.tile[i][column] = v;
    }
  }
  if (third != 2) return;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x / kTile); i < kTile; i += kTileThreads / kTile) {
    const int64_t c = c0 + i, p = p0 + column;
    if (c < channels && p < value_depth) store_from_float(values + c * value_depth + p, shared.tile[column][i]);
  }
}

struct SoftmaxShared {
  float partial[kMaxWarps];
};

// A block owns one row of scores, a thread every 256th of them; the row is read three times, the last two from the caches.
//   shared     one partial result per warp
//   bytes      4 positions read, sizeof(T) written
//   FLOP       some 20 a score, most of it one exponential
//   source     kernels.h: softmax from the largest score on
template <typename T>
__global__ void __launch_bounds__(kSoftmaxThreads)
    vq_attention_softmax_kernel(T* weights, const float* scores, int64_t positions, float scale) {
  SJD2_SHARED(SoftmaxShared, shared);
  const float* row = scores + blockIdx.x * positions;
  float top = -infinity();
  for (int64_t i = threadIdx.x; i < positions; i += kSoftmaxThreads) top = Largest()(row[i], top);
  top = block_reduce(top, shared.partial, Largest()) * scale;
  float total = 0.0f;
#pragma unroll 1
  for (int64_t i = threadIdx.x; i < positions; i += kSoftmaxThreads) total += expf(fmaf(row[i], scale, -top));
  const float inverse = 1.0f / block_reduce(total, shared.partial, Sum());
  T* out = weights + blockIdx.x * positions;
#pragma unroll 1
  for (int64_t i = threadIdx.x; i < positions; i += kSoftmaxThreads) {
    store_from_float(out + i, expf(fmaf(row[i], scale, -top)) * inverse);
  }
}

int32_t multiply(sjd2_stream stream, float* out, const float* x, const float* w, int64_t rows, int64_t n_out, int64_t n_in) {
  return sjd2_matmul_f32(stream, out, x, w, nullptr, nullptr, rows, 1, n_out, n_in, 0);
}
int32_t multiply(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w, int64_t rows, int64_t n_out,
                 int64_t n_in) {
  return sjd2_matmul_bf16(stream, out, x, w, nullptr, nullptr, rows, 1, n_out, n_in, 0);
}

template <typename T>
int32_t launch_vq_attention(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions,
                            int64_t channels, float scale) {
  Check check("vq_attention");
  check.not_null(stream, out, qkv).within("batch", batch, 0, int64_t{1} << 40).within("positions", positions, 0, 1 << 24);
  check.within("channels", channels, 1, 1 << 20).positive("scale", scale);
  if (!check.ok() || batch == 0 || positions == 0) return check.status();
  constexpr int64_t kAlign = 256, kBytes = sizeof(T);
  const int64_t key_depth = padded_depth(channels), value_depth = padded_depth(positions);
  const int64_t key_bytes = round_up(positions * key_depth * kBytes, kAlign);
  const int64_t value_bytes = round_up(channels * value_depth * kBytes, kAlign);
  const auto block_bytes = [&](int64_t rows) {
    return round_up(rows * channels * kBytes, kAlign) + round_up(rows * positions * 4, kAlign) +
           round_up(rows * positions * kBytes, kAlign);
  };
  // Whole tiles of matmul's 128 rows, as many as there is room for.
  int64_t block = round_up(positions, 128);
  while (block > 128 && key_bytes + value_bytes + block_bytes(block) > kWorkspaceBytes) block = round_up(block / 2, 128);
  const int64_t needed = key_bytes + value_bytes + block_bytes(block);
  if (needed > kWorkspaceBytes) {
    return fail(SJD2_OUT_OF_MEMORY, "vq_attention: %lld positions of %lld channels need a workspace of %lld bytes, there are %lld",
                static_cast<long long>(positions), static_cast<long long>(channels), static_cast<long long>(needed),
                static_cast<long long>(kWorkspaceBytes));
  }
  char* at = stream->workspace;
  T* keys = reinterpret_cast<T*>(at);
  T* values = reinterpret_cast<T*>(at += key_bytes);
  T* queries = reinterpret_cast<T*>(at += value_bytes);
  auto* scores = reinterpret_cast<float*>(at += round_up(block * channels * kBytes, kAlign));
  T* weights = reinterpret_cast<T*>(at + round_up(block * positions * 4, kAlign));
  const auto tiles = [](int64_t extent) { return static_cast<uint32_t>(div_up(extent, kTile)); };
  for (int64_t n = 0; n < batch; ++n) {
    const float* picture = qkv + n * positions * 3 * channels;
    for (int64_t first = 0; first < positions; first += block) {
      const int64_t rows = min64(block, positions - first);
      // Keys and values once per picture, with the first block of queries.
      const dim3 grid(tiles(first == 0 ? value_depth : rows), tiles(first == 0 ? key_depth : channels),
                      first == 0 ? 3 : 1);
      SJD2_LAUNCH(vq_attention_pack_kernel<T>, grid, dim3(kTileThreads), sizeof(TransposeShared), stream, queries, keys,
                  values, picture, first, rows, positions, channels, key_depth, value_depth);
      int32_t status = multiply(stream, scores, queries, keys, rows, positions, channels);
      if (status != SJD2_OK) return status;
      SJD2_LAUNCH(vq_attention_softmax_kernel<T>, dim3(static_cast<uint32_t>(rows)), dim3(kSoftmaxThreads),
                  sizeof(SoftmaxShared), stream, weights, scores, positions, scale);
      status = multiply(stream, out + (n * positions + first) * channels, weights, values, rows, channels, positions);
      if (status != SJD2_OK) return status;
    }
  }
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_vq_attention_f32(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions,
                                          int64_t channels, float scale) {
  return sjd2::cuda::launch_vq_attention<float>(stream, out, qkv, batch, positions, channels, scale);
}

SJD2_EXPORT int32_t sjd2_vq_attention_bf16(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions,
                                           int64_t channels, float scale) {
  return sjd2::cuda::launch_vq_attention<uint16_t>(stream, out, qkv, batch, positions, channels, scale);
}
