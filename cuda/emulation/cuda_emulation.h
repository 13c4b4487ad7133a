// What g++ needs to know of CUDA to compile the kernels, and how their launches reach the scheduler.
#ifndef SJD2_CUDA_EMULATION_H
#define SJD2_CUDA_EMULATION_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
  uint32_t x, y, z;
  constexpr dim3(uint32_t x_ = 1, uint32_t y_ = 1, uint32_t z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

namespace sjd2::emulation {

// The CUDA thread that this thread of the machine is running.
struct Indices {
  dim3 thread, block, block_size, grid_size;
  uint32_t lane;
};
extern __thread const Indices* current;

void* block_shared();
void block_barrier();

// Waits until all 32 lanes of the warp have come to the same collective; the last one computes for all of them.
using Collective = void (*)(void* const* lanes);
void warp_collective(Collective operation, void* argument);

// Ends the launch with a message.
[[noreturn]] void trap(const char* why);

// Calls the kernel once per thread. Returns 0, or a CUresult after writing why to `message`.
struct Grid {
  const char* name;
  dim3 grid, block;
  size_t shared;
};
int32_t run_grid(const Grid& grid, void (*body)(const void* arguments), const void* arguments, char* message,
                 size_t capacity);

// Hands a launch to the fake driver, which copies the arguments; runs it at once where no fake driver is loaded.
using Task = int32_t (*)(const void* arguments, char* message, size_t capacity);
int32_t enqueue_task(void* native, const char* name, Task task, const void* arguments, size_t bytes);

// Waits for a CUstream. 0 or a CUresult.
int32_t synchronize(void* native);

// Whether launches wait for a fake driver.
bool find_driver();

const char* last_message();

// A bug in every block of one kernel's launches, for tests of what has to find it.
enum class Bug {
  kNone,
  kNoBarrier,      // a thread does not wait at its amount-th __syncthreads, counted from 0
  kNoWarpBarrier,  // nor at its amount-th __syncwarp
  kShortShared,    // shared memory ends `amount` bytes early
  kAskewShared     // shared memory begins `amount` bytes late: alignment is lost
};
struct Plant {
  const char* kernel;  // a part of its name
  Bug bug;
  uint32_t amount;
};
void plant(const Plant& bug);

// Told of every launch, before its first block: the kernel's name and its bytes of shared memory. NULL: nobody.
void observe_launches(void (*observer)(const char* kernel, size_t shared));

// Arguments of a launch, as bytes that may be copied.
template <typename... Types>
struct Pack {};
template <typename First, typename... Rest>
struct Pack<First, Rest...> {
  First first;
  Pack<Rest...> rest;
};

template <typename First, typename... Rest>
inline Pack<First, Rest...> pack(First first, Rest... rest) {
  if constexpr (sizeof...(Rest) == 0) {
    return {first, {}};
  } else {
    return {first, pack<Rest...>(rest...)};
  }
}

template <typename... Parameters>
struct Closure {
  Grid grid;
  void (*kernel)(Parameters...);
  Pack<Parameters...> arguments;

  template <typename... Unpacked>
  static void call(void (*kernel)(Parameters...), const Pack<>&, Unpacked... values) {
    kernel(values...);
  }
  template <typename First, typename... Rest, typename... Unpacked>
  static void call(void (*kernel)(Parameters...), const Pack<First, Rest...>& pack, Unpacked... values) {
    call(kernel, pack.rest, values..., pack.first);
  }
  static void body(const void* bytes) {
    const auto& closure = *static_cast<const Closure*>(bytes);
    call(closure.kernel, closure.arguments);
  }
  static int32_t run(const void* bytes, char* message, size_t capacity) {
    return run_grid(static_cast<const Closure*>(bytes)->grid, &body, bytes, message, capacity);
  }
};

template <typename... Parameters>
int32_t enqueue(void* native, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                Parameters... arguments) {
  using Launch = Closure<Parameters...>;
  static_assert(std::is_trivially_copyable_v<Launch>);
  const Launch closure = {{name, grid, block, shared}, kernel, pack<Parameters...>(arguments...)};
  return enqueue_task(native, name, &Launch::run, &closure, sizeof closure);
}

template <typename T>
struct Shuffle {
  T in, out;
  uint32_t source;

  static void run(void* const* lanes) {
    for (int i = 0; i < 32; ++i) {
      auto* mine = static_cast<Shuffle*>(lanes[i]);
      mine->out = static_cast<Shuffle*>(lanes[mine->source & 31])->in;
    }
  }
};

struct Ballot {
  uint32_t predicate, out;

  static void run(void* const* lanes) {
    uint32_t mask = 0;
    for (int i = 0; i < 32; ++i) mask |= (static_cast<Ballot*>(lanes[i])->predicate != 0 ? 1u : 0u) << i;
    for (int i = 0; i < 32; ++i) static_cast<Ballot*>(lanes[i])->out = mask;
  }
};

void meet(void* const*);

inline void full_warp(uint32_t mask) {
  if (mask != 0xFFFFFFFFu) trap("a collective of less than a whole warp");
}

template <typename T>
T shuffle(uint32_t mask, T value, uint32_t source) {
  full_warp(mask);
  Shuffle<T> argument = {value, value, source};
  warp_collective(&Shuffle<T>::run, &argument);
  return argument.out;
}

}  // namespace sjd2::emulation

#define threadIdx (::sjd2::emulation::current->thread)
#define blockIdx (::sjd2::emulation::current->block)
#define blockDim (::sjd2::emulation::current->block_size)
#define gridDim (::sjd2::emulation::current->grid_size)

inline void __syncthreads() { ::sjd2::emulation::block_barrier(); }

inline void __syncwarp(uint32_t mask = 0xFFFFFFFFu) {
  ::sjd2::emulation::full_warp(mask);
  ::sjd2::emulation::warp_collective(&::sjd2::emulation::meet, nullptr);
}
template <typename T>
inline T __shfl_xor_sync(uint32_t mask, T value, int distance) {
  return ::sjd2::emulation::shuffle(mask, value, ::sjd2::emulation::current->lane ^ static_cast<uint32_t>(distance));
}
template <typename T>
inline T __shfl_sync(uint32_t mask, T value, int source) {
  return ::sjd2::emulation::shuffle(mask, value, static_cast<uint32_t>(source));
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate) {
  ::sjd2::emulation::full_warp(mask);
  ::sjd2::emulation::Ballot argument = {static_cast<uint32_t>(predicate != 0), 0};
  ::sjd2::emulation::warp_collective(&::sjd2::emulation::Ballot::run, &argument);
  return argument.out;
}

// As relaxed atomics, so that a race check takes them for what they are.
inline int32_t atomicAdd(int32_t* p, int32_t value) { return __atomic_fetch_add(p, value, __ATOMIC_RELAXED); }
inline uint32_t atomicAdd(uint32_t* p, uint32_t value) { return __atomic_fetch_add(p, value, __ATOMIC_RELAXED); }
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long value) {
  return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
inline int32_t atomicCAS(int32_t* p, int32_t expected, int32_t desired) {
  __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
inline int32_t atomicMin(int32_t* p, int32_t value) {
  int32_t before = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (value < before && !__atomic_compare_exchange_n(p, &before, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}
inline int32_t atomicOr(int32_t* p, int32_t value) { return __atomic_fetch_or(p, value, __ATOMIC_RELAXED); }

inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32); }

#endif  // SJD2_CUDA_EMULATION_H
