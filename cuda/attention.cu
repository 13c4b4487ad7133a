// attention: the window's rows over the KV cache, split along the cache.
//
// The cache is cut into chunks of 256 entries from entry 0. One block takes some query rows of one (sequence, kv head)
// through one chunk with an online softmax (arXiv:2205.14135 Algorithm 1) and leaves each row's maximum, sum and weighted
// values in the workspace; a second kernel combines a row's chunks in ascending order. Rows of the heads that share a kv head
// share its tiles. A row's arithmetic is fixed by the entries that it sees: neither other rows nor the number of warps in a
// block show in its bits.
#include "check.h"
#include "device/reduce.cuh"
#include "device/rows.cuh"
#include "device/tensor_core.cuh"

namespace sjd2::cuda {
namespace {

constexpr int64_t kChunk = 256;

template <typename T>
struct AttentionCall {
  T* out;
  const T* q;
  const T* k;
  const T* v;
  const sjd2_sequence* sequences;
  float* partial;  // [units of this launch][chunks][rows of a unit][2 + head_dim]: maximum, sum, values
  int64_t max_window, kv_capacity, n_heads, n_kv_heads, head_dim;
  float scale;
  int32_t unit_rows;       // query rows of a block
  int64_t row_blocks;      // blocks of query rows of one (sequence, kv head)
  int64_t first_unit, chunks;

  __host__ __device__ int64_t group() const { return n_heads / n_kv_heads; }
};

// What a block works on: query rows [first, first + n) of one (sequence, kv head); row i is window row i / group of head
// kv_head * group + i % group.
template <typename T>
struct Unit {
  int64_t b, kv_head;
  int32_t first, n;  // entries and rows are counted in 32 bits, as the state block does
  sjd2_sequence sequence;

