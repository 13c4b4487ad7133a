// Attention over all positions of a picture, out of matmul: keys and transposed values are packed as weights, and blocks of
// queries pass through scores, softmax and product. A row of scores is a few thousand numbers, so it is kept whole.
#include "layout.h"
#include "ops.h"
#include "threads.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

decltype(::sjd2_matmul_f32) matmul_f32;
decltype(::sjd2_matmul_bf16) matmul_bf16;

namespace {

constexpr int64_t kScoreBytes = 8 << 20;

int32_t multiply(sjd2_stream stream, float* out, const float* x, const float* w, int64_t rows, int64_t n_out,
                 int64_t n_in) {
  return matmul_f32(stream, out, x, w, nullptr, nullptr, rows, 1, n_out, n_in, 0);
}
int32_t multiply(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w, int64_t rows, int64_t n_out,
                 int64_t n_in) {
  return matmul_bf16(stream, out, x, w, nullptr, nullptr, rows, 1, n_out, n_in, 0);
}

// A panel of 16 outputs in the layout of pack_weights; value(n, k) is element k of output n of the panel.
template <typename T, typename F>
void pack_panel(T* panel, int64_t outputs, int64_t n_in, F&& value) {
  constexpr int64_t kPair = sizeof(T) == 2 ? 2 : 1;
  const int64_t depth = padded_depth(n_in, sizeof(T) == 2);
  for (int64_t k = 0; k < depth; k += kPair) {
    for (int64_t n = 0; n < kPanel; ++n) {
      for (int64_t i = 0; i < kPair; ++i) {
        const bool inside = n < outputs && k + i < n_in;
        store_from_float(panel + k * kPanel + n * kPair + i, inside ? value(n, k + i) : 0.0f);
      }
    }
  }
}

template <typename T>
void softmax(T* out, const float* scores, int64_t n, float scale) {
  vf largest = splat(-__builtin_inff());
  for (int64_t i = 0; i < n; i += kLanes) {
    if (n - i >= kLanes) {
      largest = max(largest, load(scores + i));
    } else {
      for (int64_t j = i; j < n; ++j) largest = max(largest, splat(scores[j]));
    }
  }
  const vf top = splat(max_lanes(largest) * scale), factor = splat(scale);
  vf total = {};
  float tail = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    const vf e = exp(load_upto(scores + i, left) * factor - top);
    if (left >= kLanes) {
      total += e;
    } else {
      for (int64_t j = 0; j < left; ++j) tail += e[j];
    }
  }
  const vf inverse = splat(1.0f / (sum_lanes(total) + tail));
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    store_upto(out + i, exp(load_upto(scores + i, left) * factor - top) * inverse, left);
  }
}

template <typename T>
int32_t attend(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions, int64_t channels,
               float scale) {
  constexpr bool kBf16 = sizeof(T) == 2;
  if (batch == 0 || positions == 0) return SJD2_OK;
  const int64_t bytes = sizeof(T), stride = 3 * channels;
  const int64_t block = max64(16, min64(positions, min64(512, kScoreBytes / (positions * 4))));
  // Slot 0 is matmul's.
  auto* keys = static_cast<T*>(call_scratch(stream, 1, packed_elements(positions, channels, kBf16) * bytes));
  auto* values = static_cast<T*>(call_scratch(stream, 2, packed_elements(channels, positions, kBf16) * bytes));
  auto* queries = static_cast<T*>(call_scratch(stream, 3, block * channels * bytes));
  auto* scores = static_cast<float*>(call_scratch(stream, 4, block * positions * 4));
  auto* weights = static_cast<T*>(call_scratch(stream, 5, block * positions * bytes));
  if (keys == nullptr || values == nullptr || queries == nullptr || scores == nullptr || weights == nullptr) {
    return fail(SJD2_OUT_OF_MEMORY, "vq_attention: no memory for %lld positions", static_cast<long long>(positions));
  }
  for (int64_t n = 0; n < batch; ++n) {
    const float* picture = qkv + n * positions * stride;
    const int64_t key_stride = kPanel * padded_depth(channels, kBf16);
    parallel_for(stream, div_up(positions, kPanel), [&](int64_t p) {
      const float* k = picture + p * kPanel * stride + channels;
      pack_panel(keys + p * key_stride, min64(kPanel, positions - p * kPanel), channels,
                 [&](int64_t row, int64_t c) { return k[row * stride + c]; });
    });
    const int64_t value_stride = kPanel * padded_depth(positions, kBf16);
    parallel_for(stream, div_up(channels, kPanel), [&](int64_t p) {
      const float* v = picture + 2 * channels + p * kPanel;
      pack_panel(values + p * value_stride, min64(kPanel, channels - p * kPanel), positions,
                 [&](int64_t c, int64_t row) { return v[row * stride + c]; });
    });
    for (int64_t first = 0; first < positions; first += block) {
      const int64_t rows = min64(block, positions - first);
      parallel_for(stream, rows, [&](int64_t r) {
        const float* q = picture + (first + r) * stride;
        for (int64_t c = 0; c < channels; c += kLanes) {
          store_upto(queries + r * channels + c, load_upto(q + c, channels - c), channels - c);
        }
      });
      int32_t status = multiply(stream, scores, queries, keys, rows, positions, channels);
      if (status != SJD2_OK) return status;
      parallel_for(stream, rows, [&](int64_t r) {
        softmax(weights + r * positions, scores + r * positions, positions, scale);
      });
      status = multiply(stream, out + (n * positions + first) * channels, weights, values, rows, channels, positions);
      if (status != SJD2_OK) return status;
    }
  }
  return SJD2_OK;
}

}  // namespace

int32_t vq_attention_f32(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions,
                         int64_t channels, float scale) {
  return attend<float>(stream, out, qkv, batch, positions, channels, scale);
}

int32_t vq_attention_bf16(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions,
                          int64_t channels, float scale) {
  return attend<uint16_t>(stream, out, qkv, batch, positions, channels, scale);
}

}  // namespace sjd2::SJD2_ISA
