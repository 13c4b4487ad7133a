// swiglu: silu(gate) * up.
#include "check.h"
#include "device/rows.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;

// A block owns one row, a thread every blockDim.x-th output of it.
//   bytes      intermediate (8 + sizeof(T)); some 20 FLOP an output
//   source     arXiv:2002.05202
template <typename T>
__global__ void __launch_bounds__(kThreads)
    swiglu_rows_kernel(T* out, const float* gate_up, const sjd2_sequence* sequences, int64_t max_window,
                       int64_t intermediate) {
  const int64_t row = blockIdx.x;
  if (!row_is_live(sequences, row, max_window)) return;
  const float* gate = gate_up + row * 2 * intermediate;
  // Rolled up: ptxas spills for sm_100 where it unrolls the exponential by four.
#pragma unroll 1
  for (int64_t i = threadIdx.x; i < intermediate; i += blockDim.x) {
    const float g = gate[i];
    store_from_float(out + row * intermediate + i, g / (1.0f + expf(-g)) * gate[intermediate + i]);
  }
}

template <typename T>
int32_t launch_swiglu(sjd2_stream stream, T* out, const float* gate_up, const sjd2_sequence* sequences, int64_t batch,
                      int64_t max_window, int64_t intermediate) {
  Check check("swiglu");
  check.rows(batch, max_window).at_least("intermediate", intermediate, 1).not_null(stream, out, gate_up);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(swiglu_rows_kernel<T>, dim3(static_cast<uint32_t>(batch * max_window)),
              dim3(row_threads(intermediate, kThreads)), 0, stream, out, gate_up, sequences, max_window, intermediate);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_swiglu_f32(sjd2_stream stream, float* out, const float* gate_up, const sjd2_sequence* sequences,
                                    int64_t batch, int64_t max_window, int64_t intermediate) {
  return sjd2::cuda::launch_swiglu(stream, out, gate_up, sequences, batch, max_window, intermediate);
}

SJD2_EXPORT int32_t sjd2_swiglu_bf16(sjd2_stream stream, uint16_t* out, const float* gate_up,
                                     const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                     int64_t intermediate) {
  return sjd2::cuda::launch_swiglu(stream, out, gate_up, sequences, batch, max_window, intermediate);
}
