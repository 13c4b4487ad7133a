// The emulated device itself: what its barriers and collectives do, and that the bugs it is there to find are found. Bugs
// that a sanitizer has to find are planted in a child process, which must not survive them.
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "device/reduce.cuh"

namespace {

using namespace sjd2::test;
using sjd2::cuda::kMaxWarps;
using sjd2::cuda::Sum;

constexpr int kThreads = 96;

struct Room {
  int32_t values[kThreads];
  float partial[kMaxWarps];
};

__global__ void reverse_kernel(int32_t* out, const int32_t* in) {
  SJD2_SHARED(Room, shared);
  shared.values[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared.values[kThreads - 1 - threadIdx.x];
}

__global__ void sum_kernel(float* out) {
  SJD2_SHARED(Room, shared);
  const float sum = sjd2::cuda::block_reduce(static_cast<float>(threadIdx.x), shared.partial, Sum());
  out[threadIdx.x] = sum + static_cast<float>(__ballot_sync(sjd2::cuda::kWholeWarp, threadIdx.x % 2 == 0) == 0x55555555u);
}

// --- kernels with a bug -------------------------------------------------------------------------------------------------

[[maybe_unused]] __global__ void no_barrier_kernel(int32_t* out) {
  SJD2_SHARED(Room, shared);
  shared.values[threadIdx.x] = static_cast<int32_t>(threadIdx.x);
  out[threadIdx.x] = shared.values[kThreads - 1 - threadIdx.x];
}

__global__ void divergent_barrier_kernel(int32_t* out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 1;
  if (threadIdx.x >= 40) __syncwarp();
}

__global__ void divergent_collective_kernel(int32_t* out) {
  if (threadIdx.x % 32 == 3) {
    __syncwarp();
  } else {
    out[threadIdx.x] = __shfl_sync(sjd2::cuda::kWholeWarp, 1, 0);
  }
}

__global__ void beyond_memory_kernel(int32_t* out, int64_t n) { out[n + threadIdx.x] = 1; }

[[maybe_unused]] __global__ void beyond_shared_kernel(int32_t* out) {
  SJD2_SHARED(Room, shared);
  shared.values[threadIdx.x + 32] = 1;
  __syncthreads();
  out[threadIdx.x] = shared.values[threadIdx.x];
}

// ------------------------------------------------------------------------------------------------------------------------

template <typename Body>
bool survives(Body&& body) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    // What the sanitizer has to say is expected.
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(3);
    body();
    std::exit(0);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int32_t enqueue_reverse(Guarded<int32_t>& out, Guarded<int32_t>& in) {
  SJD2_LAUNCH(reverse_kernel, dim3(1), dim3(kThreads), sizeof(Room), stream, out.at(), in.in());
  return SJD2_OK;
}
int32_t enqueue_sum(Guarded<float>& out) {
  SJD2_LAUNCH(sum_kernel, dim3(1), dim3(kThreads), sizeof(Room), stream, out.at());
  return SJD2_OK;
}
int32_t enqueue(void (*kernel)(int32_t*), int32_t* out) {
  SJD2_LAUNCH(kernel, dim3(2), dim3(kThreads), sizeof(Room), stream, out);
  return SJD2_OK;
}
[[maybe_unused]] int32_t enqueue_beyond_memory(int32_t* out, int64_t n) {
  SJD2_LAUNCH(beyond_memory_kernel, dim3(1), dim3(kThreads), 0, stream, out, n);
  return SJD2_OK;
}

void check_collectives() {
  Guarded<int32_t> in(kThreads), out(kThreads);
  for (int32_t i = 0; i < kThreads; ++i) in[i] = i;
  ok(enqueue_reverse(out, in), "reverse");
  out.fetch();
  Guarded<float> sums(kThreads);
  ok(enqueue_sum(sums), "sum");
  sums.fetch();
  bool right = true;
  for (int32_t i = 0; i < kThreads; ++i) right &= out[i] == kThreads - 1 - i && sums[i] == kThreads * (kThreads - 1) / 2 + 1;
  expect(right && out.bands_intact() && sums.bands_intact(), "shared memory, shuffles and votes");
}

void check_divergence() {
  Guarded<int32_t> out(kThreads);
  refused(enqueue(divergent_barrier_kernel, out.at()), SJD2_DEVICE_LOST, "a barrier in divergent code");
  expect(std::strstr(sjd2_last_error(), "never come") != nullptr, "divergence is called: %s", sjd2_last_error());
  refused(enqueue(divergent_collective_kernel, out.at()), SJD2_DEVICE_LOST, "two collectives in one warp");
  check_collectives();  // the scheduler has let go of the fibers that were left behind
}

}  // namespace

int main() {
  return run("emulation", [] {
    check_collectives();
    check_divergence();
#if defined(SJD2_KIND_sanitized)
    expect(!survives([] {
      Guarded<int32_t> out(kThreads);
      enqueue_beyond_memory(out.at(), 1 << 12);
    }), "a write beyond device memory goes unseen");
    expect(!survives([] {
      Guarded<int32_t> out(kThreads);
      enqueue(beyond_shared_kernel, out.at());
    }), "a write beyond an array in shared memory goes unseen");
#endif
#if defined(SJD2_KIND_raced)
    expect(!survives([] {
      Guarded<int32_t> out(kThreads);
      enqueue(no_barrier_kernel, out.at());
    }), "a missing barrier goes unseen");
#else
    // Without the race check the same bug is only a wrong number.
    expect(survives([] {
      Guarded<int32_t> out(kThreads);
      enqueue(no_barrier_kernel, out.at());
    }), "a launch without a fault ends the process");
#endif
  });
}
