// measure_peak: what the device can do at best, by the instructions that the other kernels are made of.
#include "sjd2/peaks.h"

#include <chrono>
#include <cstdlib>

#include "check.h"
#include "device/tensor_core.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr int kChains = 8;  // independent sums of a thread: more than an instruction's latency

// Blocks stride over the memory, a thread moves 4 x 16 bytes at a time.
//   bytes      16 n read, 16 n written
__global__ void __launch_bounds__(kThreads) peak_copy_kernel(uint4* to, const uint4* from, int64_t n) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 3 * stride < n; i += 4 * stride) {
    const uint4 a = from[i], b = from[i + stride], c = from[i + 2 * stride], d = from[i + 3 * stride];
    to[i] = a;
    to[i + stride] = b;
    to[i + 2 * stride] = c;
    to[i + 3 * stride] = d;
  }
  for (; i < n; i += stride) to[i] = from[i];
}

// The same without the writes: a word that no memory of ours holds would be reported.
//   bytes      16 n read
__global__ void __launch_bounds__(kThreads) peak_read_kernel(uint32_t* sink, const uint4* from, int64_t n) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  uint32_t seen = 0;
  for (; i + 3 * stride < n; i += 4 * stride) {
    const uint4 a = from[i], b = from[i + stride], c = from[i + 2 * stride], d = from[i + 3 * stride];
    seen |= (a.x | a.y | a.z | a.w) | (b.x | b.y | b.z | b.w) | (c.x | c.y | c.z | c.w) | (d.x | d.y | d.z | d.w);
  }
  for (; i < n; i += stride) seen |= from[i].x | from[i].y | from[i].z | from[i].w;
  if (seen != 0) *sink = seen;
}

// A thread owns kChains sums in registers.
//   FLOP       2 kChains rounds per thread
__global__ void __launch_bounds__(kThreads) peak_fma_kernel(float* sink, float factor, float summand, int64_t rounds) {
  float sums[kChains];
#pragma unroll
  for (int i = 0; i < kChains; ++i) sums[i] = static_cast<float>(threadIdx.x + i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) sums[i] = fmaf(sums[i], factor, summand);
  }
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kChains; ++i) total += sums[i];
  if (total < 0.0f) *sink = total;
}

// A warp owns kChains tiles of 16 x 8 sums in registers, all of the same product.
//   FLOP       4096 kChains rounds per warp
__global__ void __launch_bounds__(kThreads) peak_mma_kernel(float* sink, uint32_t word, int64_t rounds) {
  float sums[kChains][4] = {};
  const uint32_t a[4] = {word, word, word, word};
  for (int64_t round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) mma_bf16(sums[i], a, word, word);
  }
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kChains; ++i) total += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
  if (total < 0.0f) *sink = total;
}

#if defined(__CUDACC__)

constexpr int64_t kMemoryBytes = int64_t{512} << 20;  // of each of source and target: many times any second-level cache
constexpr double kLongEnough = 0.02;                  // seconds, beside which a launch and the wait do not count
constexpr int kRepeats = 10;

void* zeroed(size_t bytes) {
  void* p = nullptr;
  if (cudaMalloc(&p, bytes) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  if (cudaMemset(p, 0, bytes) == cudaSuccess) return p;
  cudaFree(p);
  return nullptr;
}
void release(void* p) { cudaFree(p); }
uint32_t multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return static_cast<uint32_t>(count > 0 ? count : 1);
}

#else

constexpr int64_t kMemoryBytes = 64 << 10;
constexpr double kLongEnough = 0.0;
constexpr int kRepeats = 1;

void* zeroed(size_t bytes) { return std::calloc(1, bytes); }
void release(void* p) { std::free(p); }
uint32_t multiprocessors() { return 1; }

#endif

