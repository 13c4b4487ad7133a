#include "decode.h"

namespace sjd2::SJD2_ISA {

// In f64 throughout: likelihoods are compared to the fourth digit, and nobody waits for them.
int32_t log_likelihood_f32(sjd2_stream stream, float* out, const float* logits, const int32_t* targets, int64_t rows,
                           int64_t codes) {
  for (int64_t r = 0; r < rows; ++r) {
    if (targets[r] < 0 || targets[r] >= codes) {
      return fail(SJD2_BAD_ARGUMENT, "log_likelihood: target %lld is %d, expected a code below %lld",
                  static_cast<long long>(r), targets[r], static_cast<long long>(codes));
    }
  }
  const int64_t tasks = task_count(stream, rows, div_up(1024, codes));
  parallel_for(stream, tasks, [&](int64_t task) {
    const Part part = part_of(rows, task, tasks);
    for (int64_t r = part.begin; r < part.end; ++r) {
      const float* row = logits + r * codes;
      float max = row[0];
      for (int64_t c = 1; c < codes; ++c) max = row[c] > max ? row[c] : max;
      double total = 0;
      for (int64_t c = 0; c < codes; ++c) total += std::exp(static_cast<double>(row[c]) - max);
      out[r] = static_cast<float>(static_cast<double>(row[targets[r]]) - max - std::log(total));
    }
  });
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