  __device__ Unit(const AttentionCall<T>& call, int64_t index) {
    const int64_t u = call.first_unit + index;
    b = u / (call.row_blocks * call.n_kv_heads);
    kv_head = u / call.row_blocks % call.n_kv_heads;
    first = static_cast<int32_t>(u % call.row_blocks) * call.unit_rows;
    sequence = call.sequences[b];
    n = static_cast<int32_t>(min64(call.unit_rows, sequence.rows * call.group() - first));
  }
  __device__ int64_t offset(const AttentionCall<T>& call, int32_t i) const {
    const int32_t row = first + i, g = static_cast<int32_t>(call.group());
    return ((b * call.max_window + row / g) * call.n_heads + kv_head * g + row % g) * call.head_dim;
  }
  // Entries that row i sees.
  __device__ int32_t limit(const AttentionCall<T>& call, int32_t i) const {
    return sequence.kv_len + (first + i) / static_cast<int32_t>(call.group()) + 1;
  }
  __device__ int64_t entry(const AttentionCall<T>& call, int64_t t) const {
    return ((b * call.kv_capacity + t) * call.n_kv_heads + kv_head) * call.head_dim;
  }
};

template <typename T>
__device__ __forceinline__ float* partial_row(const AttentionCall<T>& call, int64_t index, int64_t chunk, int64_t row) {
  return call.partial + ((index * call.chunks + chunk) * call.unit_rows + row) * (call.head_dim + 2);
}

// ---------------------------------------------------------------------------------------------------------------------
// bf16, head_dim 64 or 128, a cache aligned to 16 bytes: tensor cores
// ---------------------------------------------------------------------------------------------------------------------

// Entries of a tile. Wide heads take the shorter one: what a lane holds must fit its registers.
template <int kDim>
constexpr int kTileOf = kDim <= 64 ? 64 : 32;

template <int kDim>
struct TileShared {
  uint16_t k[2][kTileOf<kDim> * kDim];
  uint16_t v[2][kTileOf<kDim> * kDim];
  uint16_t q[4][16 * kDim];  // of each warp
};

// Element offset of 16-byte piece `piece` of entry `row`: panels of 64 dimensions, each swizzled.
template <int kTile>
__device__ __forceinline__ int tile_offset(int row, int piece) {
  return piece / 8 * kTile * 64 + swizzled(row, piece % 8);
}

// Zero where the two entries of a fragment lie behind what a row sees.
__device__ __forceinline__ uint32_t mask_entries(uint32_t pair, int32_t entry, int32_t limit) {
  return (entry < limit ? pair & 0xFFFFu : 0u) | (entry + 1 < limit ? pair & 0xFFFF0000u : 0u);
}

// A block owns kWarps x 16 query rows of one (sequence, kv head) and one chunk, a warp 16 of the rows, a lane rows lane / 4
// and lane / 4 + 8 as mma.m16n8k16 deals them out.
//   shared     two stages of keys and values, [head_dim / 64][kTile][64] swizzled: 32 KB; queries 128 head_dim
//   registers  scores kTile / 2, sums head_dim / 2
//   bytes      keys and values once per block: 4 head_dim entries;  FLOP  4 rows entries head_dim
//   source     arXiv:2205.14135 Algorithm 1, one chunk of it
// Weights are rounded to bf16 for the second product, and the sum that divides them adds the rounded ones: they sum to one.
template <int kDim, int kWarps>
__global__ void __launch_bounds__(32 * kWarps)
    attention_split_kv_kernel(const AttentionCall<uint16_t> call, Fault* fault) {
  SJD2_SHARED(TileShared<kDim>, shared);
  constexpr int kThreads = 32 * kWarps, kPieces = kDim / 8, kTile = kTileOf<kDim>;
  const Unit<uint16_t> unit(call, blockIdx.x);
  if (unit.n <= 0 || !rows_fit(kAttention, unit.sequence, unit.b, call.max_window, call.kv_capacity, -1, fault)) return;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const auto begin = static_cast<int32_t>(blockIdx.y * kChunk);
  const auto end = static_cast<int32_t>(min64(begin + kChunk, unit.limit(call, unit.n - 1)));
  if (begin >= end) return;

  const auto fetch = [&](int32_t first, int stage) {
    for (int i = thread; i < kTile * kPieces; i += kThreads) {
      const int row = i / kPieces, piece = i % kPieces;
      const bool present = first + row < end;
      const int64_t from = unit.entry(call, present ? first + row : begin) + piece * 8;
      copy_async(shared.k[stage] + tile_offset<kTile>(row, piece), call.k + from, present);
      copy_async(shared.v[stage] + tile_offset<kTile>(row, piece), call.v + from, present);
    }
  };
  fetch(begin, 0);
  copy_commit();

  // Rows behind the last take its place and are not written.
  const int32_t last = unit.n - 1, mine_first = warp * 16 + lane / 4;
  const int32_t rows[2] = {mine_first < last ? mine_first : last, mine_first + 8 < last ? mine_first + 8 : last};
  const int32_t limits[2] = {unit.limit(call, rows[0]), unit.limit(call, rows[1])};
  for (int i = lane; i < 16 * kDim; i += 32) {
    const int row = warp * 16 + i / kDim, d = i % kDim;
    const uint16_t* from = call.q + unit.offset(call, row < last ? row : last) + d;
    shared.q[warp][tile_offset<16>(i / kDim, d / 8) + d % 8] = *from;
  }
  __syncwarp();
  float sums[kDim / 8][4] = {};
  float highest[2] = {-infinity(), -infinity()}, totals[2] = {0.0f, 0.0f};

  for (int32_t first = begin; first < end; first += kTile) {
    const int stage = (first - begin) / kTile % 2;
    copy_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the other stage any more
    if (first + kTile < end) fetch(first + kTile, stage ^ 1);
    copy_commit();
    const uint16_t *keys = shared.k[stage], *values = shared.v[stage];

    float scores[kTile / 8][4] = {};
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      uint32_t query[4];
      load_matrices(query, shared.q[warp] + tile_offset<16>(lane % 16, 2 * i + lane / 16));
#pragma unroll
      for (int j = 0; j < kTile / 16; ++j) {
        uint32_t b[4];
        load_matrices(b, keys + tile_offset<kTile>(j * 16 + lane % 8 + lane / 16 * 8, 2 * i + lane / 8 % 2));
        mma_bf16(scores[2 * j], query, b[0], b[1]);
        mma_bf16(scores[2 * j + 1], query, b[2], b[3]);
      }
    }

    float keep[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = highest[h];
#pragma unroll
      for (int j = 0; j < kTile / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[j][2 * h + i];
          score = first + j * 8 + lane % 4 * 2 + i < limits[h] ? score * call.scale : -infinity();
          top = score > top ? score : top;
        }
      }
      top = Largest()(top, __shfl_xor_sync(kWholeWarp, top, 1));
      top = Largest()(top, __shfl_xor_sync(kWholeWarp, top, 2));
      keep[h] = expf(highest[h] - top);
      highest[h] = top;
    }
    uint32_t weights[kTile / 16][4];
    float added[2] = {0.0f, 0.0f};
#pragma unroll
    for (int j = 0; j < kTile / 8; ++j) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t pair = pair_bf16(expf(scores[j][2 * h] - highest[h]), expf(scores[j][2 * h + 1] - highest[h]));
        weights[j / 2][j % 2 * 2 + h] = pair;
        added[h] += from_bf16(pair & 0xFFFFu) + from_bf16(pair >> 16);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) totals[h] = fmaf(totals[h], keep[h], added[h]);
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[j][i] *= keep[i / 2];
    }

    // Zero times infinity is not zero. Where some row does not see all of the tile, its values are looked at first.
    bool finite = true;
    if (first + kTile > unit.limit(call, 0)) {
      for (int i = lane; i < kTile * kDim; i += 32) finite &= (values[i] & 0x7F80u) != 0x7F80u;
      finite = __ballot_sync(kWholeWarp, finite ? 1 : 0) == kWholeWarp;
    }
    if (finite) {
#pragma unroll
      for (int i = 0; i < kTile / 16; ++i) {
#pragma unroll
        for (int j = 0; j < kDim / 16; ++j) {
          uint32_t b[4];
          load_matrices_transposed(b, values + tile_offset<kTile>(i * 16 + lane % 16, 2 * j + lane / 16));
          mma_bf16(sums[2 * j], weights[i], b[0], b[1]);
          mma_bf16(sums[2 * j + 1], weights[i], b[2], b[3]);
        }
      }
      continue;
    }
    // Each row takes what it sees and no more, and of that product only its own row.
