// round: rows to the weights' dtype.
#include "check.h"
#include "device/rows.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;

// A block owns one row, a thread every blockDim.x-th element of it.
//   bytes      hidden (4 + sizeof(T))
//   source     kernels.h; rounding to nearest even
template <typename T>
__global__ void __launch_bounds__(kThreads)
    round_rows_kernel(T* out, const float* x, const sjd2_sequence* sequences, int64_t max_window, int64_t hidden) {
  const int64_t row = blockIdx.x;
  if (!row_is_live(sequences, row, max_window)) return;
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) store_from_float(out + row * hidden + i, x[row * hidden + i]);
}

template <typename T>
int32_t launch_round(sjd2_stream stream, T* out, const float* x, const sjd2_sequence* sequences, int64_t batch,
                     int64_t max_window, int64_t hidden) {
  Check check("round");
  check.rows(batch, max_window).at_least("hidden", hidden, 1).not_null(stream, out, x);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(round_rows_kernel<T>, dim3(static_cast<uint32_t>(batch * max_window)), dim3(row_threads(hidden, kThreads)), 0,
              stream, out, x, sequences, max_window, hidden);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_round_f32(sjd2_stream stream, float* out, const float* x, const sjd2_sequence* sequences,
                                   int64_t batch, int64_t max_window, int64_t hidden) {
  return sjd2::cuda::launch_round(stream, out, x, sequences, batch, max_window, hidden);
}

SJD2_EXPORT int32_t sjd2_round_bf16(sjd2_stream stream, uint16_t* out, const float* x, const sjd2_sequence* sequences,
                                    int64_t batch, int64_t max_window, int64_t hidden) {
  return sjd2::cuda::launch_round(stream, out, x, sequences, batch, max_window, hidden);
}
