// What the decode operations share: which rows are live, where a position's slot is, and draws from a row.
#ifndef SJD2_CUDA_DECODE_CUH
#define SJD2_CUDA_DECODE_CUH

#include "device/philox.cuh"
#include "device/reduce.cuh"

namespace sjd2::cuda {

// Rows of the pass that an image takes part in: none once it is finished or failed.
__device__ __forceinline__ int64_t live_rows(const sjd2_image& image, int64_t max_window) {
  if (image.status != SJD2_IMAGE_OK) return 0;
  const int64_t left = static_cast<int64_t>(image.length) - image.committed;
  return max64(0, min64(min64(image.window, max_window), left));
}

// An image's own numbers, as far as they reach into memory. One thread of the block tells.
__device__ __forceinline__ bool image_fits(FaultOperation operation, const sjd2_image& image, int64_t i,
                                           int64_t max_window, int64_t max_length, Fault* fault) {
  if (image.window < 1 || image.window > max_window) {
    if (threadIdx.x == 0) raise(fault, kBadWindow, i, image.window, max_window, operation);
    return false;
  }
  if (image.committed < 0 || image.committed > image.length || (max_length >= 0 && image.length > max_length)) {
    if (threadIdx.x == 0) raise(fault, kBadProgress, i, image.committed, image.length, operation);
    return false;
  }
  return true;
}

__device__ __forceinline__ int32_t forced_token(const int32_t* forced, int64_t position) {
  return forced == nullptr ? -1 : forced[position];
}

__device__ __forceinline__ PhiloxKey key_of(const sjd2_image& image) { return {image.seed_lo, image.seed_hi}; }

__device__ __forceinline__ float position_uniform(const sjd2_image& image, int64_t position, sjd2_purpose purpose) {
  const uint32_t high = stream_high(purpose, image.iteration);
  return uniform_low(philox(key_of(image), 0, image.index, static_cast<uint32_t>(position), high).word[0]);
}

// Row of `probs` [I, 2, M, C] that holds the targets of `position`; back = 1: those of the iteration before.
__device__ __forceinline__ int64_t prob_row(const sjd2_image& image, int64_t i, int64_t position, int64_t max_window,
                                            int back) {
  return (i * 2 + ((image.iteration + back) & 1)) * max_window + position % max_window;
}

// u < min(1, p/q) without the division; the f64 product of two f32 numbers is exact.
__device__ __forceinline__ bool accepts(float p, float q, float uniform) { return static_cast<double>(uniform) * q < p; }

// The excess of p over q, or over the uniform row.
struct Excess {
  const float* p;
  const float* q;
  float flat;

  __device__ __forceinline__ double operator()(int64_t i) const {
    const double d = static_cast<double>(p[i]) - (q != nullptr ? q[i] : flat);
    return d > 0 ? d : 0.0;
  }
};
struct Weight {
  const float* p;

  __device__ __forceinline__ double operator()(int64_t i) const { return p[i]; }
};

constexpr int kDrawThreads = 128;

struct DrawShared {
  double sums[kDrawThreads];
  double total;
  int32_t token;
};

// Sums of every thread's run of neighbours, always the same runs in the same order; every thread gets their total.
template <typename W>
__device__ double sum_runs(const W& weight, int64_t n, DrawShared& shared) {
  const int64_t run = div_up(n, kDrawThreads), begin = threadIdx.x * run, end = min64(n, begin + run);
  double sum = 0.0;
  for (int64_t i = begin; i < end; ++i) sum += weight(i);
  __syncthreads();
  shared.sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    double total = 0.0;
    for (int i = 0; i < kDrawThreads; ++i) total += shared.sums[i];
    shared.total = total;
  }
  __syncthreads();
  return shared.total;
}

// Smallest j whose running sum of weights exceeds `threshold`; the last positive one where rounding leaves the sum short.
// Behind sum_runs over the same weights; every thread gets it.
template <typename W>
__device__ int32_t inverse_cdf(const W& weight, int64_t n, double threshold, DrawShared& shared) {
  if (threadIdx.x == 0) {
    const int64_t run = div_up(n, kDrawThreads);
    double sum = 0.0;
    int64_t last = 0, found = -1;
    for (int t = 0; t < kDrawThreads && found < 0; ++t) {
      if (shared.sums[t] == 0) continue;
      // A run that cannot hold the crossing is only kept in mind; one place short of it leaves room for rounding.
      if (sum + shared.sums[t] <= threshold * (1 - 1e-12)) {
        last = -t - 1;
        sum += shared.sums[t];
        continue;
      }
      double running = sum;
      for (int64_t i = t * run; i < min64(n, (t + 1) * run) && found < 0; ++i) {
        const double w = weight(i);
        running += w;
        if (running > threshold) found = i;
        if (w > 0) last = i;
      }
      sum += shared.sums[t];
    }
    if (found < 0 && last < 0) {
      const int64_t t = -last - 1;
      for (int64_t i = t * run; i < min64(n, (t + 1) * run); ++i) last = weight(i) > 0 ? i : last;
    }
    shared.token = static_cast<int32_t>(found >= 0 ? found : max64(last, 0));
  }
  __syncthreads();
  return shared.token;
}

__device__ inline int32_t draw_from(const float* p, int64_t codes, float uniform, DrawShared& shared) {
  const Weight weight = {p};
  sum_runs(weight, codes, shared);
  return inverse_cdf(weight, codes, uniform, shared);
}

// From norm(max(p - q, 0)); q = NULL stands for the uniform row. docs/decoding.md, "The rejection test".
__device__ inline int32_t draw_residual(const float* p, const float* q, int64_t codes, float uniform, DrawShared& shared) {
  const Excess excess = {p, q, 1.0f / static_cast<float>(codes)};
  const double total = sum_runs(excess, codes, shared);
  // p = q cannot fail the test; kept so that the operation is total.
  if (!(total > 0)) return draw_from(p, codes, uniform, shared);
  return inverse_cdf(excess, codes, uniform * total, shared);
}

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_DECODE_CUH
