#include <cmath>

#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

// 1 / sqrt(mean(x^2) + eps). Four accumulators hide the latency of the sum; their order is that of the row
// alone.
static inline float inverse_rms(const float* x, int64_t hidden, float eps) {
  vf sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= hidden; i += 4 * kLanes) {
    for (int64_t j = 0; j < 4; ++j) {
      const vf v = load(x + i + j * kLanes);
      sums[j] = fmadd(v, v, sums[j]);
    }
  }
  for (; i < hidden; i += kLanes) {
    const vf v = load_upto(x + i, hidden - i);
    sums[0] = fmadd(v, v, sums[0]);
  }
  const float sum = sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
  return 1.0f / std::sqrt(sum / static_cast<float>(hidden) + eps);
}

template <typename T>
static int32_t rms_norm(sjd2_stream stream, T* out, const float* x, const float* weight,
                        const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden,
                        float eps) {
  return for_live_rows(stream, sequences, batch, max_window, hidden, [&](int64_t r) {
    const float* source = x + r * hidden;
    T* target = out + r * hidden;
    const vf scale = splat(inverse_rms(source, hidden, eps));
    for (int64_t i = 0; i < hidden; i += kLanes) {
      const int64_t n = hidden - i;
      store_upto(target + i, load_upto(source + i, n) * scale * load_upto(weight + i, n), n);
    }
  });
}

int32_t rms_norm_f32(sjd2_stream stream, float* out, const float* x, const float* weight,
                     const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden,
                     float eps) {
  return rms_norm(stream, out, x, weight, sequences, batch, max_window, hidden, eps);
}

int32_t rms_norm_bf16(sjd2_stream stream, uint16_t* out, const float* x, const float* weight,
                      const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden,
                      float eps) {
  return rms_norm(stream, out, x, weight, sequences, batch, max_window, hidden, eps);
}

int32_t rms_norm_add_f32(sjd2_stream stream, float* x, const float* delta, const float* weight,
                         const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden,
                         float eps) {
  return for_live_rows(stream, sequences, batch, max_window, hidden, [&](int64_t r) {
    const float* source = delta + r * hidden;
    float* target = x + r * hidden;
    const vf scale = splat(inverse_rms(source, hidden, eps));
    for (int64_t i = 0; i < hidden; i += kLanes) {
      const int64_t n = hidden - i;
      const vf normed = load_upto(source + i, n) * scale * load_upto(weight + i, n);
      store_upto(target + i, load_upto(target + i, n) + normed, n);
    }
  });
}

}  // namespace sjd2::SJD2_ISA
