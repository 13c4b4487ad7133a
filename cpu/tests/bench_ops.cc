// Times matmul and attention at a real model's and at the demo model's shapes, and says how far from the roof
// they are.
//
//   sjd2_cpu_bench [threads] [set]     threads 0: all cores; set: an instruction set, default the best
//
// The roof is measured first, on the same threads: reading memory, and multiply-adds in registers.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>

#include "../threads.h"
#include "check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace sjd2::test;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(const std::function<void()>& body) {
  // The best of several short runs: a shared machine only ever adds time.
  double best = 1e30;
  double spent = 0;
  for (int i = 0; i < 2000 && (i < 20 || spent < 0.5); ++i) {
    const auto begin = Clock::now();
    body();
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::min(best, took);
    spent += took;
  }
  return best;
}

struct Roof {
  double bytes_per_second, flops_f32, flops_bf16;
};

volatile float sink;

// Adds up 8-byte words of four runs side by side, which is more than one core can be given by memory.
#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
uint64_t sum_words(const uint64_t* words, int64_t n) {
  typedef uint64_t Words __attribute__((vector_size(32), aligned(8)));
  Words sums[4] = {};
  const int64_t run = n / 4;
  for (int64_t i = 0; i + 8 <= run; i += 8) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const uint64_t* p = words + j * run + i;
      __builtin_prefetch(p + 256);
      sums[j] += *reinterpret_cast<const Words*>(p) + *reinterpret_cast<const Words*>(p + 4);
    }
  }
  const Words total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return total[0] + total[1] + total[2] + total[3];
}

