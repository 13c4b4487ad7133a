// gelu: x Phi(x), or its tanh approximation.
#include "check.h"
#include "device/rows.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;

// x Phi(x) with Phi from erfc, so that nothing cancels for negative x. Where erfc underflows, at -infinity among others, the
// product is 0 and not 0 * infinity.
__device__ __forceinline__ float gelu_erf(float x) {
  const float phi = 0.5f * erfcf(x * -0.70710678f);
  return phi == 0.0f ? 0.0f : x * phi;
}

// x/2 (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
__device__ __forceinline__ float gelu_tanh(float x) {
  const float inner = fmaf(x * x * x, 0.044715f, x);
  const float denominator = 1.0f + expf(inner * -1.5957691216f);
  return denominator == infinity() ? 0.0f : x / denominator;
}

// A block owns one row, a thread every blockDim.x-th element of it.
//   bytes      n (4 + sizeof(T)); some 30 FLOP an element
//   source     arXiv:1606.08415
template <typename T>
__global__ void __launch_bounds__(kThreads)
    gelu_rows_kernel(T* out, const float* x, const sjd2_sequence* sequences, int64_t max_window, int64_t n,
                     int32_t tanh_form) {
  const int64_t row = blockIdx.x;
  if (!row_is_live(sequences, row, max_window)) return;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const float v = x[row * n + i];
    store_from_float(out + row * n + i, tanh_form != 0 ? gelu_tanh(v) : gelu_erf(v));
  }
}

template <typename T>
int32_t launch_gelu(sjd2_stream stream, T* out, const float* x, const sjd2_sequence* sequences, int64_t batch,
                    int64_t max_window, int64_t n, int32_t tanh_form) {
  Check check("gelu");
  check.rows(batch, max_window).at_least("n", n, 1).not_null(stream, out, x);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(gelu_rows_kernel<T>, dim3(static_cast<uint32_t>(batch * max_window)), dim3(row_threads(n, kThreads)), 0, stream,
              out, x, sequences, max_window, n, tanh_form);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_gelu_f32(sjd2_stream stream, float* out, const float* x, const sjd2_sequence* sequences,
                                  int64_t batch, int64_t max_window, int64_t n, int32_t tanh_form) {
  return sjd2::cuda::launch_gelu(stream, out, x, sequences, batch, max_window, n, tanh_form);
}

SJD2_EXPORT int32_t sjd2_gelu_bf16(sjd2_stream stream, uint16_t* out, const float* x, const sjd2_sequence* sequences,
                                   int64_t batch, int64_t max_window, int64_t n, int32_t tanh_form) {
  return sjd2::cuda::launch_gelu(stream, out, x, sequences, batch, max_window, n, tanh_form);
}
