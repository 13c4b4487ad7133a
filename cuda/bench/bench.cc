// sjd2_cuda_bench: how long every operation takes on this machine's GPU, against what the GPU can do at best.
//
//   sjd2_cuda_bench [--model NAME] [--operation NAME]... [--runs N] [--json FILE]
//
// Each case's answer is checked before it is timed: a fast wrong kernel is no result. Times are medians of device events, cold
// (second-level cache flushed) and warm (in a graph, as decoding replays them). On the emulated device answers are checked and
// nothing is timed. Exit code 0, 1 if an answer is wrong, 2 for wrong usage, 77 where there is no device.
#include "bench.h"

#include <ctime>

#include "sjd2/peaks.h"
#include "timing.h"

#ifndef SJD2_COMMIT
#define SJD2_COMMIT "unknown"
#endif

namespace sjd2::bench {
namespace {

// Of the published models (emu3: 720 x 720 pixels); `small` is for the emulated device.
const Shapes kShapes[] = {
    // name            hidden heads kv dim  mlp    codes  kv_len length windows                channels side
    {"lumina-mgpt-7b", 4096, 32, 32, 128, 11008, 8192, 1200, 2357, {1, 8, 16, 32, 64}, 512, 96},
    {"emu3-8b", 4096, 32, 8, 128, 14336, 32768, 4096, 8193, {1, 16, 32, 64}, 256, 180},
    {"janus-pro-1b", 2048, 16, 16, 128, 5632, 16384, 300, 576, {1, 16, 32, 64}, 512, 48},
    {"llamagen-xl", 1280, 20, 20, 64, 3584, 16384, 512, 1024, {1, 16, 32, 64}, 512, 64},
    {"small", 96, 4, 2, 64, 160, 120, 70, 256, {1, 5, 17}, 32, 8},
};

struct Options {
  const Shapes* shapes = nullptr;
  std::vector<std::string> operations;
  int runs = 50;
  std::string json;
};

struct Peaks {
  double read = 0.0, copy = 0.0, f32 = 0.0, bf16 = 0.0, library_bf16 = 0.0;
  // What an operation may reach with tensor cores, whoever uses them better.
  double tensor() const { return std::max(bf16, library_bf16); }
};

struct Result {
  Case c;
  Time cold, warm, library;
  bool with_library = false;
};

int usage(const char* problem) {
  std::fprintf(stderr, "sjd2_cuda_bench: %s\n", problem);
  std::fprintf(stderr, "usage: sjd2_cuda_bench [--model NAME] [--operation NAME]... [--runs N] [--json FILE]\nmodels:");
  for (const Shapes& s : kShapes) std::fprintf(stderr, " %s", s.name);
  std::fprintf(stderr, "\n");
  return 2;
}

int parse(int count, char** arguments, Options* options) {
  options->shapes = Device::emulated() ? &kShapes[4] : &kShapes[0];
  for (int i = 1; i < count; i += 2) {
    const std::string option = arguments[i];
    if (i + 1 == count) return usage((option + " wants a value, or is no option").c_str());
    const std::string value = arguments[i + 1];
    if (option == "--model") {
      options->shapes = nullptr;
      for (const Shapes& s : kShapes) options->shapes = value == s.name ? &s : options->shapes;
      if (options->shapes == nullptr) return usage(("there is no model " + value).c_str());
    } else if (option == "--operation") {
      options->operations.push_back(value);
    } else if (option == "--runs") {
      options->runs = std::atoi(value.c_str());
      if (options->runs < 1) return usage("--runs wants a number from 1 on");
    } else if (option == "--json") {
      options->json = value;
    } else {
      return usage(("there is no option " + option).c_str());
    }
  }
  return 0;
}

double roof_micros(const Case& c, const Peaks& peaks) {
  const double memory = c.bytes / peaks.copy, arithmetic = c.flop / (c.tensor_cores ? peaks.tensor() : peaks.f32);
  return std::max(memory, arithmetic) * 1e6;
}

bool bound_by_memory(const Case& c, const Peaks& peaks) {
  return c.bytes / peaks.copy >= c.flop / (c.tensor_cores ? peaks.tensor() : peaks.f32);
}

#if defined(SJD2_GPU)
void print(const Result& r, const Peaks& peaks) {
  std::printf("%-15s %-5s %9.2f %9.2f us  %7.1f GB/s %7.2f TFLOP/s  %5.1f %% of the %s roof, cold  %s", r.c.operation.c_str(),
              r.c.dtype.c_str(), r.cold.median, r.warm.median, r.c.bytes / r.cold.median * 1e-3, r.c.flop / r.cold.median * 1e-6,
              100.0 * roof_micros(r.c, peaks) / r.cold.median, bound_by_memory(r.c, peaks) ? "memory" : "arithmetic",
              r.c.shape.c_str());
  if (r.with_library) std::printf("  (cuBLAS warm %.2f us)", r.library.median);
  std::printf("\n");
  std::fflush(stdout);
}
#endif

// Text as JSON; all of ours is printable but for what a device's name may hold.
std::string quoted(const std::string& value) {
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

void write_time(std::FILE* file, const char* name, const Time& time) {
  std::fprintf(file, ", \"%s_us\": %.3f, \"%s_us_quarters\": [%.3f, %.3f], \"%s_runs\": %d", name, time.median, name, time.low,
               time.high, name, time.runs);
}

bool write_json(const std::string& path, const DeviceInfo& info, const Peaks& peaks, const Options& options,
                const std::vector<Result>& results) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return false;
  char when[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  std::fprintf(file, "{\n  \"device\": %s,\n  \"architecture\": %s,\n  \"emulated\": %s,\n", quoted(info.name).c_str(),
               quoted(info.architecture).c_str(), Device::emulated() ? "true" : "false");
  std::fprintf(file, "  \"commit\": \"%s\",\n  \"time\": \"%s\",\n  \"model\": \"%s\",\n", SJD2_COMMIT, when, options.shapes->name);
  std::fprintf(file, "  \"checks\": %d,\n  \"failures\": %d,\n", test::checks, test::failures);
  if (!Device::emulated()) {
    std::fprintf(file, "  \"driver\": %d,\n  \"cuda\": %d,\n  \"multiprocessors\": %d,\n  \"memory_bytes\": %lld,\n  \"l2_bytes\": %lld,\n",
                 info.driver, info.runtime, info.multiprocessors, static_cast<long long>(info.memory_bytes),
                 static_cast<long long>(info.l2_bytes));
    std::fprintf(file, "  \"peaks\": {\"read_bytes_per_s\": %.6g, \"copy_bytes_per_s\": %.6g, \"f32_flop_per_s\": %.6g, ", peaks.read,
                 peaks.copy, peaks.f32);
    std::fprintf(file, "\"bf16_mma_sync_flop_per_s\": %.6g, \"bf16_cublas_flop_per_s\": %.6g},\n", peaks.bf16, peaks.library_bf16);
  }
  std::fprintf(file, "  \"results\": [");
  const char* separator = "\n";
  for (const Result& r : results) {
    std::fprintf(file, "%s    {\"operation\": \"%s\", \"dtype\": \"%s\", \"shape\": %s, \"bytes\": %.0f, \"flop\": %.0f", separator,
                 r.c.operation.c_str(), r.c.dtype.c_str(), quoted(r.c.shape).c_str(), r.c.bytes, r.c.flop);
    separator = ",\n";
    if (!Device::emulated()) {
      write_time(file, "cold", r.cold);
      write_time(file, "warm", r.warm);
      if (r.with_library) write_time(file, "cublas_warm", r.library);
      std::fprintf(file, ", \"roof\": \"%s\", \"roof_us\": %.3f, \"roof_share_cold\": %.4f",
                   bound_by_memory(r.c, peaks) ? "memory" : "arithmetic", roof_micros(r.c, peaks),
                   roof_micros(r.c, peaks) / r.cold.median);
    }
    std::fprintf(file, "}");
  }
  std::fprintf(file, "\n  ]\n}\n");
  return std::fclose(file) == 0;
}

// One run's answer; false if it is wrong.
bool right(const Case& c) {
  const int before = test::failures;
  if (c.prepare) c.prepare();
  if (ok(c.enqueue(), c.operation.c_str())) c.check();
  return test::failures == before;
}

Peaks measured_peaks() {
  Peaks peaks;
  double* const out[] = {&peaks.read, &peaks.copy, &peaks.f32, &peaks.bf16};
  for (int32_t peak = SJD2_PEAK_READ; peak <= SJD2_PEAK_BF16; ++peak) {
    expect(sjd2_measure_peak(out[peak], stream, peak) == SJD2_OK && *out[peak] > 0.0, "measure_peak: %s", sjd2_last_error());
  }
#if defined(SJD2_GPU)
  peaks.library_bf16 = Device::library_peak();
#endif
  return peaks;
}

int run(const Options& options) {
  DeviceInfo info;
  if (!Device::open(&info)) return test::failures > 0 ? 2 : 77;
  const Peaks peaks = measured_peaks();
  if (Device::emulated()) {
    std::printf("%s: times mean nothing here, so that nothing is timed; answers are checked\n", info.name.c_str());
  } else {
    std::printf("%s, %s, driver for CUDA %d.%d, commit %s\n", info.name.c_str(), info.architecture.c_str(), info.driver / 1000,
                info.driver % 1000 / 10, SJD2_COMMIT);
    std::printf("measured: read %.0f GB/s, copy %.0f GB/s, f32 %.1f TFLOP/s, bf16 by mma.sync %.1f TFLOP/s", peaks.read * 1e-9,
                peaks.copy * 1e-9, peaks.f32 * 1e-12, peaks.bf16 * 1e-12);
    if (peaks.library_bf16 > 0.0) std::printf(", by cuBLAS %.1f TFLOP/s", peaks.library_bf16 * 1e-12);
    std::printf("\n%-15s %-5s %9s %9s     (medians of %d runs)\n", "operation", "dtype", "cold", "warm", options.runs);
  }
  std::vector<Maker> makers = pass_cases(*options.shapes);
  for (auto cases : {decode_cases, picture_cases}) {
    for (Maker& maker : cases(*options.shapes)) makers.push_back(std::move(maker));
  }
  std::vector<Result> results;
  for (const Maker& maker : makers) {
    const bool wanted = options.operations.empty() || std::find(options.operations.begin(), options.operations.end(),
                                                                maker.operation) != options.operations.end();
    if (!wanted) continue;
    Result r = {maker.make(), {}, {}, {}, false};
    if (!right(r.c)) continue;
#if defined(SJD2_GPU)
    r.cold = Device::cold(r.c, options.runs);
    r.warm = Device::warm(r.c, options.runs);
    if (r.c.product != nullptr) r.with_library = Device::library_product(*r.c.product, options.runs, &r.library);
    ok(SJD2_OK, r.c.operation.c_str());
    print(r, peaks);
#else
    std::printf("%-15s %-5s right  %s\n", r.c.operation.c_str(), r.c.dtype.c_str(), r.c.shape.c_str());
#endif
    // The memory goes, the description stays.
    r.c.enqueue = nullptr, r.c.prepare = nullptr, r.c.check = nullptr;
    results.push_back(std::move(r));
  }
  if (results.empty() && test::failures == 0) return usage("no operation of that name");
  Device::close();
  if (!options.json.empty() && !write_json(options.json, info, peaks, options, results)) {
    std::fprintf(stderr, "sjd2_cuda_bench: %s cannot be written\n", options.json.c_str());
    return 1;
  }
  std::printf("%zu cases, %d checks, %d failed\n", results.size(), test::checks, test::failures);
  return test::failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace sjd2::bench

int main(int count, char** arguments) {
  sjd2::bench::Options options;
  const int status = sjd2::bench::parse(count, arguments, &options);
  return status != 0 ? status : sjd2::bench::run(options);
}
