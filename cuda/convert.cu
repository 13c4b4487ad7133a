// convert: between f32, bf16 and f16.
#include "check.h"
#include "device/arith.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;

uint32_t blocks_for(int64_t n) { return static_cast<uint32_t>(min64(div_up(n, kThreads), kMaxBlocks)); }

// A thread owns every n-th element, n the number of threads of the grid.
//   bytes      one element read and one written
//   source     kernels.h; rounding to nearest even
__global__ void __launch_bounds__(kThreads)
    convert_elements_kernel(void* dst, const void* src, int64_t n, int32_t dst_dtype, int32_t src_dtype) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    store_dtype(dst, i, load_dtype(src, i, src_dtype), dst_dtype);
  }
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_convert(sjd2_stream stream, void* dst, const void* src, int64_t n, int32_t dst_dtype,
                                 int32_t src_dtype) {
  using namespace sjd2::cuda;
  Check check("convert");
  check.not_null(stream, dst, src).at_least("n", n, 0);
  check.dtype("dst_dtype", dst_dtype, true).dtype("src_dtype", src_dtype, true);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(convert_elements_kernel, dim3(blocks_for(n)), dim3(kThreads), 0, stream, dst, src, n, dst_dtype, src_dtype);
  return SJD2_OK;
}