#pragma unroll 1
    for (int row = 0; row < 16; ++row) {
      const int32_t limit = unit.limit(call, warp * 16 + row < last ? warp * 16 + row : last);
      const int32_t entry = first + lane % 4 * 2;
      const bool mine = lane / 4 == row % 8;
#pragma unroll
      for (int j = 0; j < kDim / 16; ++j) {
        float trial[2][4];
#pragma unroll
        for (int i = 0; i < 8; ++i) trial[i / 4][i % 4] = sums[2 * j + i / 4][i % 4];
#pragma unroll
        for (int i = 0; i < kTile / 16; ++i) {
          uint32_t b[4];
          load_matrices_transposed(b, values + tile_offset<kTile>(i * 16 + lane % 16, 2 * j + lane / 16));
#pragma unroll
          for (int m = 0; m < 4; ++m) b[m] = mask_entries(b[m], entry + i * 16 + m % 2 * 8, limit);
          mma_bf16(trial[0], weights[i], b[0], b[1]);
          mma_bf16(trial[1], weights[i], b[2], b[3]);
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          if (mine && i % 4 / 2 == row / 8) sums[2 * j + i / 4][i % 4] = trial[i / 4][i % 4];
        }
      }
    }
  }

#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float total = totals[h] + __shfl_xor_sync(kWholeWarp, totals[h], 1);
    total += __shfl_xor_sync(kWholeWarp, total, 2);
    const int32_t row = mine_first + 8 * h;
    if (row >= unit.n || begin >= limits[h]) continue;
    float* target = partial_row(call, blockIdx.x, blockIdx.y, row);
    if (lane % 4 == 0) {
      target[0] = highest[h];
      target[1] = total;
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      target[2 + j * 8 + lane % 4 * 2] = sums[j][2 * h];
      target[2 + j * 8 + lane % 4 * 2 + 1] = sums[j][2 * h + 1];
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Every other case: multiply-adds
// ---------------------------------------------------------------------------------------------------------------------

constexpr int kPlainRows = 8;  // one warp each
constexpr int kPlainTile = 32;

template <int kDim>
struct PlainShared {
  // One element longer than their content: lanes that read one dimension of 32 keys meet different banks.
  float k[kPlainTile][kDim + 1];
  float v[kPlainTile][kDim];
  float q[kPlainRows][kDim];
  float scores[kPlainRows][kPlainTile];
  float weights[kPlainRows][kPlainTile];
};

// A block owns eight query rows of one (sequence, kv head) and one chunk, a warp one of the rows. In scores a lane owns one
// entry of a tile of 32, in sums every 32nd dimension.
//   shared     a tile of keys and values as f32, the queries, each row's scores and weights
//   registers  kDim / 32 sums
//   bytes      keys and values once per block;  FLOP  4 rows entries head_dim
//   source     arXiv:2205.14135 Algorithm 1, one chunk of it
template <typename T, int kDim>
__global__ void __launch_bounds__(32 * kPlainRows) attention_plain_kernel(const AttentionCall<T> call, Fault* fault) {
  SJD2_SHARED(PlainShared<kDim>, shared);
  const Unit<T> unit(call, blockIdx.x);
  if (unit.n <= 0 || !rows_fit(kAttention, unit.sequence, unit.b, call.max_window, call.kv_capacity, -1, fault)) return;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int dim = static_cast<int>(call.head_dim);
  const auto begin = static_cast<int32_t>(blockIdx.y * kChunk);
  const auto end = static_cast<int32_t>(min64(begin + kChunk, unit.limit(call, unit.n - 1)));
  if (begin >= end) return;
  const bool live = warp < unit.n;
  const int32_t limit = live ? unit.limit(call, warp) : 0;
  if (live) {
    for (int d = lane; d < dim; d += 32) shared.q[warp][d] = load_as_float(call.q + unit.offset(call, warp) + d);
  }
  float sums[kDim / 32] = {};
  float highest = -infinity(), total = 0.0f;
  for (int32_t first = begin; first < end; first += kPlainTile) {
    __syncthreads();
    for (int i = thread; i < kPlainTile * dim; i += 32 * kPlainRows) {
      const int row = i / dim, d = i % dim;
      const int64_t from = first + row < end ? unit.entry(call, first + row) + d : -1;
      shared.k[row][d] = from >= 0 ? load_as_float(call.k + from) : 0.0f;
      shared.v[row][d] = from >= 0 ? load_as_float(call.v + from) : 0.0f;
    }
    __syncthreads();
    const int visible = static_cast<int>(max64(0, min64(kPlainTile, limit - first)));
    if (visible == 0) continue;
    float score = 0.0f;
#pragma unroll 4
    for (int d = 0; d < dim; ++d) score = fmaf(shared.q[warp][d], shared.k[lane][d], score);
    score = lane < visible ? score * call.scale : -infinity();
    shared.scores[warp][lane] = score;
    __syncwarp();
    float top = highest;
    for (int t = 0; t < kPlainTile; ++t) top = Largest()(shared.scores[warp][t], top);
    const float keep = expf(highest - top), weight = expf(score - top);
    highest = top;
    total = fmaf(total, keep, weight);
    shared.weights[warp][lane] = weight;
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      if (lane + 32 * j >= dim) continue;
      float sum = sums[j] * keep;
#pragma unroll 2
      for (int t = 0; t < visible; ++t) sum = fmaf(shared.weights[warp][t], shared.v[t][lane + 32 * j], sum);
      sums[j] = sum;
    }
  }
  if (!live || begin >= limit) return;
  total = warp_reduce(total, Sum());
  float* target = partial_row(call, blockIdx.x, blockIdx.y, warp);
  if (lane == 0) {
    target[0] = highest;
    target[1] = total;
  }
#pragma unroll
  for (int j = 0; j < kDim / 32; ++j) {
    if (lane + 32 * j < dim) target[2 + lane + 32 * j] = sums[j];
  }
}

