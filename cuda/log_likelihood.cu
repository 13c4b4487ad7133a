// log_likelihood: log softmax at the targets, in f64 throughout.
#include "check.h"
#include "device/decode.cuh"

namespace sjd2::cuda {
namespace {

struct LikelihoodShared {
  float partial[kMaxWarps];
  DrawShared draw;
};

struct Exponential {
  const float* row;
  double highest;

  __device__ __forceinline__ double operator()(int64_t i) const { return exp(static_cast<double>(row[i]) - highest); }
};

// A block owns one row, a thread one run of its codes. Every block looks at all targets first: a bad one leaves the output
// untouched.
//   shared     one partial result per warp, then one sum per thread
//   bytes      4 codes, twice, and 4 rows of targets;  FLOP  one exponential in f64 a code
//   source     kernels.h: the logit less the logarithm of the sum of exponentials, from the largest logit on
__global__ void __launch_bounds__(kDrawThreads, 1)
    log_likelihood_rows_kernel(float* out, const float* logits, const int32_t* targets, int64_t rows, int64_t codes,
                               Fault* fault) {
  SJD2_SHARED(LikelihoodShared, shared);
  for (int64_t r = 0; r < rows; ++r) {
    if (targets[r] >= 0 && targets[r] < codes) continue;
    if (threadIdx.x == 0) raise(fault, kBadTarget, r, targets[r], codes);
    return;
  }
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * codes;
  float highest = row[0];
  for (int64_t c = threadIdx.x; c < codes; c += kDrawThreads) highest = Largest()(row[c], highest);
  highest = block_reduce(highest, shared.partial, Largest());
  const double total = sum_runs(Exponential{row, highest}, codes, shared.draw);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = static_cast<float>(static_cast<double>(row[targets[blockIdx.x]]) - highest - log(total));
  }
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_log_likelihood_f32(sjd2_stream stream, float* out, const float* logits, const int32_t* targets,
                                            int64_t rows, int64_t codes) {
  using namespace sjd2::cuda;
  Check check("log_likelihood");
  check.not_null(stream, out, logits, targets).at_least("rows", rows, 1, SJD2_BAD_SHAPE);
  check.at_least("codes", codes, 1, SJD2_BAD_SHAPE);
  if (check.ok()) check.rows(1, rows);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(log_likelihood_rows_kernel, dim3(static_cast<uint32_t>(rows)), dim3(kDrawThreads), sizeof(LikelihoodShared),
              stream, out, logits, targets, rows, codes, stream->fault);
  return SJD2_OK;
}
