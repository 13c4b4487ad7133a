#include <cmath>

#include "threads.h"

namespace sjd2::SJD2_ISA {

// A few thousand numbers: f64, in the channels' order.
int32_t group_norm_f32(sjd2_stream stream, float* norm, const float* moments, const float* weight, const float* bias,
                       int64_t batch, int64_t channels, int64_t groups, float eps) {
  const int64_t size = channels / groups;
  parallel_for(stream, batch, [&](int64_t n) {
    const float *means = moments + n * 2 * channels, *variances = means + channels;
    float *mean_out = norm + n * 3 * channels, *factor_out = mean_out + channels, *offset_out = factor_out + channels;
    for (int64_t first = 0; first < channels; first += size) {
      double mean = 0, variance = 0;
      for (int64_t c = first; c < first + size; ++c) mean += means[c];
      mean /= static_cast<double>(size);
      for (int64_t c = first; c < first + size; ++c) {
        const double distance = means[c] - mean;
        variance += variances[c] + distance * distance;
      }
      const double factor = 1 / std::sqrt(variance / static_cast<double>(size) + static_cast<double>(eps));
      for (int64_t c = first; c < first + size; ++c) {
        mean_out[c] = static_cast<float>(mean);
        factor_out[c] = static_cast<float>(factor * weight[c]);
        offset_out[c] = bias[c];
      }
    }
  });
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