double measure_read(sjd2_stream stream, int64_t threads) {
  constexpr int64_t kBytes = 64ll << 20;
  constexpr int64_t kCopies = 12;  // one after the other, so that no cache holds what is read next
  static Aligned<uint16_t> memory(kBytes * kCopies / 2);
  const auto* words = reinterpret_cast<const uint64_t*>(memory.data());
  int64_t copy = 0;
  const double seconds = seconds_of([&] {
    const uint64_t* here = words + copy * (kBytes / 8);
    copy = (copy + 1) % kCopies;
    sjd2::parallel_for(stream, threads * 4, [&](int64_t task) {
      const sjd2::Part part = sjd2::part_of(kBytes / 8, task, threads * 4);
      sink = static_cast<float>(sum_words(here + part.begin, part.end - part.begin));
    });
  });
  return kBytes / seconds;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) double fma512(int64_t repeats) {
  __m512 sums[16];
  for (auto& s : sums) s = _mm512_set1_ps(1.0f);
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

__attribute__((target("avx2,fma"))) double fma256(int64_t repeats) {
  __m256 sums[12];
  for (auto& s : sums) s = _mm256_set1_ps(1.0f);
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

double measure_flops(sjd2_stream stream, int64_t threads, double (*kernel)(int64_t)) {
  double flop = 0;
  const double seconds = seconds_of([&] {
    std::vector<double> done(static_cast<size_t>(threads) * 2);
    sjd2::parallel_for(stream, threads * 2,
                       [&](int64_t task) { done[static_cast<size_t>(task)] = kernel(200000); });
    flop = 0;
    for (const double d : done) flop += d;
  });
  return flop / seconds;
}

Roof measure_roof(sjd2_stream stream, int64_t threads) {
  Roof roof = {measure_read(stream, threads), 0, 0};
#if defined(__x86_64__)
  const std::string isa = sjd2_isa();
  if (isa == "generic") {
    roof.flops_f32 = measure_flops(stream, threads, fma256) / 4;  // SSE, multiply and add apart
  } else {
    roof.flops_f32 = measure_flops(stream, threads, isa == "avx2" ? fma256 : fma512);
  }
  roof.flops_bf16 = isa == "amx" ? measure_flops(stream, threads, tiles) : roof.flops_f32;
#endif
  return roof;
}

void report(const char* what, int64_t rows, double seconds, double bytes, double flop, double bandwidth,
            double flops) {
  const double bound = std::max(bytes / bandwidth, flop / flops);
  std::printf("%-34s %4lld rows %9.1f us %7.1f GB/s %8.1f GFLOP/s %5.0f %% of the %s roof\n", what,
              static_cast<long long>(rows), seconds * 1e6, bytes / seconds * 1e-9, flop / seconds * 1e-9,
              100.0 * bound / seconds, bytes / bandwidth > flop / flops ? "memory" : "arithmetic");
  std::fflush(stdout);
}

const int64_t kRows[] = {1, 4, 16, 32, 64, 96};

template <typename T>
void bench_matmul(sjd2_stream stream, const Roof& roof, const char* model, int64_t n_out, int64_t n_in,
                  bool cached) {
  // Beyond the caches: a ring of copies, so that each call finds its weights in memory.
  int64_t elements = 0;
  ok(sjd2_packed_elements(&elements, n_out, n_in, dtype<T>()), "packed_elements");
  const auto bytes = static_cast<double>(n_out * n_in) * sizeof(T);
  const int64_t copies = cached ? 1 : std::max<int64_t>(1, static_cast<int64_t>(1.2e9 / bytes));
  Aligned<T> weights(elements * copies);
  std::fill(weights.data(), weights.data() + elements * copies, narrow<T>(0.01f));
  for (const int64_t rows : kRows) {
    Aligned<T> x(rows * n_in);
    Aligned<float> out(rows * n_out);
    std::fill(x.data(), x.data() + rows * n_in, narrow<T>(0.5f));
    int64_t copy = 0;
    const double seconds = seconds_of([&] {
      const T* w = weights.data() + copy * elements;
      copy = (copy + 1) % copies;
      if constexpr (sizeof(T) == 4) {
        ok(sjd2_matmul_f32(stream, out.data(), x.data(), w, nullptr, nullptr, 1, rows, n_out, n_in, 0),
           "matmul");
      } else {
        ok(sjd2_matmul_bf16(stream, out.data(), x.data(), w, nullptr, nullptr, 1, rows, n_out, n_in, 0),
           "matmul");
      }
    });
    char name[96];
    std::snprintf(name, sizeof name, "matmul %s %s %lldx%lld", dtype_name<T>(), model,
                  static_cast<long long>(n_out), static_cast<long long>(n_in));
    const double flop = 2.0 * static_cast<double>(rows * n_out * n_in);
    report(name, rows, seconds, bytes, flop, cached ? 1e30 : roof.bytes_per_second,
           sizeof(T) == 4 ? roof.flops_f32 : roof.flops_bf16);
  }
}

template <typename T>
void bench_attention(sjd2_stream stream, const Roof& roof, const char* model, int64_t heads, int64_t head_dim,
                     int32_t kv_len) {
  constexpr int64_t kBatch = 2;
  for (const int64_t rows : kRows) {
    const int64_t capacity = kv_len + rows;
    const int64_t n = kBatch * rows * heads * head_dim, cache = kBatch * capacity * heads * head_dim;
    Aligned<T> q(n), out(n), k(cache), v(cache);
    for (int64_t i = 0; i < cache; ++i) {
      k.data()[i] = narrow<T>(0.01f * static_cast<float>(i % 101 - 50));
      v.data()[i] = narrow<T>(0.01f * static_cast<float>(i % 97 - 48));
    }
    for (int64_t i = 0; i < n; ++i) q.data()[i] = narrow<T>(0.01f * static_cast<float>(i % 89 - 44));
    const sjd2_sequence sequences[kBatch] = {{kv_len, static_cast<int32_t>(rows), 0, 0},
                                             {kv_len, static_cast<int32_t>(rows), 0, 0}};
    const double seconds = seconds_of([&] {
      if constexpr (sizeof(T) == 4) {
        ok(sjd2_attention_f32(stream, out.data(), q.data(), k.data(), v.data(), sequences, kBatch, rows,
                              capacity, heads, heads, head_dim, 0.1f),
           "attention");
      } else {
        ok(sjd2_attention_bf16(stream, out.data(), q.data(), k.data(), v.data(), sequences, kBatch, rows,
                               capacity, heads, heads, head_dim, 0.1f),
           "attention");
      }
    });
    char name[96];
    std::snprintf(name, sizeof name, "attention %s %s kv %d", dtype_name<T>(), model, kv_len);
    report(name, rows, seconds, 2.0 * static_cast<double>(cache) * sizeof(T),
           4.0 * static_cast<double>(n) * (kv_len + static_cast<double>(rows) / 2), 1e30,
           sizeof(T) == 4 ? roof.flops_f32 : roof.flops_bf16);
  }
}

void bench_fork(sjd2_stream stream, int64_t threads) {
  const double seconds = seconds_of([&] {
    for (int i = 0; i < 1000; ++i) sjd2::parallel_for(stream, threads, [](int64_t) {});
  });
  std::printf("fork and join: %.2f us\n", seconds * 1e3);
}

}  // namespace

int main(int argc, char** argv) {
  const int32_t wanted = argc > 1 ? std::atoi(argv[1]) : 0;
  if (argc > 2 && !ok(sjd2_select_isa(argv[2]), "select_isa")) return 1;
  Stream stream(wanted);
  int32_t threads = 0;
  ok(sjd2_stream_threads(stream, &threads), "stream_threads");
  const Roof roof = measure_roof(stream, threads);
  std::printf("%s, %d threads: read %.1f GB/s, f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s\n", sjd2_isa(), threads,
              roof.bytes_per_second * 1e-9, roof.flops_f32 * 1e-9, roof.flops_bf16 * 1e-9);
  bench_fork(stream, threads);
  bench_matmul<uint16_t>(stream, roof, "janus-pro-1b", 11264, 2048, false);
  bench_matmul<uint16_t>(stream, roof, "janus-pro-1b", 2048, 5632, false);
  bench_matmul<float>(stream, roof, "janus-pro-1b", 11264, 2048, false);
  bench_matmul<uint16_t>(stream, roof, "demo", 768, 256, true);
  bench_matmul<uint16_t>(stream, roof, "demo", 1536, 256, true);
  bench_matmul<uint16_t>(stream, roof, "demo", 256, 768, true);
  bench_matmul<float>(stream, roof, "demo", 768, 256, true);
  bench_attention<uint16_t>(stream, roof, "janus-pro-1b", 16, 128, 400);
  bench_attention<float>(stream, roof, "janus-pro-1b", 16, 128, 400);
  bench_attention<uint16_t>(stream, roof, "demo", 4, 64, 200);
  bench_attention<float>(stream, roof, "demo", 4, 64, 200);
  return failures == 0 ? 0 : 1;
}
