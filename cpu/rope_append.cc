#include <cmath>

#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

constexpr int64_t kMaxHead = 256;

struct Norm {
  const float* weight;  // of the head in hand, or NULL where there is no norm
  const float* bias;    // or NULL
  float eps;
};

// LayerNorm of one head. The variance is taken about the mean: no cancellation.
static inline void normalise(float* out, const float* in, int64_t head_dim, Norm norm) {
  vf sum = {};
  for (int64_t i = 0; i < head_dim; i += kLanes) sum += load_upto(in + i, head_dim - i);
  const float mean = sum_lanes(sum) / static_cast<float>(head_dim);
  const vf centre = splat(mean);
  for (int64_t i = 0; i < head_dim; i += kLanes) {
    store_upto(out + i, load_upto(in + i, head_dim - i) - centre, head_dim - i);
  }
  vf squares = {};
  for (int64_t i = 0; i < head_dim; i += kLanes) {
    const vf d = load_upto(out + i, head_dim - i);
    squares = fmadd(d, d, squares);
  }
  const vf scale = splat(1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(head_dim) + norm.eps));
  for (int64_t i = 0; i < head_dim; i += kLanes) {
    const int64_t n = head_dim - i;
    const vf bias = norm.bias != nullptr ? load_upto(norm.bias + i, n) : vf{};
    store_upto(out + i, fmadd(load_upto(out + i, n) * scale, load_upto(norm.weight + i, n), bias), n);
  }
}

// Both halves of cos and sin from angles [half][2]; sin of the first half with its sign turned.
static inline void spread_halves(float* cos, float* sin, const float* angles, int64_t half) {
  vi even, odd;
  for (int i = 0; i < kLanes; ++i) {
    even[i] = 2 * i;
    odd[i] = 2 * i + 1;
  }
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const vf low = load(angles + 2 * i), high = load(angles + 2 * i + kLanes);
    const vf c = __builtin_shuffle(low, high, even), s = __builtin_shuffle(low, high, odd);
    store(cos + i, c);
    store(cos + half + i, c);
    store(sin + i, -s);
    store(sin + half + i, s);
  }
  for (; i < half; ++i) {
    cos[i] = cos[half + i] = angles[2 * i];
    sin[i] = -angles[2 * i + 1];
    sin[half + i] = angles[2 * i + 1];
  }
}

// out[i] = in[i] cos[i] + partner[i] sin[i], with the sign already in sin.
template <typename T>
static inline void rotate(T* out, const float* in, const float* partner, const float* cos, const float* sin,
                          int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const vf turned = load_upto(partner + i, n - i) * load_upto(sin + i, n - i);
    store_upto(out + i, fmadd(load_upto(in + i, n - i), load_upto(cos + i, n - i), turned), n - i);
  }
}

template <typename T>
static int32_t rope_append(sjd2_stream stream, T* q, T* k_cache, T* v_cache, const float* qkv,
                           const float* q_weight, const float* q_bias, const float* k_weight,
                           const float* k_bias, const float* rope, const sjd2_sequence* sequences,
                           int64_t batch, int64_t max_window, int64_t kv_capacity, int64_t n_heads,
                           int64_t n_kv_heads, int64_t head_dim, int64_t q_rows, int64_t k_rows,
                           int64_t rope_len, int32_t pairs, float norm_eps) {
  const int64_t heads = n_heads + 2 * n_kv_heads;
  const int64_t half = head_dim / 2;
  (void)rope_len;
  return for_live_rows(stream, sequences, batch, max_window, heads * head_dim, [&](int64_t r) {
    const int64_t b = r / max_window, w = r % max_window;
    const sjd2_sequence& sequence = sequences[b];
    const float* angles = rope + (sequence.position + w) * head_dim;
    // Spread once over a whole head, signs included, so that both pairings are the same loop for every head.
    alignas(64) float cos[kMaxHead], sin[kMaxHead], head[kMaxHead], partner[kMaxHead];
    if (pairs == 0) {
      spread_halves(cos, sin, angles, half);
    } else {
      for (int64_t i = 0; i < half; ++i) {
        cos[2 * i] = cos[2 * i + 1] = angles[2 * i];
        sin[2 * i] = -angles[2 * i + 1];
        sin[2 * i + 1] = angles[2 * i + 1];
      }
    }
    const auto turn = [&](T* out, const float* in, Norm norm) {
      if (norm.weight != nullptr) {
        normalise(head, in, head_dim, norm);
        in = head;
      }
      if (pairs == 0) {
        rotate(out, in, in + half, cos, sin, half);
        rotate(out + half, in + half, in, cos + half, sin + half, half);
      } else {
        for (int64_t i = 0; i < half; ++i) {
          partner[2 * i] = in[2 * i + 1];
          partner[2 * i + 1] = in[2 * i];
        }
        rotate(out, in, partner, cos, sin, head_dim);
      }
    };
    const auto row_of = [&](const float* table, int64_t head_index, int64_t n, int64_t rows) {
      return table != nullptr ? table + head_index / (n / rows) * head_dim : nullptr;
    };
    const float* in = qkv + r * heads * head_dim;
    for (int64_t h = 0; h < n_heads; ++h, in += head_dim) {
      turn(q + (r * n_heads + h) * head_dim, in,
           {row_of(q_weight, h, n_heads, q_rows), row_of(q_bias, h, n_heads, q_rows), norm_eps});
    }
    const int64_t entry = (b * kv_capacity + sequence.kv_len + w) * n_kv_heads * head_dim;
    for (int64_t h = 0; h < n_kv_heads; ++h, in += head_dim) {
      turn(k_cache + entry + h * head_dim, in,
           {row_of(k_weight, h, n_kv_heads, k_rows), row_of(k_bias, h, n_kv_heads, k_rows), norm_eps});
    }
    const int64_t values = n_kv_heads * head_dim;
    for (int64_t i = 0; i < values; i += kLanes) {
      store_upto(v_cache + entry + i, load_upto(in + i, values - i), values - i);
    }
  });
}

int32_t rope_append_f32(sjd2_stream stream, float* q, float* k_cache, float* v_cache, const float* qkv,
                        const float* q_weight, const float* q_bias, const float* k_weight,
                        const float* k_bias, const float* rope, const sjd2_sequence* sequences, int64_t batch,
                        int64_t max_window, int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads,
                        int64_t head_dim, int64_t q_rows, int64_t k_rows, int64_t rope_len, int32_t pairs,
                        float norm_eps) {
  return rope_append(stream, q, k_cache, v_cache, qkv, q_weight, q_bias, k_weight, k_bias, rope, sequences,
                     batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim, q_rows, k_rows, rope_len,
                     pairs, norm_eps);
}

int32_t rope_append_bf16(sjd2_stream stream, uint16_t* q, uint16_t* k_cache, uint16_t* v_cache,
                         const float* qkv, const float* q_weight, const float* q_bias, const float* k_weight,
                         const float* k_bias, const float* rope, const sjd2_sequence* sequences,
                         int64_t batch, int64_t max_window, int64_t kv_capacity, int64_t n_heads,
                         int64_t n_kv_heads, int64_t head_dim, int64_t q_rows, int64_t k_rows,
                         int64_t rope_len, int32_t pairs, float norm_eps) {
  return rope_append(stream, q, k_cache, v_cache, qkv, q_weight, q_bias, k_weight, k_bias, rope, sequences,
                     batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim, q_rows, k_rows, rope_len,
                     pairs, norm_eps);
}

}  // namespace sjd2::SJD2_ISA
