// draw_given: inverse CDF with uniforms that the caller chose.
#include "check.h"
#include "device/decode.cuh"

namespace sjd2::cuda {
namespace {

// A block owns one row, a thread one run of its codes.
//   bytes      4 codes, and once more the run in which the sum crosses
//   FLOP       1 a code, in f64;  shared  one sum per thread
//   source     kernels.h: the first code at which the sum passes the uniform
__global__ void __launch_bounds__(kDrawThreads)
    draw_given_rows_kernel(int32_t* out, const float* p, const float* uniforms, int64_t codes) {
  SJD2_SHARED(DrawShared, shared);
  const int64_t row = blockIdx.x;
  const int32_t token = draw_from(p + row * codes, codes, uniforms[row], shared);
  if (threadIdx.x == 0) out[row] = token;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_draw_given_f32(sjd2_stream stream, int32_t* out, const float* p, const float* uniforms, int64_t rows,
                                        int64_t codes) {
  using namespace sjd2::cuda;
  Check check("draw_given");
  check.not_null(stream, out, p, uniforms).at_least("rows", rows, 1, SJD2_BAD_SHAPE).at_least("codes", codes, 1, SJD2_BAD_SHAPE);
  if (check.ok()) check.rows(1, rows);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(draw_given_rows_kernel, dim3(static_cast<uint32_t>(rows)), dim3(kDrawThreads), sizeof(DrawShared), stream, out,
              p, uniforms, codes);
  return SJD2_OK;
}
