// rope_append: LayerNorm of q and k heads, rotary positions, append of k and v to the cache.
#include <type_traits>

#include "check.h"
#include "device/reduce.cuh"
#include "device/rows.cuh"

namespace sjd2::cuda {
namespace {

constexpr int kHeadsPerBlock = 4;  // one warp each
constexpr int kMaxHead = 256;
constexpr int kPerLane = kMaxHead / 32;

struct RopeShared {
  float head[kHeadsPerBlock][kMaxHead];
};

template <typename T>
struct RopeCall {
  T* q;
  T* k_cache;
  T* v_cache;
  const float* qkv;
  const float* q_weight;
  const float* q_bias;
  const float* k_weight;
  const float* k_bias;
  const float* rope;
  const sjd2_sequence* sequences;
  int64_t max_window, kv_capacity, n_heads, n_kv_heads, head_dim, q_rows, k_rows, rope_len;
  int32_t pairs;
  float norm_eps;
};

// The row of a norm's table that serves `head` of `n`, or NULL without one.
__device__ __forceinline__ const float* norm_row(const float* table, int64_t head, int64_t n, int64_t rows, int64_t head_dim) {
  return table != nullptr ? table + head / (n / rows) * head_dim : nullptr;
}

// A block owns four heads of one row, a warp one head, a lane every 32nd element of it.
//   registers  the head, normalised in place: eight elements a lane
//   shared     the normalised heads, since an element's partner sits in another lane
//   bytes      head_dim (4 read + sizeof(T) written) a head, weights and angles from the caches
//   FLOP       3 head_dim a head of q and k, with the norm 10
//   source     rotary positions: arXiv:2104.09864
template <typename T>
__global__ void __launch_bounds__(32 * kHeadsPerBlock, 1) rope_append_heads_kernel(const RopeCall<T> call, Fault* fault) {
  SJD2_SHARED(RopeShared, shared);
  const int64_t d = call.head_dim, row = blockIdx.x, b = row / call.max_window, w = row % call.max_window;
  const sjd2_sequence sequence = call.sequences[b];
  if (w >= sequence.rows) return;
  if (!rows_fit(kRopeAppend, sequence, b, call.max_window, call.kv_capacity, call.rope_len, fault)) return;
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int64_t head = static_cast<int64_t>(blockIdx.y) * kHeadsPerBlock + warp;
  const int64_t heads = call.n_heads + 2 * call.n_kv_heads;
  if (head >= heads) return;
  const float* in = call.qkv + (row * heads + head) * d;
  const int64_t entry = (b * call.kv_capacity + sequence.kv_len + w) * call.n_kv_heads;
  if (head >= call.n_heads + call.n_kv_heads) {
    T* out = call.v_cache + (entry + head - call.n_heads - call.n_kv_heads) * d;
    for (int64_t i = lane; i < d; i += 32) store_from_float(out + i, in[i]);
    return;
  }
  const bool is_query = head < call.n_heads;
  const int64_t kv_head = head - call.n_heads;
  const float* weight = is_query ? norm_row(call.q_weight, head, call.n_heads, call.q_rows, d)
                                 : norm_row(call.k_weight, kv_head, call.n_kv_heads, call.k_rows, d);
  const float* bias = is_query ? norm_row(call.q_bias, head, call.n_heads, call.q_rows, d)
                               : norm_row(call.k_bias, kv_head, call.n_kv_heads, call.k_rows, d);
  float values[kPerLane];
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int64_t i = lane + 32 * j;
    values[j] = i < d ? in[i] : 0.0f;
    sum += values[j];
  }
  if (weight != nullptr) {
    const float mean = warp_reduce(sum, Sum()) / static_cast<float>(d);
    // The variance is taken about the mean: no cancellation.
    float squares = 0.0f;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      values[j] -= mean;
      if (lane + 32 * j < d) squares = fmaf(values[j], values[j], squares);
    }
    const float scale = 1.0f / sqrtf(warp_reduce(squares, Sum()) / static_cast<float>(d) + call.norm_eps);
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int64_t i = lane + 32 * j;
      if (i < d) values[j] = fmaf(values[j] * scale, weight[i], bias != nullptr ? bias[i] : 0.0f);
    }
  }
  float* whole = shared.head[warp];
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    if (lane + 32 * j < d) whole[lane + 32 * j] = values[j];
  }
  __syncwarp();
  T* out = is_query ? call.q + (row * call.n_heads + head) * d : call.k_cache + (entry + kv_head) * d;
  const float* angles = call.rope + (sequence.position + w) * d;
  const int64_t half = d / 2;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int64_t i = lane + 32 * j;
    if (i >= d) continue;
    const bool second = call.pairs == 0 ? i >= half : i % 2 == 1;
    const int64_t pair = call.pairs == 0 ? i % half : i / 2;
    const int64_t partner = call.pairs == 0 ? (second ? i - half : i + half) : i ^ 1;
    const float sine = second ? angles[2 * pair + 1] : -angles[2 * pair + 1];
    store_from_float(out + i, fmaf(values[j], angles[2 * pair], whole[partner] * sine));
  }
}

