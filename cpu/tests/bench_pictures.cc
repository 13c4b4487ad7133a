// Times the layers of an image tokeniser of Lumina-mGPT's shape (channels 128 x [1, 1, 2, 2, 4], two residual blocks a
// level, attention in the middle) in the order of a real decode and encode, and says how far from the roof each kind is.
//
//   sjd2_cpu_bench_pictures [grid] [set] [passes]     grid: codes along a side, default 48 for 768 x 768 pixels; set: an
//                                                     instruction set, "" for the best; passes: default 3, the medians count
//
// The roofs are measured first, on the same threads. Weights and pictures are random: times do not depend on values.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>

#include "check.h"

using namespace sjd2::test;

namespace {

using Clock = std::chrono::steady_clock;

// Memory of one picture, of the weights of one layer.
template <typename T>
std::shared_ptr<Aligned<T>> filled(int64_t n, Random& random, double scale) {
  auto memory = std::make_shared<Aligned<T>>(n);
  for (int64_t i = 0; i < n; ++i) {
    memory->data()[i] = i < 65536 ? narrow<T>(static_cast<float>(random.normal() * scale)) : memory->data()[i - 65536];
  }
  return memory;
}

struct Kind {
  double flop = 0;
  std::vector<double> seconds;  // of each pass
};

// Runs layers one after the other over two pictures' memory, as a tokeniser does.
template <typename T>
class Network {
 public:
  Network(sjd2_stream stream, int64_t grid) : stream_(stream), grid_(grid), random_(7) {
    const int64_t largest = std::max<int64_t>(grid * 16 * grid * 16 * 128, grid * grid * 1536);
    for (auto& picture : pictures_) picture = filled<float>(largest, random_, 1.0);
    norm_ = filled<float>(3 * 512, random_, 0);
    moments_ = filled<float>(2 * 1536, random_, 0);
    weight_ = filled<float>(512, random_, 0.5);
  }

  void decode() {
    int64_t side = grid_;
    conv("1x1", side, 256, 256, 1);
    conv("ends", side, 256, 512, 3);
    middle(side);
    int64_t channels = 512;
    const int64_t widths[] = {512, 256, 256, 128, 128};
    for (int level = 0; level < 5; ++level) {
      for (int block = 0; block < 3; ++block, channels = widths[level]) residual(side, channels, widths[level]);
      if (level == 4) break;
      conv("3x3 enlarging", side, channels, channels, 3, 2);
      side *= 2;
    }
    normed("ends", side, channels, 3, 3, false);
  }

  void encode() {
    int64_t side = grid_ * 16;
    conv("ends", side, 3, 128, 3);
    int64_t channels = 128;
    const int64_t widths[] = {128, 128, 256, 256, 512};
    for (int level = 0; level < 5; ++level) {
      for (int block = 0; block < 2; ++block, channels = widths[level]) residual(side, channels, widths[level]);
      if (level == 4) break;
      conv("3x3 halving", side, channels, channels, 3, 1, 2);
      side /= 2;
    }
    middle(side);
    normed("ends", side, channels, 256, 3, false);
    conv("1x1", side, 256, 256, 1);
  }

  void end_pass() {
    for (auto& [name, kind] : kinds_) {
      kind.seconds.push_back(now_[name]);
      kind.flop = flop_[name];
    }
    now_.clear();
    flop_.clear();
    next_ = 0;
  }

  void report(const char* what, double peak) {
    double total = 0, flop = 0;
    std::printf("%s %s\n", what, dtype_name<T>());
    for (auto& [name, kind] : kinds_) {
      std::sort(kind.seconds.begin(), kind.seconds.end());
      const double median = kind.seconds[kind.seconds.size() / 2];
      total += median;
      flop += kind.flop;
      line(name.c_str(), kind.flop, median, peak);
    }
    line("all", flop, total, peak);
    std::fflush(stdout);
    kinds_.clear();
    weights_.clear();
  }

 private:
  static void line(const char* name, double flop, double seconds, double peak) {
    std::printf("  %-22s %9.1f GFLOP %9.1f ms %8.1f GFLOP/s %4.0f %% of the roof\n", name, flop * 1e-9, seconds * 1e3,
                flop / seconds * 1e-9, 100.0 * flop / seconds / peak);
  }

  template <typename F>
  void timed(const std::string& name, double flop, F&& body) {
    const auto begin = Clock::now();
    body();
    now_[name] += std::chrono::duration<double>(Clock::now() - begin).count();
    flop_[name] += flop;
    kinds_[name];
  }

