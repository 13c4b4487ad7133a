// What a machine can do at best, measured with the library's own threads: the roofs that operations are held against.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "sjd2/cpu.h"
#include "threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sjd2 {
namespace {

using Clock = std::chrono::steady_clock;

// Read in turns, so that no cache holds what comes next.
constexpr int64_t kRunBytes = 64ll << 20;
constexpr int64_t kRuns = 8;

volatile float sink;

// Seconds of a call: the best mean over some 10 ms, since a shared machine only ever adds time. The best of shorter
// samples lies between two ticks of the system and before the clock comes down, a peak that no operation of
// several milliseconds can hold (a tenth more, on a virtual machine with two cores).
constexpr double kSampleSeconds = 0.01;
constexpr int kSamples = 16;

template <typename F>
double best_seconds(F&& body) {
  double best = 1e30;
  for (int sample = 0; sample < kSamples; ++sample) {
    const auto begin = Clock::now();
    double took = 0;
    int calls = 0;
    // Whole turns through the runs of memory, so that every sample reads the same.
    while (took < kSampleSeconds || calls % kRuns != 0) {
      body();
      ++calls;
      took = std::chrono::duration<double>(Clock::now() - begin).count();
    }
    best = std::min(best, took / calls);
  }
  return best;
}

typedef uint64_t Words __attribute__((vector_size(32), aligned(8)));

// Adds up 8-byte words of four runs side by side, which is more than one core can be given by memory. Whether
// fetching ahead helps the hardware or is in its way depends on the machine.
template <bool kFetches>
#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
uint64_t sum_wide(const uint64_t* words, int64_t n) {
  Words sums[4] = {};
  const int64_t run = n / 4;
  for (int64_t i = 0; i + 8 <= run; i += 8) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const uint64_t* p = words + j * run + i;
      if (kFetches) __builtin_prefetch(p + 256);
      sums[j] += *reinterpret_cast<const Words*>(p) + *reinterpret_cast<const Words*>(p + 4);
    }
  }
  const Words total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return total[0] + total[1] + total[2] + total[3];
}

uint64_t sum_words(const uint64_t* words, int64_t n) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += words[i];
  return sum;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Bytes per second; a copy counts what it reads and what it writes.
int32_t measure_memory(double* out, sjd2_stream stream, bool copy) {
  const std::unique_ptr<void, Free> memory(std::aligned_alloc(64, kRunBytes * kRuns));
  if (memory == nullptr) {
    return fail(SJD2_OUT_OF_MEMORY, "measure_peak: %lld MiB cannot be had",
                static_cast<long long>(kRunBytes * kRuns >> 20));
  }
  auto* words = static_cast<uint64_t*>(memory.get());
  const int64_t tasks = thread_count(stream) * 4;
  constexpr int64_t kWords = kRunBytes / 8;
  parallel_for(stream, tasks, [&](int64_t task) {
    const Part part = part_of(kWords * kRuns, task, tasks);
    std::fill(words + part.begin, words + part.end, static_cast<uint64_t>(task));
  });
  using Sum = uint64_t (*)(const uint64_t*, int64_t);
  Sum sums[2] = {sum_words, nullptr};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) {
    sums[0] = sum_wide<true>;
    sums[1] = sum_wide<false>;
  }
#endif
  int64_t run = 0;
  const auto best_with = [&](Sum sum) {
    return best_seconds([&] {
      const uint64_t* from = words + run * kWords;
      run = (run + 1) % kRuns;
      uint64_t* to = words + run * kWords;
      parallel_for(stream, tasks, [&](int64_t task) {
        const Part part = part_of(kWords, task, tasks);
        if (copy) {
          std::memcpy(to + part.begin, from + part.begin, static_cast<size_t>(part.end - part.begin) * 8);
        } else {
          sink = static_cast<float>(sum(from + part.begin, part.end - part.begin));
        }
      });
    });
  };
  double seconds = best_with(sums[0]);
  if (!copy && sums[1] != nullptr) seconds = std::min(seconds, best_with(sums[1]));
  *out = (copy ? 2.0 : 1.0) * static_cast<double>(kRunBytes) / seconds;
  return SJD2_OK;
}

// Each runs `repeats` rounds of independent multiply-adds in registers and returns the operations done.
using Arithmetic = double (*)(int64_t repeats);

// A value that the compiler knows nothing of, so that it can neither foresee a sum nor merge two that are alike.
template <typename Vector>
__attribute__((always_inline)) inline Vector hidden(Vector v) {
#if defined(__x86_64__)
  asm volatile("" : "+x"(v));
#else
  asm volatile("" : "+w"(v));
#endif
  return v;
}

double multiply_adds(int64_t repeats) {
  typedef float Four __attribute__((vector_size(16)));
  Four sums[8];
  for (auto& s : sums) s = hidden(Four{1, 1, 1, 1});
  const Four a = {0.999f, 0.999f, 0.999f, 0.999f}, b = {0.001f, 0.001f, 0.001f, 0.001f};
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 8
    for (auto& s : sums) s = s * a + b;
  }
  Four total = sums[0];
  for (const auto& s : sums) total += s;
  sink = total[0] + total[1] + total[2] + total[3];
  return static_cast<double>(repeats) * 8 * 8;
}