// ---------------------------------------------------------------------------------------------------------------------

constexpr int kCombineThreads = 64;

// A block owns one query row, a thread every 64th dimension of it; chunks are added in ascending order.
//   bytes      chunks (8 + 4 head_dim) read, sizeof(T) head_dim written
//   FLOP       3 head_dim a chunk
//   source     as Algorithm 1 puts two blocks together: sums and values scaled to the larger maximum
template <typename T>
__global__ void __launch_bounds__(kCombineThreads) attention_combine_chunks_kernel(const AttentionCall<T> call) {
  const Unit<T> unit(call, blockIdx.x);
  const auto row = static_cast<int32_t>(blockIdx.y);
  if (row >= unit.n || unit.sequence.rows > call.max_window || unit.sequence.kv_len < 0 ||
      unit.sequence.kv_len + static_cast<int64_t>(unit.sequence.rows) > call.kv_capacity) {
    return;
  }
  const int64_t chunks = div_up(unit.limit(call, row), kChunk);
  float highest = -infinity();
  for (int64_t c = 0; c < chunks; ++c) highest = Largest()(partial_row(call, blockIdx.x, c, row)[0], highest);
  float total = 0.0f;
  for (int64_t c = 0; c < chunks; ++c) {
    const float* part = partial_row(call, blockIdx.x, c, row);
    total = fmaf(expf(part[0] - highest), part[1], total);
  }
  T* out = call.out + unit.offset(call, row);
  for (int64_t d = threadIdx.x; d < call.head_dim; d += kCombineThreads) {
    float sum = 0.0f;
    for (int64_t c = 0; c < chunks; ++c) {
      const float* part = partial_row(call, blockIdx.x, c, row);
      sum = fmaf(expf(part[0] - highest), part[2 + d], sum);
    }
    // Adding 0 makes one zero of both.
    store_from_float(out + d, sum / total + 0.0f);
  }
}