  void middle(int64_t side) {
    residual(side, 512, 512);
    normed("1x1", side, 512, 1536, 1, false);
    timed("attention", 4.0 * static_cast<double>(side * side * side * side) * 512, [&] {
      if constexpr (sizeof(T) == 4) {
        ok(sjd2_vq_attention_f32(stream_, pictures_[1]->data(), pictures_[0]->data(), 1, side * side, 512, 0.04f),
           "vq_attention");
      } else {
        ok(sjd2_vq_attention_bf16(stream_, pictures_[1]->data(), pictures_[0]->data(), 1, side * side, 512, 0.04f),
           "vq_attention");
      }
    });
    std::swap(pictures_[0], pictures_[1]);
    conv("1x1", side, 512, 512, 1, 1, 1, true);
    residual(side, 512, 512);
  }

  void residual(int64_t side, int64_t in, int64_t out) {
    normed("3x3", side, in, out, 3, false);
    if (in != out) conv("1x1", side, in, out, 1);
    normed("3x3", side, out, out, 3, true);
  }

  void normed(const char* kind, int64_t side, int64_t in, int64_t out, int32_t taps, bool added) {
    timed("group norm", 0, [&] {
      ok(sjd2_group_norm_f32(stream_, norm_->data(), moments_->data(), weight_->data(), weight_->data(), 1, in, 32, 1e-6f),
         "group_norm");
    });
    conv(kind, side, in, out, taps, 1, 1, added, true);
  }

  void conv(const char* kind, int64_t side, int64_t in, int64_t out, int32_t taps, int32_t enlarge = 1,
            int32_t stride = 1, bool added = false, bool norm = false) {
    sjd2_conv_shape s = {};
    s.batch = s.frames = s.out_frames = 1;
    s.height = s.width = side;
    s.channels = in;
    s.out_height = s.out_width = side * enlarge / stride;
    s.out_channels = out;
    s.kernel_frames = s.stride_frames = s.enlarge_frames = 1;
    s.kernel_height = s.kernel_width = taps;
    s.stride_height = s.stride_width = stride;
    s.pad_height = s.pad_width = stride == 1 ? taps / 2 : 0;
    s.enlarge_space = enlarge;
    s.swish = norm && taps > 1;
    s.accumulate = added;
    int64_t elements = 0;
    ok(sjd2_packed_conv_elements(&elements, out, in, taps * taps, dtype<T>()), "packed_conv_elements");
    if (next_ == weights_.size()) weights_.push_back(filled<T>(elements, random_, 0.02));
    const T* w = weights_[next_++]->data();
    const float* statistics = norm ? norm_->data() : nullptr;
    const double flop = 2.0 * static_cast<double>(s.out_height * s.out_width * out * in * taps * taps);
    timed(kind, flop, [&] {
      if constexpr (sizeof(T) == 4) {
        ok(sjd2_conv_f32(stream_, pictures_[1]->data(), moments_->data(), pictures_[0]->data(), statistics, nullptr, w,
                         nullptr, &s),
           "conv");
      } else {
        ok(sjd2_conv_bf16(stream_, pictures_[1]->data(), moments_->data(), pictures_[0]->data(), statistics, nullptr, w,
                          nullptr, &s),
           "conv");
      }
    });
    std::swap(pictures_[0], pictures_[1]);
  }

  sjd2_stream stream_;
  int64_t grid_;
  Random random_;
  std::shared_ptr<Aligned<float>> pictures_[2], norm_, moments_, weight_;
  std::vector<std::shared_ptr<Aligned<T>>> weights_;
  size_t next_ = 0;
  std::map<std::string, Kind> kinds_;
  std::map<std::string, double> now_, flop_;
};

template <typename T>
void bench(sjd2_stream stream, int64_t grid, int64_t passes, int32_t peak) {
  double roof = 0;
  ok(sjd2_measure_peak(&roof, stream, peak), "measure_peak");
  std::printf("%s roof %.0f GFLOP/s\n", dtype_name<T>(), roof * 1e-9);
  Network<T> network(stream, grid);
  for (const bool decoding : {true, false}) {
    for (int64_t pass = 0; pass < passes; ++pass) {
      decoding ? network.decode() : network.encode();
      network.end_pass();
    }
    network.report(decoding ? "decode" : "encode", roof);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t grid = argc > 1 ? std::atoi(argv[1]) : 48;
  if (argc > 2 && *argv[2] != 0 && !ok(sjd2_select_isa(argv[2]), "select_isa")) return 1;
  const int64_t passes = argc > 3 ? std::atoi(argv[3]) : 3;
  Stream stream(0);
  int32_t threads = 0;
  ok(sjd2_stream_threads(stream, &threads), "stream_threads");
  std::printf("%s, %d threads, %lld x %lld codes\n", sjd2_isa(), threads, static_cast<long long>(grid),
              static_cast<long long>(grid));
  bench<uint16_t>(stream, grid, passes, SJD2_PEAK_BF16);
  bench<float>(stream, grid, passes, SJD2_PEAK_F32);
  return failures == 0 ? 0 : 1;
}
