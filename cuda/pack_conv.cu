// packed_conv_elements, pack_conv: a convolution's weights in the layout of conv.
#include "check.h"
#include "device/arith.cuh"
#include "layout.h"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;

// A thread owns every n-th element of the source [n_rows, n_in, taps]: it goes to [row][tap][channel].
//   bytes      one element read and one written
__global__ void __launch_bounds__(kThreads)
    pack_conv_rows_kernel(void* dst, const void* src, int64_t n, int64_t n_in, int64_t taps, int64_t depth, int32_t dst_dtype,
                          int32_t src_dtype) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    const int64_t tap = i % taps, channel = i / taps % n_in, row = i / taps / n_in;
    store_dtype(dst, (row * taps + tap) * depth + channel, load_dtype(src, i, src_dtype), dst_dtype);
  }
}

Check& check_packed(Check& check, int64_t n_out, int64_t n_in, int64_t taps) {
  return check.within("n_out", n_out, 1, 1 << 24).within("n_in", n_in, 1, 1 << 24).within("taps", taps, 1, 343);
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_packed_conv_elements(int64_t* out, int64_t n_out, int64_t n_in, int64_t taps, int32_t dst_dtype) {
  using namespace sjd2::cuda;
  Check check("packed_conv_elements");
  check_packed(check.not_null(out), n_out, n_in, taps).dtype("dst_dtype", dst_dtype, false);
  if (check.ok()) *out = n_out * taps * conv_depth(n_in);
  return check.status();
}

SJD2_EXPORT int32_t sjd2_pack_conv(sjd2_stream stream, void* dst, const void* src, int64_t first_row, int64_t n_rows,
                                   int64_t n_out, int64_t n_in, int64_t taps, int32_t dst_dtype, int32_t src_dtype) {
  using namespace sjd2::cuda;
  Check check("pack_conv");
  check_packed(check.not_null(stream, dst, src), n_out, n_in, taps);
  check.dtype("dst_dtype", dst_dtype, false).dtype("src_dtype", src_dtype, true);
  check.within("first_row", first_row, 0, n_out).within("n_rows", n_rows, 0, n_out - first_row);
  if (!check.ok()) return check.status();
  const int64_t depth = conv_depth(n_in), element = dst_dtype == SJD2_F32 ? 4 : 2, n = n_rows * n_in * taps;
  SJD2_LAUNCH(pack_conv_rows_kernel, dim3(static_cast<uint32_t>(min64(div_up(n, kThreads), kMaxBlocks))), dim3(kThreads), 0,
              stream, static_cast<char*>(dst) + first_row * taps * depth * element, src, n, n_in, taps, depth, dst_dtype,
              src_dtype);
  return SJD2_OK;
}