template <int kDim, int kWarps>
int32_t launch_split(sjd2_stream stream, const AttentionCall<uint16_t>& call, dim3 grid) {
  SJD2_LAUNCH((attention_split_kv_kernel<kDim, kWarps>), grid, dim3(32 * kWarps), sizeof(TileShared<kDim>), stream, call,
              stream->fault);
  return SJD2_OK;
}

template <typename T, int kDim>
int32_t launch_plain(sjd2_stream stream, const AttentionCall<T>& call, dim3 grid) {
  SJD2_LAUNCH((attention_plain_kernel<T, kDim>), grid, dim3(32 * kPlainRows), sizeof(PlainShared<kDim>), stream, call,
              stream->fault);
  return SJD2_OK;
}

// Warps of a block on tensor cores; 0: the plain path. Fewer rows take fewer warps, each of which does the same.
int tensor_warps(const AttentionCall<float>&) { return 0; }
int tensor_warps(const AttentionCall<uint16_t>& call) {
  const bool aligned = reinterpret_cast<uintptr_t>(call.k) % 16 == 0 && reinterpret_cast<uintptr_t>(call.v) % 16 == 0;
  if (!aligned || (call.head_dim != 64 && call.head_dim != 128)) return 0;
  const int64_t rows = call.max_window * call.group();
  return rows <= 16 ? 1 : rows <= 32 ? 2 : 4;
}

