// rms_norm, rms_norm_add: rows divided by their root mean square.
#include "check.h"
#include "device/reduce.cuh"
#include "device/rows.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;

struct NormShared {
  float partial[kMaxWarps];
};

// A block owns one row, a thread every blockDim.x-th element of it. The row is read twice, the second time from the caches.
//   shared     one partial sum per warp
//   bytes      hidden (4 read + sizeof(T) written);  FLOP  4 hidden
//   source     arXiv:1910.07467
template <typename T, bool kAdd>
__global__ void __launch_bounds__(kThreads)
    rms_norm_rows_kernel(T* out, const float* x, const float* weight, const sjd2_sequence* sequences, int64_t max_window,
                         int64_t hidden, float eps) {
  SJD2_SHARED(NormShared, shared);
  const int64_t row = blockIdx.x;
  if (!row_is_live(sequences, row, max_window)) return;
  const float* source = x + row * hidden;
  T* target = out + row * hidden;
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) sum = fmaf(source[i], source[i], sum);
  sum = block_reduce(sum, shared.partial, Sum());
  const float scale = 1.0f / sqrtf(sum / static_cast<float>(hidden) + eps);
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) {
    const float normed = source[i] * scale * weight[i];
    if constexpr (kAdd) {
      target[i] += normed;
    } else {
      store_from_float(target + i, normed);
    }
  }
}

template <bool kAdd, typename T>
int32_t launch_rms_norm(const char* operation, sjd2_stream stream, T* out, const float* x, const float* weight,
                        const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden, float eps) {
  Check check(operation);
  check.rows(batch, max_window).at_least("hidden", hidden, 1).not_null(stream, out, x, weight).not_negative("eps", eps);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH((rms_norm_rows_kernel<T, kAdd>), dim3(static_cast<uint32_t>(batch * max_window)),
              dim3(row_threads(hidden, kThreads)), sizeof(NormShared), stream, out, x, weight, sequences, max_window, hidden,
              eps);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_rms_norm_f32(sjd2_stream stream, float* out, const float* x, const float* weight,
                                      const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden,
                                      float eps) {
  return sjd2::cuda::launch_rms_norm<false>("rms_norm", stream, out, x, weight, sequences, batch, max_window, hidden, eps);
}

SJD2_EXPORT int32_t sjd2_rms_norm_bf16(sjd2_stream stream, uint16_t* out, const float* x, const float* weight,
                                       const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden,
                                       float eps) {
  return sjd2::cuda::launch_rms_norm<false>("rms_norm", stream, out, x, weight, sequences, batch, max_window, hidden, eps);
}

SJD2_EXPORT int32_t sjd2_rms_norm_add_f32(sjd2_stream stream, float* x, const float* delta, const float* weight,
                                          const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden,
                                          float eps) {
  return sjd2::cuda::launch_rms_norm<true>("rms_norm_add", stream, x, delta, weight, sequences, batch, max_window, hidden,
                                           eps);
}
