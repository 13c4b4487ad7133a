// packed_elements, pack_weights: weights in the layout of matmul.
#include "check.h"
#include "device/arith.cuh"
#include "layout.h"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;

// A thread owns every n-th element: dst[r, :] = src[r, :] with rows of `depth` elements. What lies behind n_in stays zero.
//   bytes      one element read and one written
//   source     the layout of layout.h
__global__ void __launch_bounds__(kThreads)
    pack_weights_rows_kernel(void* dst, const void* src, int64_t n, int64_t n_in, int64_t depth, int32_t dst_dtype,
                             int32_t src_dtype) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    store_dtype(dst, i / n_in * depth + i % n_in, load_dtype(src, i, src_dtype), dst_dtype);
  }
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_packed_elements(int64_t* out, int64_t n_out, int64_t n_in, int32_t dst_dtype) {
  using namespace sjd2::cuda;
  Check check("packed_elements");
  check.not_null(out).at_least("n_out", n_out, 1).at_least("n_in", n_in, 1).dtype("dst_dtype", dst_dtype, false);
  if (check.ok()) *out = n_out * padded_depth(n_in);
  return check.status();
}

SJD2_EXPORT int32_t sjd2_pack_weights(sjd2_stream stream, void* dst, const void* src, int64_t first_row, int64_t n_rows,
                                      int64_t n_out, int64_t n_in, int32_t dst_dtype, int32_t src_dtype) {
  using namespace sjd2::cuda;
  Check check("pack_weights");
  check.not_null(stream, dst, src).at_least("n_out", n_out, 1).at_least("n_in", n_in, 1);
  check.dtype("dst_dtype", dst_dtype, false).dtype("src_dtype", src_dtype, true);
  check.within("first_row", first_row, 0, n_out).within("n_rows", n_rows, 0, n_out - first_row);
  if (!check.ok()) return check.status();
  const int64_t depth = padded_depth(n_in), element = dst_dtype == SJD2_F32 ? 4 : 2;
  SJD2_LAUNCH(pack_weights_rows_kernel, dim3(static_cast<uint32_t>(min64(div_up(n_rows * n_in, kThreads), kMaxBlocks))), dim3(kThreads), 0, stream,
              static_cast<char*>(dst) + first_row * depth * element, src, n_rows * n_in, n_in, depth, dst_dtype, src_dtype);
  return SJD2_OK;
}
