// group_norm: means, factors and offsets that normalise groups of channels, for conv.
#include "check.h"
#include "device/arith.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 128;

// A thread owns one group of one picture: a few thousand numbers in all, in f64 and in the channels' order.
//   bytes      8 a channel read, with weight and bias 16; 12 written
//   FLOP       some 10 a channel, in f64
//   source     arXiv:1803.08494
__global__ void __launch_bounds__(kThreads)
    group_norm_groups_kernel(float* norm, const float* moments, const float* weight, const float* bias, int64_t batch,
                             int64_t channels, int64_t groups, float eps) {
  const int64_t task = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (task >= batch * groups) return;
  const int64_t n = task / groups, size = channels / groups, first = task % groups * size;
  const float *means = moments + n * 2 * channels, *variances = means + channels;
  float* out = norm + n * 3 * channels;
  double mean = 0.0, variance = 0.0;
  for (int64_t c = first; c < first + size; ++c) mean += means[c];
  mean /= static_cast<double>(size);
  for (int64_t c = first; c < first + size; ++c) {
    const double distance = means[c] - mean;
    variance += variances[c] + distance * distance;
  }
  const double factor = 1.0 / sqrt(variance / static_cast<double>(size) + static_cast<double>(eps));
  for (int64_t c = first; c < first + size; ++c) {
    out[c] = static_cast<float>(mean);
    out[channels + c] = static_cast<float>(factor * weight[c]);
    out[2 * channels + c] = bias[c];
  }
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_group_norm_f32(sjd2_stream stream, float* norm, const float* moments, const float* weight,
                                        const float* bias, int64_t batch, int64_t channels, int64_t groups, float eps) {
  using namespace sjd2::cuda;
  Check check("group_norm");
  check.not_null(stream, norm, moments, weight, bias).within("channels", channels, 1, 1 << 24);
  check.within("groups", groups, 1, channels).divides("groups", groups, "channels", channels);
  // One thread a group.
  check.within("batch", batch, 0, (int64_t{1} << 37) / (groups > 0 ? groups : 1)).not_negative("eps", eps);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(group_norm_groups_kernel, dim3(static_cast<uint32_t>(div_up(batch * groups, kThreads))), dim3(kThreads), 0,
              stream, norm, moments, weight, bias, batch, channels, groups, eps);
  return SJD2_OK;
}