template <typename T>
int32_t launch_rope_append(sjd2_stream stream, const RopeCall<T>& call, int64_t batch) {
  Check check("rope_append");
  check.rows(batch, call.max_window).at_least("n_heads", call.n_heads, 1).at_least("n_kv_heads", call.n_kv_heads, 1);
  check.at_least("kv_capacity", call.kv_capacity, 0).head_dim(call.head_dim);
  check.not_null(stream, call.q, call.k_cache, call.v_cache, call.qkv, call.rope, call.sequences);
  check.within("pairs (0: half split, 1: interleaved)", call.pairs, 0, 1).not_negative("norm_eps", call.norm_eps);
  if (call.q_weight != nullptr || call.q_bias != nullptr) check.divides("q_rows", call.q_rows, "n_heads", call.n_heads);
  if (call.k_weight != nullptr || call.k_bias != nullptr) check.divides("k_rows", call.k_rows, "n_kv_heads", call.n_kv_heads);
  if (!check.ok()) return check.status();
  const int64_t heads = call.n_heads + 2 * call.n_kv_heads;
  SJD2_LAUNCH(rope_append_heads_kernel<T>,
              dim3(static_cast<uint32_t>(batch * call.max_window), static_cast<uint32_t>(div_up(heads, kHeadsPerBlock))),
              dim3(32 * kHeadsPerBlock), sizeof(RopeShared), stream, call, stream->fault);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_rope_append_f32(sjd2_stream stream, float* q, float* k_cache, float* v_cache, const float* qkv,
                                         const float* q_weight, const float* q_bias, const float* k_weight,
                                         const float* k_bias, const float* rope, const sjd2_sequence* sequences,
                                         int64_t batch, int64_t max_window, int64_t kv_capacity, int64_t n_heads,
                                         int64_t n_kv_heads, int64_t head_dim, int64_t q_rows, int64_t k_rows,
                                         int64_t rope_len, int32_t pairs, float norm_eps) {
  return sjd2::cuda::launch_rope_append<float>(
      stream,
      {q, k_cache, v_cache, qkv, q_weight, q_bias, k_weight, k_bias, rope, sequences, max_window, kv_capacity, n_heads,
       n_kv_heads, head_dim, q_rows, k_rows, rope_len > 0 ? rope_len : 0, pairs, norm_eps},
      batch);
}

SJD2_EXPORT int32_t sjd2_rope_append_bf16(sjd2_stream stream, uint16_t* q, uint16_t* k_cache, uint16_t* v_cache,
                                          const float* qkv, const float* q_weight, const float* q_bias,
                                          const float* k_weight, const float* k_bias, const float* rope,
                                          const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                          int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                          int64_t q_rows, int64_t k_rows, int64_t rope_len, int32_t pairs, float norm_eps) {
  return sjd2::cuda::launch_rope_append<uint16_t>(
      stream,
      {q, k_cache, v_cache, qkv, q_weight, q_bias, k_weight, k_bias, rope, sequences, max_window, kv_capacity, n_heads,
       n_kv_heads, head_dim, q_rows, k_rows, rope_len > 0 ? rope_len : 0, pairs, norm_eps},
      batch);
}
