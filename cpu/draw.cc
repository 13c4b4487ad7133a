#include "decode.h"

namespace sjd2::SJD2_ISA {

int32_t draw_given_f32(sjd2_stream stream, int32_t* out, const float* p, const float* uniforms, int64_t rows,
                       int64_t codes) {
  const int64_t tasks = task_count(stream, rows, div_up(8192, codes));
  parallel_for(stream, tasks, [&](int64_t task) {
    const Part part = part_of(rows, task, tasks);
    for (int64_t r = part.begin; r < part.end; ++r) out[r] = draw_from(p + r * codes, codes, uniforms[r]);
  });
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
