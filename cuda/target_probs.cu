// target_probs: guidance, temperature, top-k, top-p and softmax.
//
// Nothing is sorted. top-k finds the k-th largest by four rounds over eight bits each, counting; top-p finds the weight at
// which the mass crosses its limit in the same way, adding up the weights as 64-bit integers, 2^-46 a unit: sums that do not
// depend on the order in which threads come.
#include "check.h"
#include "device/decode.cuh"

namespace sjd2::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBins = 256;

struct TargetShared {
  unsigned long long bins[kBins];
  double sums[kThreads];
  float partial[kMaxWarps];
  int32_t flag;
  uint32_t prefix;
  unsigned long long before;
  int32_t ties[kThreads];
};

// Floats as integers in the same order.
__device__ __forceinline__ uint32_t ordinal(float value) {
  const uint32_t bits = float_to_bits(value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ unsigned long long mass_of(float weight) {
  return static_cast<unsigned long long>(static_cast<double>(weight) * 0x1p46 + 0.5);
}

// The largest 32-bit key such that the amounts of larger keys, plus its own, reach `wanted`. key(i) and amount(i) are an
// element's; `before` becomes the amounts of strictly larger keys.
template <typename Key, typename Amount>
__device__ uint32_t select_from_top(int64_t n, unsigned long long wanted, const Key& key, const Amount& amount,
                                    TargetShared& shared, unsigned long long* before) {
  uint32_t prefix = 0, mask = 0;
  unsigned long long above = 0;
#pragma unroll 1
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    shared.bins[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += kThreads) {
      const uint32_t k = key(i);
      if ((k & mask) == prefix) atomicAdd(&shared.bins[k >> shift & 255], amount(i));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned long long sum = above;
      int bin = kBins - 1;
      while (bin > 0 && sum + shared.bins[bin] < wanted) sum += shared.bins[bin--];
      shared.prefix = prefix | static_cast<uint32_t>(bin) << shift;
      shared.before = sum;
    }
    __syncthreads();
    prefix = shared.prefix;
    above = shared.before;
    mask |= 255u << shift;
  }
  *before = above;
  return prefix;
}

// Drops, of the codes that weigh `limit`, all behind the first `keep` in the order of their ids; each thread owns a run.
__device__ void keep_ties(float* row, int64_t codes, uint32_t bits, int64_t keep, TargetShared& shared) {
  const int64_t run = div_up(codes, kThreads), begin = threadIdx.x * run, end = min64(codes, begin + run);
  int32_t own = 0;
  for (int64_t c = begin; c < end; ++c) own += float_to_bits(row[c]) == bits ? 1 : 0;
  shared.ties[threadIdx.x] = own;
  __syncthreads();
  int64_t seen = 0;
  if (own > 0) {
    for (uint32_t t = 0; t < threadIdx.x; ++t) seen += shared.ties[t];
  }
  for (int64_t c = begin; c < end; ++c) {
    if (float_to_bits(row[c]) == bits && seen++ >= keep) row[c] = 0.0f;
  }
}

// A block owns one row of one image, a thread every 256th code of it; the row is worked on where it will stand.
//   shared     256 bins, one partial sum per thread
//   bytes      8 codes read, 4 written; then passes over 4 codes from the caches: 3, with top-k 4 more, with top-p 5
//   FLOP       some 30 a code, most of it one exponential
//   source     docs/decoding.md, "From logits to a target"; selection by radix instead of a sort is this file's own
__global__ void __launch_bounds__(kThreads)
    target_probs_rows_kernel(float* probs, const float* logits, const sjd2_image* images, const int32_t* forced,
                             int32_t* unusable, int64_t batch, int64_t max_window, int64_t codes, Fault* fault) {
  SJD2_SHARED(TargetShared, shared);
  const int64_t i = blockIdx.x / max_window, w = blockIdx.x % max_window;
  const sjd2_image image = images[i];
  if (threadIdx.x == 0) unusable[blockIdx.x] = 0;
  if (!image_fits(kTargetProbs, image, i, max_window, -1, fault)) return;
  if (!(image.temperature > 0.0f) || image.temperature == infinity()) {
    if (threadIdx.x == 0) raise(fault, kBadTemperature, i, float_to_bits(image.temperature));
    return;
  }
  if (w >= live_rows(image, max_window)) return;
  if (image.cond < 0 || image.cond >= batch || image.uncond >= batch) {
    if (threadIdx.x == 0) raise(fault, kBadSequences, i, image.cond, image.uncond);
    return;
  }
  const int64_t position = static_cast<int64_t>(image.committed) + w;
  if (forced_token(forced, position) >= 0) return;
  const float* cond = logits + (image.cond * max_window + w) * codes;
  const float* uncond = image.uncond < 0 ? nullptr : logits + (image.uncond * max_window + w) * codes;
  float* row = probs + prob_row(image, i, position, max_window, 0) * codes;

  float highest = -infinity();
  bool nan = false;
  for (int64_t c = threadIdx.x; c < codes; c += kThreads) {
    float score = uncond == nullptr ? cond[c] : uncond[c] + image.guidance * (cond[c] - uncond[c]);
    score = score / image.temperature;
    nan |= score != score;
    highest = Largest()(score, highest);
    row[c] = score;
  }
  highest = block_reduce(highest, shared.partial, Largest());
  const float nans = block_reduce(nan ? 1.0f : 0.0f, shared.partial, Sum());
  if (nans > 0.0f || !(highest < infinity() && highest > -infinity())) {
    if (threadIdx.x == 0) unusable[blockIdx.x] = 1;
    return;
  }
  uint32_t threshold = 0;
  unsigned long long before = 0;
  if (image.top_k > 0 && image.top_k < codes) {
    threshold = select_from_top(
        codes, static_cast<unsigned long long>(image.top_k), [row](int64_t c) { return ordinal(row[c]); },
        [](int64_t) { return 1ull; }, shared, &before);
  }
  for (int64_t c = threadIdx.x; c < codes; c += kThreads) {
    row[c] = ordinal(row[c]) >= threshold ? expf(row[c] - highest) : 0.0f;
  }
  if (image.top_p < 1.0f) {
    unsigned long long own = 0;
    for (int64_t c = threadIdx.x; c < codes; c += kThreads) own += mass_of(row[c]);
    __syncthreads();
    if (threadIdx.x == 0) shared.before = 0;
    __syncthreads();
    atomicAdd(&shared.before, own);
    __syncthreads();
    const double share = image.top_p > 0.0f ? image.top_p : 0.0;
    const auto limit = static_cast<unsigned long long>(share * static_cast<double>(shared.before));
    // At least one unit: the heaviest code is kept whatever the limit.
    const unsigned long long wanted = limit > 0 ? limit : 1;
    const uint32_t bits = select_from_top(
        codes, wanted, [row](int64_t c) { return float_to_bits(row[c]); }, [row](int64_t c) { return mass_of(row[c]); }, shared,
        &before);
    const unsigned long long each = mass_of(bits_to_float(bits));
    // A code stays while the mass before it is below the limit: ties go to the lower id.
    const auto ties = each > 0 ? static_cast<int64_t>((wanted - before + each - 1) / each) : int64_t{0};
    __syncthreads();
    for (int64_t c = threadIdx.x; c < codes; c += kThreads) {
      if (float_to_bits(row[c]) < bits) row[c] = 0.0f;
    }
    __syncthreads();
    keep_ties(row, codes, bits, ties, shared);
  }
  __syncthreads();
  double sum = 0.0;
  for (int64_t c = threadIdx.x; c < codes; c += kThreads) sum += row[c];
  shared.sums[threadIdx.x] = sum;
  for (uint32_t half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared.sums[threadIdx.x] += shared.sums[threadIdx.x + half];
  }
  __syncthreads();
  const auto scale = static_cast<float>(1 / shared.sums[0]);
  for (int64_t c = threadIdx.x; c < codes; c += kThreads) row[c] *= scale;
}

// A thread owns one image. Behind the rows: those still running must not see a status that another row has set.
//   bytes      4 a row read
__global__ void target_probs_status_kernel(sjd2_image* images, const int32_t* unusable, int64_t n_images, int64_t max_window) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n_images) return;
  int32_t any = 0;
  for (int64_t w = 0; w < max_window; ++w) any |= unusable[i * max_window + w];
  if (any != 0) images[i].status = SJD2_IMAGE_NAN_LOGITS;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_target_probs_f32(sjd2_stream stream, float* probs, const float* logits, sjd2_image* images,
                                          const int32_t* forced, int64_t n_images, int64_t batch, int64_t max_window,
                                          int64_t codes) {
  using namespace sjd2::cuda;
  Check check("target_probs");
  check.not_null(stream, probs, logits, images).at_least("n_images", n_images, 1, SJD2_BAD_SHAPE);
  check.at_least("batch", batch, 1, SJD2_BAD_SHAPE).at_least("max_window", max_window, 1, SJD2_BAD_SHAPE);
  // Integer masses of 2^17 codes of weight 1 fit 64 bits.
  check.at_least("codes", codes, 1, SJD2_BAD_SHAPE).within("codes", codes, 1, 1 << 17);
  check.within("rows", n_images * max_window, 0, kWorkspaceBytes / 4);
  if (!check.ok()) return check.status();
  auto* unusable = reinterpret_cast<int32_t*>(stream->workspace);
  SJD2_LAUNCH(target_probs_rows_kernel, dim3(static_cast<uint32_t>(n_images * max_window)), dim3(kThreads),
              sizeof(TargetShared), stream, probs, logits, images, forced, unusable, batch, max_window, codes, stream->fault);
  SJD2_LAUNCH(target_probs_status_kernel, dim3(static_cast<uint32_t>(div_up(n_images, 32))), dim3(32), 0, stream, images,
              unusable, n_images, max_window);
  return SJD2_OK;
}
