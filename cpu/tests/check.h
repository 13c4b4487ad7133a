// What the tests of libsjd2_cpu share: seeded numbers, guarded buffers, tolerances, and a count of what
// failed.
#ifndef SJD2_CPU_TESTS_CHECK_H
#define SJD2_CPU_TESTS_CHECK_H

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "sjd2/cpu.h"
#include "sjd2/kernels.h"

namespace sjd2::test {

inline int failures = 0;
inline int checks = 0;
inline std::string context;  // instruction set and thread count of the run

__attribute__((format(printf, 2, 3))) inline bool expect(bool condition, const char* format, ...) {
  ++checks;
  if (condition) return true;
  if (++failures <= 40) {
    std::printf("FAILED [%s] ", context.c_str());
    va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    std::printf("\n");
  }
  return false;
}

inline bool ok(int32_t status, const char* what) {
  return expect(status == SJD2_OK, "%s: status %d: %s", what, status, sjd2_last_error());
}

// A seeded generator; the seed is part of each case's name, so every number can be had again.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}

  uint64_t word() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(word() >> 11) * 0x1p-53; }
  // Roughly normal: the sum of four uniforms, so that no value is extreme.
  double normal() { return (uniform() + uniform() + uniform() + uniform() - 2.0) * 1.7320508; }
  int64_t below(int64_t n) { return static_cast<int64_t>(word() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

inline float widen(float v) { return v; }
inline float widen(uint16_t v) {
  const uint32_t bits = static_cast<uint32_t>(v) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

template <typename T>
T narrow(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits | 0x400000u) >> 16);
    return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
  }
}

template <typename T>
const char* dtype_name() {
  return std::is_same_v<T, float> ? "f32" : "bf16";
}
template <typename T>
constexpr int32_t dtype() {
  return std::is_same_v<T, float> ? SJD2_F32 : SJD2_BF16;
}

// Elements between two bands of a pattern, at an address that is aligned to the element and to nothing more.
template <typename T>
class Guarded {
 public:
  explicit Guarded(int64_t n) : n_(n), all_(static_cast<size_t>(n + 2 * kBand + 16)) {
    offset_ = kBand;
    while (reinterpret_cast<uintptr_t>(all_.data() + offset_) % 64 != sizeof(T)) ++offset_;
    std::memset(static_cast<void*>(all_.data()), kPattern, all_.size() * sizeof(T));
  }

  T* data() { return all_.data() + offset_; }
  const T* data() const { return all_.data() + offset_; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return n_; }

  void fill_normal(Random& random, double scale = 1.0) {
    for (int64_t i = 0; i < n_; ++i) data()[i] = narrow<T>(static_cast<float>(random.normal() * scale));
  }
  void fill(T value) {
    for (int64_t i = 0; i < n_; ++i) data()[i] = value;
  }

  bool untouched(int64_t i) const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(data() + i);
    for (size_t j = 0; j < sizeof(T); ++j) {
      if (bytes[j] != kPattern) return false;
    }
    return true;
  }
  bool bands_intact() const {
    for (int64_t i = 0; i < static_cast<int64_t>(all_.size()); ++i) {
      const int64_t inner = i - static_cast<int64_t>(offset_);
      if (inner >= 0 && inner < n_) continue;
      if (!untouched(inner)) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kBand = 80;
  static constexpr unsigned char kPattern =
      0xE7;  // as f32 or bf16 a huge negative number: it shows if it is read
  int64_t n_;
  size_t offset_;
  std::vector<T> all_;
};

// 64-byte aligned and zeroed, as packed weights want it.
template <typename T>
class Aligned {
 public:
  explicit Aligned(int64_t n) : all_(static_cast<size_t>(n) + 64 / sizeof(T)) {
    while (reinterpret_cast<uintptr_t>(all_.data() + offset_) % 64 != 0) ++offset_;
  }
  T* data() { return all_.data() + offset_; }

 private:
  size_t offset_ = 0;
  std::vector<T> all_;
};

// err(kernel) <= 2 err(naive loop in the same dtype) + 1 ulp, ulp of T at the largest magnitude expected.
template <typename T>
class Parity {
 public:
  void add(T got, double naive, double exact) {
    const double value = widen(got);
    if (!std::isfinite(value) || !std::isfinite(exact)) {
      if (std::isnan(value) == std::isnan(exact) && (std::isnan(exact) || value == exact)) return;
      error_ = INFINITY;
      return;
    }
    error_ = std::fmax(error_, std::fabs(value - exact));
    naive_ = std::fmax(naive_,
                       std::fabs(static_cast<double>(widen(narrow<T>(static_cast<float>(naive)))) - exact));
    largest_ = std::fmax(largest_, std::fabs(exact));
  }
  bool holds() const { return error_ <= allowed(); }
  double error() const { return error_; }
  double allowed() const {
    int exponent = 0;
    std::frexp(largest_, &exponent);
    const double ulp = std::ldexp(1.0, exponent - (std::is_same_v<T, float> ? 24 : 8));
    return 2.0 * naive_ + ulp;
  }

 private:
  double error_ = 0.0, naive_ = 0.0, largest_ = 0.0;
};

class Stream {
 public:
  explicit Stream(int32_t threads) { ok(sjd2_stream_create(&stream_, threads, nullptr), "stream_create"); }
  ~Stream() { sjd2_stream_destroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator sjd2_stream() const { return stream_; }

 private:
  sjd2_stream stream_ = nullptr;
};

inline std::vector<std::string> available_sets() {
  char names[64];
  ok(sjd2_isa_available(names, sizeof names), "isa_available");
  std::vector<std::string> sets;
  std::string current;
  for (const char* c = names;; ++c) {
    if (*c == ',' || *c == '\0') {
      sets.push_back(current);
      current.clear();
      if (*c == '\0') break;
    } else {
      current += *c;
    }
  }
  return sets;
}

// Runs `body(stream)` on every available instruction set, with 1 and 3 threads (more than the cores of a
// small machine).
template <typename Body>
void on_every_set(Body&& body) {
  for (const std::string& set : available_sets()) {
    ok(sjd2_select_isa(set.c_str()), "select_isa");
    for (const int32_t threads : {1, 3}) {
      context = set + " " + std::to_string(threads) + " threads";
      Stream stream(threads);
      body(static_cast<sjd2_stream>(stream));
    }
  }
  context.clear();
  ok(sjd2_select_isa(nullptr), "select_isa");
}

inline int finish(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checks, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace sjd2::test

#endif  // SJD2_CPU_TESTS_CHECK_H