struct Memory {
  explicit Memory(int64_t bytes) : at(zeroed(static_cast<size_t>(bytes))) {}
  ~Memory() { release(at); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* at;
};

// Runs `launch(rounds)`, ever longer until the clock can be trusted, then answers rounds per second of the best of several:
// whatever else the machine does only adds time.
template <typename Launch>
int32_t best_rate(double* rate, sjd2_stream stream, Launch&& launch) {
  using Clock = std::chrono::steady_clock;
  int64_t rounds = 1;
  *rate = 0.0;
  for (int repeat = 0; repeat < kRepeats;) {
    const auto begin = Clock::now();
    int32_t status = launch(rounds);
    if (status == SJD2_OK) status = sjd2_stream_synchronize(stream);
    if (status != SJD2_OK) return status;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (seconds < kLongEnough) {
      rounds *= 2;
      continue;
    }
    ++repeat;
    if (seconds > 0.0 && static_cast<double>(rounds) / seconds > *rate) *rate = static_cast<double>(rounds) / seconds;
  }
  return SJD2_OK;
}

int32_t launch_rounds(sjd2_stream stream, int32_t peak, void* to, const void* from, int64_t rounds) {
  // Registers: as many warps as a multiprocessor holds. Memory: the same, several times over, so that none runs dry.
  const dim3 grid(multiprocessors() * 8), block(kThreads);
  constexpr int64_t kPieces = kMemoryBytes / 16;
  switch (peak) {
    case SJD2_PEAK_READ:
      for (int64_t i = 0; i < rounds; ++i) {
        SJD2_LAUNCH(peak_read_kernel, grid, block, 0, stream, static_cast<uint32_t*>(to), static_cast<const uint4*>(from),
                    kPieces);
      }
      return SJD2_OK;
    case SJD2_PEAK_COPY:
      for (int64_t i = 0; i < rounds; ++i) {
        SJD2_LAUNCH(peak_copy_kernel, grid, block, 0, stream, static_cast<uint4*>(to), static_cast<const uint4*>(from),
                    kPieces);
      }
      return SJD2_OK;
    case SJD2_PEAK_F32:
      SJD2_LAUNCH(peak_fma_kernel, grid, block, 0, stream, static_cast<float*>(to), 0.5f, 1.0f, rounds);
      return SJD2_OK;
    default:
      SJD2_LAUNCH(peak_mma_kernel, grid, block, 0, stream, static_cast<float*>(to), 0x3F803F80u, rounds);
      return SJD2_OK;
  }
}

// Bytes or operations of one round.
double work_of_round(int32_t peak) {
  const double threads = static_cast<double>(multiprocessors()) * 8.0 * kThreads;
  switch (peak) {
    case SJD2_PEAK_READ:
      return static_cast<double>(kMemoryBytes);
    case SJD2_PEAK_COPY:
      return 2.0 * static_cast<double>(kMemoryBytes);
    case SJD2_PEAK_F32:
      return threads * 2.0 * kChains;
    default:
      return threads / 32.0 * 4096.0 * kChains;
  }
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_measure_peak(double* out, sjd2_stream stream, int32_t peak) {
  using namespace sjd2::cuda;
  Check check("measure_peak");
  check.not_null(stream, out);
  if (!check.ok()) return check.status();
  if (peak < SJD2_PEAK_READ || peak > SJD2_PEAK_BF16) {
    return fail(SJD2_BAD_ARGUMENT, "measure_peak: peak is %d, expected 0 to 3", peak);
  }
  const bool memory = peak <= SJD2_PEAK_COPY;
  const Memory to(memory ? kMemoryBytes : 16), from(memory ? kMemoryBytes : 16);
  if (to.at == nullptr || from.at == nullptr) {
    return fail(SJD2_OUT_OF_MEMORY, "measure_peak: 2 x %lld MiB of the device cannot be had",
                static_cast<long long>(kMemoryBytes >> 20));
  }
  double rate = 0.0;
  const int32_t status =
      best_rate(&rate, stream, [&](int64_t rounds) { return launch_rounds(stream, peak, to.at, from.at, rounds); });
  if (status == SJD2_OK) *out = rate * work_of_round(peak);
  return status;
}
