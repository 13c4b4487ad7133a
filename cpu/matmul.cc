#include "layout.h"
#include "threads.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

template <typename T>
static inline vf weights_at(const T* panel, int64_t k, int64_t i);

template <>
inline vf weights_at<float>(const float* panel, int64_t k, int64_t i) {
  return load(panel + k * kPanel + i);
}

template <>
inline vf weights_at<uint16_t>(const uint16_t* panel, int64_t k, int64_t i) {
  float lanes[kLanes];
  for (int64_t j = 0; j < kLanes; ++j) lanes[j] = from_bf16(panel[(k / 2 * kPanel + i + j) * 2 + k % 2]);
  return load(lanes);
}

template <typename T>
static int32_t matmul(sjd2_stream stream, float* out, const T* x, const T* w, const float* bias,
                      const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                      int32_t accumulate) {
  LiveRows live;
  const int32_t found = find_live_rows(stream, &live, sequences, batch, max_window);
  if (found != SJD2_OK) return found;
  const int64_t depth = padded_depth(n_in, sizeof(T) == 2);
  parallel_for(stream, div_up(n_out, kPanel), [&](int64_t p) {
    const T* panel = w + p * kPanel * depth;
    for (int64_t r = 0; r < live.count; ++r) {
      const T* row = x + live[r] * n_in;
      float* target = out + live[r] * n_out + p * kPanel;
      for (int64_t i = 0; i < kPanel && p * kPanel + i < n_out; i += kLanes) {
        const int64_t n = n_out - p * kPanel - i;
        vf sum = accumulate != 0 ? load_upto(target + i, n) : vf{};
        if (bias != nullptr) sum += load_upto(bias + p * kPanel + i, n);
        for (int64_t k = 0; k < n_in; ++k) sum = fmadd(splat(load_as_float(row + k)), weights_at(panel, k, i), sum);
        store_upto(target + i, sum, n);
      }
    }
  });
  return SJD2_OK;
}

int32_t matmul_f32(sjd2_stream stream, float* out, const float* x, const float* w, const float* bias,
                   const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                   int32_t accumulate) {
  return matmul(stream, out, x, w, bias, sequences, batch, max_window, n_out, n_in, accumulate);
}

int32_t matmul_bf16(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w, const float* bias,
                    const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                    int32_t accumulate) {
  return matmul(stream, out, x, w, bias, sequences, batch, max_window, n_out, n_in, accumulate);
}

}  // namespace sjd2::SJD2_ISA
