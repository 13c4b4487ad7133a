// Streams, the choice of the instruction set, and what is said about arguments that cannot be.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "check.h"

using namespace sjd2::test;

namespace {

void expect_failure(int32_t got, int32_t want, const char* words, const char* what) {
  expect(got == want, "%s: status %d, expected %d", what, got, want);
  expect(std::strstr(sjd2_last_error(), words) != nullptr, "%s: \"%s\" does not say \"%s\"", what,
         sjd2_last_error(), words);
}

void check_streams() {
  sjd2_stream stream = nullptr;
  expect(sjd2_abi_version() == SJD2_ABI_VERSION, "abi_version");
  expect_failure(sjd2_stream_create(nullptr, 1, nullptr), SJD2_BAD_ARGUMENT, "out",
                 "stream_create without out");
  expect_failure(sjd2_stream_create(&stream, 1, &stream), SJD2_BAD_ARGUMENT, "native",
                 "stream_create over a native one");
  expect_failure(sjd2_stream_create(&stream, 1 << 30, nullptr), SJD2_BAD_ARGUMENT, "threads",
                 "stream_create of too many");
  expect(stream == nullptr, "a failed stream_create leaves NULL");
  expect_failure(sjd2_stream_synchronize(nullptr), SJD2_BAD_ARGUMENT, "stream", "synchronize NULL");
  expect(sjd2_stream_destroy(nullptr) == SJD2_OK, "destroy NULL");
  ok(sjd2_stream_create(&stream, 0, nullptr), "stream_create");
  int32_t threads = 0;
  ok(sjd2_stream_threads(stream, &threads), "stream_threads");
  expect(threads >= 1, "a stream of %d threads", threads);
  ok(sjd2_stream_synchronize(stream), "stream_synchronize");
  expect_failure(sjd2_select_isa("generic"), SJD2_BAD_ARGUMENT, "stream", "select_isa under a stream");
  ok(sjd2_stream_destroy(stream), "stream_destroy");
  for (int i = 0; i < 50; ++i) {
    // Some streams are closed while their threads spin, some after they have parked.
    Stream pool(4);
    float values[8] = {1, 2, 3}, out[8];
    ok(sjd2_round_f32(pool, out, values, nullptr, 1, 1, 8), "round");
    if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Memory is zero, begins where vectors like it, and can be written to its last byte.
void check_host_memory() {
  void* memory = nullptr;
  for (const int64_t bytes : {int64_t{1}, int64_t{4096}, (int64_t{1} << 21) - 1, int64_t{1} << 21, (int64_t{5} << 20) + 3}) {
    ok(sjd2_host_allocate(&memory, bytes), "host_allocate");
    auto* chars = static_cast<char*>(memory);
    expect(reinterpret_cast<uintptr_t>(memory) % 64 == 0, "%lld bytes at %p", static_cast<long long>(bytes), memory);
    expect(chars[0] == 0 && chars[bytes / 2] == 0 && chars[bytes - 1] == 0, "fresh memory is zero");
    chars[0] = chars[bytes - 1] = 1;
    ok(sjd2_host_free(memory, bytes), "host_free");
  }
  expect_failure(sjd2_host_allocate(nullptr, 1), SJD2_BAD_ARGUMENT, "out", "host_allocate without out");
  expect_failure(sjd2_host_allocate(&memory, 0), SJD2_BAD_ARGUMENT, "bytes", "host_allocate of nothing");
  expect_failure(sjd2_host_allocate(&memory, int64_t{1} << 60), SJD2_OUT_OF_MEMORY, "MiB", "host_allocate of 2^60");
  expect(memory == nullptr, "a failed host_allocate leaves NULL");
  expect(sjd2_host_free(nullptr, 1) == SJD2_OK, "free NULL");
}

// Streams of different threads do not meet; results do not depend on how many run.
void check_threads() {
  constexpr int64_t kRows = 64, kWidth = 1024;
  Random random(3);
  Guarded<float> x(kRows * kWidth), weight(kWidth), want(kRows * kWidth);
  x.fill_normal(random);
  weight.fill_normal(random);
  {
    Stream one(1);
    ok(sjd2_rms_norm_f32(one, want.data(), x.data(), weight.data(), nullptr, 1, kRows, kWidth, 1e-5f),
       "rms_norm");
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int32_t t = 1; t <= 3; ++t) {
    callers.emplace_back([&, t] {
      Stream stream(t + 1);
      std::vector<float> out(kRows * kWidth);
      for (int i = 0; i < 300; ++i) {
        std::memset(out.data(), 0, out.size() * 4);
        const int32_t status =
            sjd2_rms_norm_f32(stream, out.data(), x.data(), weight.data(), nullptr, 1, kRows, kWidth, 1e-5f);
        if (status != SJD2_OK || std::memcmp(out.data(), want.data(), out.size() * 4) != 0)
          wrong.fetch_add(1);
        if (i % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  expect(wrong.load() == 0, "%d passes of concurrent streams differ", wrong.load());
}

void check_selection() {
  char names[64];
  expect_failure(sjd2_isa_available(nullptr, 64), SJD2_BAD_ARGUMENT, "NULL",
                 "isa_available without a buffer");
  expect_failure(sjd2_isa_available(names, 2), SJD2_BAD_SHAPE, "bytes", "isa_available into two bytes");
  ok(sjd2_isa_available(names, sizeof names), "isa_available");
  expect(std::strncmp(names, "generic", 7) == 0, "available: %s", names);
  expect_failure(sjd2_select_isa("sse9"), SJD2_BAD_ARGUMENT, "generic", "select_isa of an unknown set");
  // The environment's wish is refused, never answered with another set.
  setenv("SJD2_CPU_ISA", "sse9", 1);
  ok(sjd2_select_isa(nullptr), "select_isa");
  sjd2_stream stream = nullptr;
  expect_failure(sjd2_stream_create(&stream, 1, nullptr), SJD2_UNSUPPORTED, "available: generic",
                 "stream of an unknown set");
  setenv("SJD2_CPU_ISA", "generic", 1);
  ok(sjd2_select_isa(nullptr), "select_isa");
  expect(std::strcmp(sjd2_isa(), "generic") == 0, "isa is %s", sjd2_isa());
  unsetenv("SJD2_CPU_ISA");
  ok(sjd2_select_isa(nullptr), "select_isa");
}

// Wide limits: whatever the machine and whoever shares it, a processor does something like this.
void check_peaks() {
  Stream stream(2);
  for (int32_t peak = SJD2_PEAK_READ; peak <= SJD2_PEAK_BF16; ++peak) {
    double rate = 0;
    ok(sjd2_measure_peak(&rate, stream, peak), "measure_peak");
    expect(rate > 1e7 && rate < 1e15, "peak %d is %g per second", peak, rate);
  }
  double rate = 0;
  expect_failure(sjd2_measure_peak(&rate, stream, 4), SJD2_BAD_ARGUMENT, "peak is 4", "measure_peak 4");
  expect_failure(sjd2_measure_peak(&rate, nullptr, 0), SJD2_BAD_ARGUMENT, "NULL", "measure_peak of nothing");
  expect_failure(sjd2_measure_peak(nullptr, stream, 0), SJD2_BAD_ARGUMENT, "NULL", "measure_peak to nowhere");
}

void check_arguments(sjd2_stream s) {
  float f[64] = {}, g[64] = {};
  uint16_t h[64] = {};
  int64_t n = 0;
  const int32_t ids[2] = {0, 5};
  expect_failure(sjd2_packed_elements(&n, 0, 4, SJD2_F32), SJD2_BAD_ARGUMENT, "n_out",
                 "packed_elements of no outputs");
  expect_failure(sjd2_packed_elements(&n, 4, 4, SJD2_F16), SJD2_BAD_ARGUMENT, "dst_dtype",
                 "packed_elements in f16");
  expect_failure(sjd2_pack_weights(s, f, g, 3, 2, 4, 4, SJD2_F32, SJD2_F32), SJD2_BAD_SHAPE, "rows",
                 "pack_weights past the end");
  expect_failure(sjd2_pack_weights(s, f, nullptr, 0, 2, 4, 4, SJD2_F32, SJD2_F32), SJD2_BAD_ARGUMENT, "NULL",
                 "pack_weights of NULL");
  expect_failure(sjd2_convert(s, f, h, 4, SJD2_F64, SJD2_BF16), SJD2_BAD_ARGUMENT, "dst_dtype",
                 "convert to f64");
  expect_failure(sjd2_convert(s, f, h, -1, SJD2_F32, SJD2_BF16), SJD2_BAD_ARGUMENT, "n is -1",
                 "convert of -1");
  f[0] = 7;
  expect_failure(sjd2_embed_f32(s, f, g, ids, 2, 5, 4), SJD2_BAD_ARGUMENT, "ids[1] is 5",
                 "embed of an unknown id");
  expect(f[0] == 7, "a failed embed wrote");
  expect_failure(sjd2_rms_norm_f32(s, f, g, g, nullptr, 1, 1, 0, 1e-5f), SJD2_BAD_ARGUMENT, "hidden",
                 "rms_norm of nothing");
  expect_failure(sjd2_rms_norm_f32(s, f, g, g, nullptr, 1, 1, 4, NAN), SJD2_BAD_ARGUMENT, "eps",
                 "rms_norm with eps NaN");
  expect_failure(sjd2_rms_norm_f32(nullptr, f, g, g, nullptr, 1, 1, 4, 0), SJD2_BAD_ARGUMENT, "NULL",
                 "rms_norm without a stream");
  const sjd2_sequence too_many = {0, 3, 0, 0};
  expect_failure(sjd2_round_f32(s, f, g, &too_many, 1, 2, 4), SJD2_BAD_ARGUMENT, "3 rows",
                 "round of too many rows");
  expect_failure(sjd2_matmul_f32(s, f, g, nullptr, nullptr, nullptr, 1, 1, 4, 4, 0), SJD2_BAD_ARGUMENT,
                 "NULL", "matmul without weights");
  expect_failure(sjd2_matmul_bf16(s, f, h, h, nullptr, nullptr, 1, 1, 4, 0, 0), SJD2_BAD_ARGUMENT, "n_in",
                 "matmul of no inputs");
  const sjd2_sequence row = {2, 2, 3, 0};
  const auto rope = [&](int64_t capacity, int64_t head_dim, int64_t rope_len, int32_t pairs, int64_t q_rows) {
    return sjd2_rope_append_f32(s, f, f, f, g, q_rows != 0 ? g : nullptr, nullptr, nullptr, nullptr, g, &row,
                                1, 2, capacity, 2, 1, head_dim, q_rows, 0, rope_len, pairs, 1e-5f);
  };
  expect_failure(rope(3, 4, 5, 0, 0), SJD2_BAD_SHAPE, "the cache has 3", "rope_append past the cache");
  expect_failure(rope(4, 4, 4, 0, 0), SJD2_BAD_SHAPE, "rotary table has 4", "rope_append past the table");
  expect_failure(rope(4, 3, 5, 0, 0), SJD2_BAD_SHAPE, "head_dim", "rope_append of an odd head");
  expect_failure(rope(4, 4, 5, 2, 0), SJD2_BAD_ARGUMENT, "pairs", "rope_append of unknown pairs");
  expect_failure(rope(4, 4, 5, 0, 3), SJD2_BAD_SHAPE, "q_rows", "rope_append of rows that do not divide");
  const auto attention = [&](int64_t capacity, int64_t heads, int64_t kv_heads, int64_t head_dim,
                             float scale) {
    return sjd2_attention_f32(s, f, g, g, g, &row, 1, 2, capacity, heads, kv_heads, head_dim, scale);
  };
  expect_failure(attention(3, 1, 1, 4, 1), SJD2_BAD_SHAPE, "cache", "attention past the cache");
  expect_failure(attention(4, 3, 2, 4, 1), SJD2_BAD_SHAPE, "n_kv_heads",
                 "attention of heads that do not divide");
  expect_failure(attention(4, 1, 1, 258, 1), SJD2_BAD_SHAPE, "head_dim", "attention of a wide head");
  expect_failure(attention(4, 1, 1, 4, 0), SJD2_BAD_ARGUMENT, "scale", "attention with scale 0");
  sjd2_image image = {};
  image.committed = 11;
  const sjd2_sequence elsewhere = {0, 1, 0, 1}, beyond = {0, 2, 0, 0};
  expect_failure(sjd2_sequence_input_f32(s, f, g, g, g, g, &elsewhere, &image, 1, 1, 2, 4, 3, 4),
                 SJD2_BAD_ARGUMENT, "image 1", "sequence_input of no image");
  expect_failure(sjd2_sequence_input_f32(s, f, g, g, g, g, &beyond, &image, 1, 1, 2, 4, 3, 4), SJD2_BAD_SHAPE,
                 "grid", "sequence_input past the grid");
  expect_failure(sjd2_sequence_input_f32(s, f, g, g, g, nullptr, &beyond, &image, 1, 1, 2, 4, 3, 4),
                 SJD2_BAD_ARGUMENT, "NULL", "sequence_input with half a grid");
  expect_failure(sjd2_swiglu_f32(s, f, g, nullptr, -1, 1, 4), SJD2_BAD_ARGUMENT, "batch",
                 "swiglu of -1 sequences");
  expect_failure(sjd2_gelu_f32(s, nullptr, g, nullptr, 1, 1, 4, 0), SJD2_BAD_ARGUMENT, "NULL",
                 "gelu into NULL");
  // Nothing to do is not a mistake.
  ok(sjd2_matmul_f32(s, f, g, g, nullptr, nullptr, 0, 4, 4, 4, 0), "matmul of no rows");
  ok(sjd2_attention_f32(s, f, g, g, g, &row, 0, 2, 4, 1, 1, 4, 1.0f), "attention of no rows");
}

}  // namespace

int main() {
  check_selection();
  check_streams();
  check_host_memory();
  check_threads();
  check_peaks();
  on_every_set(check_arguments);
  return finish("api");
}
