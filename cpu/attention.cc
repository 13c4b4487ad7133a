#include <cmath>

#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

// One query row at a time: online softmax over the entries that it may see.
template <typename T>
static int32_t attention(sjd2_stream stream, T* out, const T* q, const T* k, const T* v,
                         const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                         int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale) {
  const int64_t group = n_heads / n_kv_heads;
  return for_live_rows(stream, sequences, batch, max_window, 1 << 14, [&](int64_t r) {
    const int64_t b = r / max_window, w = r % max_window;
    const int64_t entries = sequences[b].kv_len + w + 1;
    for (int64_t h = 0; h < n_heads; ++h) {
      const T* query = q + (r * n_heads + h) * head_dim;
      const int64_t stride = n_kv_heads * head_dim;
      const int64_t base = b * kv_capacity * stride + h / group * head_dim;
      alignas(64) float sums[256] = {};
      float highest = -__builtin_inff(), total = 0.0f;
      for (int64_t t = 0; t < entries; ++t) {
        vf products = {};
        for (int64_t i = 0; i < head_dim; i += kLanes) {
          const int64_t n = head_dim - i;
          products = fmadd(load_upto(query + i, n), load_upto(k + base + t * stride + i, n), products);
        }
        const float score = sum_lanes(products) * scale;
        const float previous = highest;
        if (score > highest) highest = score;
        const float keep = std::exp(previous - highest), weight = std::exp(score - highest);
        total = total * keep + weight;
        for (int64_t i = 0; i < head_dim; i += kLanes) {
          const int64_t n = head_dim - i;
          const vf value = load_upto(v + base + t * stride + i, n) * weight;
          store_upto(sums + i, fmadd(load_upto(sums + i, n), splat(keep), value), n);
        }
      }
      const vf share = splat(1.0f / total);
      for (int64_t i = 0; i < head_dim; i += kLanes) {
        const int64_t n = head_dim - i;
        store_upto(out + (r * n_heads + h) * head_dim + i, load_upto(sums + i, n) * share, n);
      }
    }
  });
}

int32_t attention_f32(sjd2_stream stream, float* out, const float* q, const float* k, const float* v,
                      const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                      int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale) {
  return attention(stream, out, q, k, v, sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim,
                   scale);
}

int32_t attention_bf16(sjd2_stream stream, uint16_t* out, const uint16_t* q, const uint16_t* k, const uint16_t* v,
                       const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                       int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale) {
  return attention(stream, out, q, k, v, sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim,
                   scale);
}

}  // namespace sjd2::SJD2_ISA
