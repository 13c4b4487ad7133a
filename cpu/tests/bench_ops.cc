// Times matmul and attention at a real model's and at the demo model's shapes, and says how far from the roof
// they are.
//
//   sjd2_cpu_bench [threads] [set]     threads 0: all cores; set: an instruction set, default the best
//
// The roof is measured first, on the same threads.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>

#include "../threads.h"
#include "check.h"

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

Roof measure_roof(sjd2_stream stream) {
  Roof roof = {};
  ok(sjd2_measure_peak(&roof.bytes_per_second, stream, SJD2_PEAK_READ), "measure_peak");
  ok(sjd2_measure_peak(&roof.flops_f32, stream, SJD2_PEAK_F32), "measure_peak");
  ok(sjd2_measure_peak(&roof.flops_bf16, stream, SJD2_PEAK_BF16), "measure_peak");
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
  const Roof roof = measure_roof(stream);
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