#if defined(__x86_64__)
#ifdef SJD2_HAVE_avx2
__attribute__((target("avx2,fma"))) double multiply_adds_256(int64_t repeats) {
  __m256 sums[12];
  for (auto& s : sums) s = hidden(_mm256_set1_ps(1.0f));
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 12
    for (auto& s : sums) s = _mm256_fmadd_ps(s, a, b);
  }
  __m256 total = _mm256_setzero_ps();
  for (const auto& s : sums) total = _mm256_add_ps(total, s);
  sink = _mm256_cvtss_f32(total);
  return static_cast<double>(repeats) * 12 * 16;
}
#endif

#ifdef SJD2_HAVE_avx512
__attribute__((target("avx512f"))) double multiply_adds_512(int64_t repeats) {
  __m512 sums[16];
  for (auto& s : sums) s = hidden(_mm512_set1_ps(1.0f));
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 16
    for (auto& s : sums) s = _mm512_fmadd_ps(s, a, b);
  }
  __m512 total = _mm512_setzero_ps();
  for (const auto& s : sums) total = _mm512_add_ps(total, s);
  sink = _mm512_cvtss_f32(total);
  return static_cast<double>(repeats) * 16 * 32;
}
#endif

#ifdef SJD2_HAVE_avx512bf16
__attribute__((target("avx512f,avx512bf16"))) double dots_512(int64_t repeats) {
  __m512 sums[16];
  for (auto& s : sums) s = hidden(_mm512_set1_ps(1.0f));
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f));
  const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.001f), _mm512_set1_ps(-0.001f));
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 16
    for (auto& s : sums) s = _mm512_dpbf16_ps(s, a, b);
  }
  __m512 total = _mm512_setzero_ps();
  for (const auto& s : sums) total = _mm512_add_ps(total, s);
  sink = _mm512_cvtss_f32(total);
  return static_cast<double>(repeats) * 16 * 64;
}
#endif

#ifdef SJD2_HAVE_amx
__attribute__((target("amx-tile,amx-bf16"))) double tiles(int64_t repeats) {
  struct alignas(64) {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } config = {};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    config.bytes[i] = 64;
    config.rows[i] = 16;
  }
  asm volatile("" : : "r"(&config) : "memory");  // GCC does not see that the instruction reads all of it
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t i = 0; i < repeats; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
  return static_cast<double>(repeats) * 4 * 16 * 16 * 64;
}
#endif
#endif

// The widest form of a multiply-add that products of this dtype can use under the instruction set in use. Where bf16 has
// no instruction of its own, its products are those of f32.
Arithmetic arithmetic_of(bool bf16) {
  [[maybe_unused]] const auto runs_on = [isa = sjd2_isa()](const char* name) {
    return std::strcmp(isa, name) == 0;
  };
#ifdef SJD2_HAVE_amx
  if (runs_on("amx")) return bf16 ? tiles : multiply_adds_512;
#endif
#ifdef SJD2_HAVE_avx512bf16
  if (runs_on("avx512-bf16")) return bf16 ? dots_512 : multiply_adds_512;
#endif
#ifdef SJD2_HAVE_avx512
  if (runs_on("avx512")) return multiply_adds_512;
#endif
#ifdef SJD2_HAVE_avx2
  if (runs_on("avx2")) return multiply_adds_256;
#endif
  static_cast<void>(bf16);
  return multiply_adds;
}

double measure_arithmetic(sjd2_stream stream, Arithmetic rounds) {
  constexpr int64_t kRepeats = 200000;
  const int64_t tasks = thread_count(stream) * 2;
  const double seconds = best_seconds([&] {
    parallel_for(stream, tasks, [&](int64_t) { rounds(kRepeats); });
  });
  return rounds(1) * kRepeats * static_cast<double>(tasks) / seconds;
}

}  // namespace
}  // namespace sjd2

SJD2_EXPORT const char* sjd2_compiler(void) {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

SJD2_EXPORT int32_t sjd2_measure_peak(double* out, sjd2_stream stream, int32_t peak) {
  if (out == nullptr || stream == nullptr) {
    return sjd2::fail(SJD2_BAD_ARGUMENT, "measure_peak: a required pointer is NULL");
  }
  switch (peak) {
    case SJD2_PEAK_READ:
    case SJD2_PEAK_COPY:
      return sjd2::measure_memory(out, stream, peak == SJD2_PEAK_COPY);
    case SJD2_PEAK_F32:
    case SJD2_PEAK_BF16:
      *out = sjd2::measure_arithmetic(stream, sjd2::arithmetic_of(peak == SJD2_PEAK_BF16));
      return SJD2_OK;
    default:
      return sjd2::fail(SJD2_BAD_ARGUMENT, "measure_peak: peak is %d, expected 0 (read) to 3 (bf16)", peak);
  }
}