template <typename T>
int32_t launch_chunks(sjd2_stream stream, const AttentionCall<T>& call, int warps, dim3 grid) {
  if constexpr (sizeof(T) == 2) {
    if (warps > 0 && call.head_dim == 64) {
      return warps == 1   ? launch_split<64, 1>(stream, call, grid)
             : warps == 2 ? launch_split<64, 2>(stream, call, grid)
                          : launch_split<64, 4>(stream, call, grid);
    }
    if (warps > 0) {
      return warps == 1   ? launch_split<128, 1>(stream, call, grid)
             : warps == 2 ? launch_split<128, 2>(stream, call, grid)
                          : launch_split<128, 4>(stream, call, grid);
    }
  }
  if (call.head_dim <= 64) return launch_plain<T, 64>(stream, call, grid);
  if (call.head_dim <= 128) return launch_plain<T, 128>(stream, call, grid);
  return launch_plain<T, 256>(stream, call, grid);
}

template <typename T>
int32_t launch_attention(sjd2_stream stream, AttentionCall<T> call, int64_t batch) {
  Check check("attention");
  check.rows(batch, call.max_window).at_least("n_heads", call.n_heads, 1).at_least("n_kv_heads", call.n_kv_heads, 1);
  check.divides("n_kv_heads", call.n_kv_heads, "n_heads", call.n_heads).head_dim(call.head_dim);
  check.positive("scale", call.scale).not_null(stream, call.out, call.q, call.k, call.v, call.sequences);
  check.within("kv_capacity", call.kv_capacity, 0, 65535 * kChunk);
  if (!check.ok() || batch * call.max_window == 0 || call.kv_capacity == 0) return check.status();
  const int warps = tensor_warps(call);
  call.unit_rows = warps > 0 ? 16 * warps : kPlainRows;
  call.row_blocks = div_up(call.max_window * call.group(), call.unit_rows);
  call.chunks = div_up(call.kv_capacity, kChunk);
  call.partial = reinterpret_cast<float*>(stream->workspace);
  const int64_t unit_bytes = call.chunks * call.unit_rows * (call.head_dim + 2) * 4;
  const int64_t units = batch * call.n_kv_heads * call.row_blocks, at_once = min64(units, kWorkspaceBytes / unit_bytes);
  if (at_once == 0) {
    return fail(SJD2_OUT_OF_MEMORY, "attention: a cache of %lld entries needs a workspace of %lld bytes, there are %lld",
                static_cast<long long>(call.kv_capacity), static_cast<long long>(unit_bytes),
                static_cast<long long>(kWorkspaceBytes));
  }
  for (call.first_unit = 0; call.first_unit < units; call.first_unit += at_once) {
    const auto n = static_cast<uint32_t>(min64(at_once, units - call.first_unit));
    const int32_t status = launch_chunks(stream, call, warps, dim3(n, static_cast<uint32_t>(call.chunks)));
    if (status != SJD2_OK) return status;
    SJD2_LAUNCH(attention_combine_chunks_kernel<T>, dim3(n, static_cast<uint32_t>(call.unit_rows)), dim3(kCombineThreads), 0,
                stream, call);
  }
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_attention_f32(sjd2_stream stream, float* out, const float* q, const float* k, const float* v,
                                       const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                       int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                       float scale) {
  return sjd2::cuda::launch_attention<float>(stream,
                                             {out, q, k, v, sequences, nullptr, max_window, kv_capacity, n_heads, n_kv_heads,
                                              head_dim, scale, 0, 0, 0, 0},
                                             batch);
}

SJD2_EXPORT int32_t sjd2_attention_bf16(sjd2_stream stream, uint16_t* out, const uint16_t* q, const uint16_t* k,
                                        const uint16_t* v, const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                        int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                        float scale) {
  return sjd2::cuda::launch_attention<uint16_t>(stream,
                                                {out, q, k, v, sequences, nullptr, max_window, kv_capacity, n_heads,
                                                 n_kv_heads, head_dim, scale, 0, 0, 0, 0},
                                                batch);
}
