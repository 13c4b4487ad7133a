// philox_words, philox_normals: elements of one stream.
#include <type_traits>

#include "check.h"
#include "device/philox.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 128;

// A thread owns one block of four elements.
//   bytes      16 written;  some 100 integer operations, for normals two logarithms, roots, sines and cosines in f64
//   source     docs/decoding.md, "Randomness"
template <typename T>
__global__ void __launch_bounds__(kThreads)
    philox_blocks_kernel(T* out, PhiloxKey key, uint32_t image, uint32_t stream_lo, uint32_t stream_hi, int64_t n) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 4;
  if (first >= n) return;
  const PhiloxBlock block = philox(key, static_cast<uint32_t>(first / 4), image, stream_lo, stream_hi);
  if constexpr (std::is_same_v<T, float>) {
    float normals[4];
    philox_normals(normals, block);
    for (int j = 0; j < 4 && first + j < n; ++j) out[first + j] = normals[j];
  } else {
    for (int j = 0; j < 4 && first + j < n; ++j) out[first + j] = block.word[j];
  }
}

template <typename T>
int32_t launch_philox(const char* operation, sjd2_stream stream, T* out, PhiloxKey key, uint32_t image, uint32_t stream_lo,
                      uint32_t stream_hi, int64_t n) {
  Check check(operation);
  check.not_null(stream, out).at_least("n", n, 0);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(philox_blocks_kernel<T>, dim3(static_cast<uint32_t>(div_up(n, 4 * kThreads))), dim3(kThreads), 0, stream, out,
              key, image, stream_lo, stream_hi, n);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_philox_words(sjd2_stream stream, uint32_t* out, uint32_t seed_lo, uint32_t seed_hi, uint32_t image,
                                      uint32_t stream_lo, uint32_t stream_hi, int64_t n) {
  return sjd2::cuda::launch_philox("philox_words", stream, out, {seed_lo, seed_hi}, image, stream_lo, stream_hi, n);
}

SJD2_EXPORT int32_t sjd2_philox_normals_f32(sjd2_stream stream, float* out, uint32_t seed_lo, uint32_t seed_hi,
                                            uint32_t image, uint32_t stream_lo, uint32_t stream_hi, int64_t n) {
  return sjd2::cuda::launch_philox("philox_normals", stream, out, {seed_lo, seed_hi}, image, stream_lo, stream_hi, n);
}
